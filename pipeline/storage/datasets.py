"""Where things lie that several machines share: DVC's remote, Ray's checkpoints, and a dataset's shards.

All of it is in the bucket that ``RDMC_BUCKET`` names (``pipeline.storage.s3``). Without one everything stays on local disk and
nothing here reaches out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.fs
import s3fs

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.dvc_remote import BucketShards, Remote
from pipeline.storage.s3 import TIMEOUTS, bucket_of, endpoint, refusals, s3_client
from pipeline.storage.shard_cache import ShardCache
from pipeline.versioning.dvc import recorded_md5, run_dvc
from rdmc.data.loader import Fetch, local_shard
from rdmc.data.shards import MANIFEST
from rdmc.errors import ConfigError, DataError
from rdmc.files import write_bytes

REMOTE = "storage"


def check_bucket(settings: Settings) -> None:
    """See that the bucket is there and lets this environment in; makes nothing. Raises ServiceError, one line."""
    bucket = bucket_of(settings)
    if bucket:
        with refusals(bucket.url()):
            s3_client().head_bucket(Bucket=bucket.name)


def connect(settings: Settings, root: Path) -> None:
    """Make the bucket the default remote of the DVC repository at ``root``, so that plain ``dvc push``/``pull`` use it.

    It is written to ``.dvc/config.local``, which git ignores: address and endpoint, no credentials. Raises ConfigError
    without a bucket, ServiceError where it cannot be used or DVC refuses.
    """
    bucket = bucket_of(settings)
    if not bucket:
        raise ConfigError("RDMC_BUCKET: is not set, there is no bucket to connect to; set it to s3://bucket/prefix")
    check_bucket(settings)
    run_dvc(root, "remote", "add", "--local", "--default", "--force", REMOTE, bucket.url("dvc"))
    if address := endpoint():
        run_dvc(root, "remote", "modify", "--local", REMOTE, "endpointurl", address)


def ray_storage(settings: Settings, workspace: Paths) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """``storage_path`` and ``storage_filesystem`` of Ray's RunConfig: a folder that all workers can write, or the bucket.

    The filesystem is pickled to the workers without credentials; each process finds them in its own environment.
    pyarrow's own S3 client is not used: it writes empty objects for folders, which not every S3 server takes.
    """
    if settings.storage:
        return str(Path(settings.storage).absolute()), None
    bucket = bucket_of(settings)
    if not bucket:
        return str(workspace.runs.absolute()), None
    files = s3fs.S3FileSystem(
        endpoint_url=endpoint() or None,
        config_kwargs=TIMEOUTS,
        use_listings_cache=False,  # other processes write here too
    )
    return f"{bucket.name}/{bucket.key('ray')}", pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files))


def fetch_dataset(settings: Settings, workspace: Paths, dataset: str) -> Path:
    """The folder of a dataset's manifest: ``data/shards/<dataset>``, or one with what dvc.lock names in the bucket.

    The shards of the latter stay in the bucket until ``shard_fetch`` is asked for one. The manifest is read from DVC's remote
    by its md5, verified, and kept in ``.cache/manifests``.

    Raises:
        DataError: no shards and no bucket, or an object that is missing or damaged.
        ServiceError: the bucket cannot be reached.
    """
    local = workspace.shards(dataset)
    if (local / MANIFEST).is_file():
        return local
    bucket = bucket_of(settings)
    if not bucket:
        raise DataError(f"{local}: no manifest.json; run `dvc repro pack`, or `dvc pull`, or set RDMC_BUCKET to where they are")
    listed = recorded_md5(workspace, dataset)
    folder = workspace.root / ".cache/manifests" / listed.removesuffix(".dir")
    if not (folder / MANIFEST).is_file():
        remote = Remote(bucket)
        files = {entry["relpath"]: entry["md5"] for entry in json.loads(remote.load(listed))}
        if MANIFEST not in files:
            raise DataError(f"{bucket.url('dvc')}: {listed} lists no {MANIFEST}; `dvc push` it anew where the shards are")
        write_bytes(folder / MANIFEST, remote.load(files[MANIFEST]))
    return folder


def shard_fetch(settings: Settings, workspace: Paths) -> Fetch:
    """Finds shards for a ``PairStore``: those beside their manifest, others in the bucket, through the node's cache."""
    bucket = bucket_of(settings)
    if not bucket:
        return local_shard
    folder = Path(settings.shard_cache) if settings.shard_cache else workspace.root / ".cache/shards"
    return BucketShards(Remote(bucket), ShardCache(folder.absolute(), settings.shard_cache_mb))
