"""The batches are the same for any number of ranks, stopped and resumed, from disk or from a bucket."""

from __future__ import annotations

import hashlib
import multiprocessing
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from torch import distributed

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.datasets import open_pairs
from rdmc.data.batches import batches
from rdmc.data.images import decode
from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling, rank_indices
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import LossConfig, TrainConfig
from rdmc.training.loop import Run
from tests.support.data import make_dataset, toy_project
from tests.support.pushed import push_shards
from tests.support.s3 import S3Server

STEPS, BATCH = 30, 12
COUNTS = {"light": {"train": 11, "validation": 5}, "heavy": {"train": 7, "validation": 3}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    found = Paths(tmp_path_factory.mktemp("data"))
    for name, counts in COUNTS.items():
        make_dataset(found, name, counts)
    return found


def folders(workspace: Paths) -> list[Path]:
    return [workspace.shards(name) for name in COUNTS]


def plan(store: PairStore) -> Sampling:
    return Sampling(4, store.parts({"heavy": 1.5}), BATCH, crops_per_decode=2, shuffle_shards=2)


def digest(*tensors: torch.Tensor) -> str:
    return hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()


def whole(workspace: Paths) -> list[str]:
    """The digests of all global batches, made in this process."""
    store = PairStore(folders(workspace), "train")
    return [digest(b.rainy, b.clean) for b in batches(store, plan(store), crop=24, start=0, steps=STEPS)]


def _rank(rank: int, world: int, first: int, last: int, loaders: int, root: str, meeting: str, found: Any) -> None:
    """A process of a gloo group: gather every batch from all ranks, and the pairs that each rank validates."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    store = PairStore([Path(root) / "data/shards" / name for name in COUNTS], "train")
    validation = PairStore([Path(root) / "data/shards" / name for name in COUNTS], "validation")
    seen = []
    stream = batches(
        store, plan(store), crop=24, start=first, steps=last, rank=rank, world=world, loaders=loaders if rank == 0 else 0
    )
    for batch in stream:
        parts = []
        for own in (batch.rainy, batch.clean):
            everyone = [torch.empty(own.shape, dtype=own.dtype) for _ in range(world)]
            distributed.all_gather(everyone, own.contiguous())
            parts.append(torch.cat(everyone))
        seen.append(digest(*(part.contiguous(memory_format=torch.channels_last) for part in parts)))
    measured: list[Any] = [None] * world
    distributed.all_gather_object(measured, [validation[i].key for i in rank_indices(len(validation), rank, world)])
    if rank == 0:
        found.put((seen, [key for keys in measured for key in keys]))
    distributed.destroy_process_group()


def in_processes(workspace: Paths, world: int, first: int, last: int, folder: Path, loaders: int = 0) -> Any:
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    meeting = folder / f"meeting-{world}-{first}"
    processes = [
        context.Process(target=_rank, args=(rank, world, first, last, loaders, str(workspace.root), str(meeting), found))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    result = found.get(timeout=200)
    for process in processes:
        process.join()
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("world", "then", "loaders"), [(1, 4, 0), (2, 3, 2), (3, 1, 0), (4, 2, 0)])
def test_ranks_see_the_same_global_batches_after_a_resume_with_another_world_size(
    world: int, then: int, loaders: int, workspace: Paths, tmp_path: Path
) -> None:
    expected = whole(workspace)
    stop = int(np.random.default_rng(world).integers(1, STEPS))
    before, validated = in_processes(workspace, world, 0, stop, tmp_path, loaders)
    after, again = in_processes(workspace, then, stop, STEPS, tmp_path)
    assert before + after == expected
    assert len(set(expected)) == STEPS
    every = sorted(f"{name}/validation-{i}" for name, counts in COUNTS.items() for i in range(counts["validation"]))
    assert sorted(validated) == sorted(again) == every


def test_a_training_from_the_bucket_equals_one_from_disk(workspace: Paths, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket("streamed")
    (tmp_path / "dvc.lock").write_text(push_shards(folders(workspace), bucket))
    config = TrainConfig(steps=4, global_batch_size=4, crop=24, crops_per_decode=2, warmup_steps=1, validate_every=4)
    places = {
        "disk": toy_project(Settings(), workspace, *COUNTS),
        "bucket": toy_project(Settings(bucket="s3://streamed"), Paths(tmp_path), *COUNTS),
    }
    losses, read = {}, {}
    for name, project in places.items():
        train, validation = (open_pairs(project, split, cache_mb=1) for split in ("train", "validation"))
        read[name] = [digest(b.rainy, b.clean) for b in batches(train, plan(train), crop=24, start=0, steps=8)]
        run = Run(RDMCConfig(width=2, passes=1), LossConfig(), config, 0)
        losses[name] = [(report.loss, report.validation) for report in run.reports(train, validation)]
    assert read["bucket"] == read["disk"]
    assert losses["bucket"] == losses["disk"]
    assert not (tmp_path / "data").exists()
    shards = {shard.md5 for folder in folders(workspace) for shard in read_manifest(folder / MANIFEST).shards}
    assert {path.stem for path in (tmp_path / ".cache/shards").glob("*.tar")} == shards


def test_plain_tarfile_reads_the_shards(workspace: Paths) -> None:
    store = PairStore(folders(workspace), "train")
    expected = {store[i].key: store[i] for i in range(len(store))}
    for folder in folders(workspace):
        for path in folder.glob("train-*.tar"):
            with tarfile.open(path) as tar:
                for member in tar:
                    name, role, *kind = member.name.split(".")
                    file = tar.extractfile(member)
                    assert file
                    if kind:
                        pixels = decode(file.read(), member.name)
                        assert np.array_equal(pixels, getattr(expected[f"{folder.name}/{name}"], role))


@pytest.fixture
def running_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("running_ray")
def test_ray_data_reads_the_shards(workspace: Paths) -> None:
    folder = workspace.shards("light")
    rows = ray.data.read_webdataset([str(path) for path in folder.glob("train-*.tar")]).take_all()
    store = PairStore([folder], "train")
    found = {row["__key__"]: row for row in rows}
    assert len(rows) == len(store) == 11
    for i in range(len(store)):
        row = found[store[i].key.partition("/")[2]]
        assert np.array_equal(row["rainy.png"], store[i].rainy)


@pytest.mark.slow
def test_loader_processes_read_from_the_bucket(workspace: Paths, s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(push_shards(folders(workspace), s3.bucket("by-processes")))
    settings = Settings(bucket="s3://by-processes", shard_cache_mb=1)
    store = open_pairs(toy_project(settings, Paths(tmp_path), *COUNTS), "train", cache_mb=1)
    sampling = replace(plan(store), global_batch_size=BATCH)
    made = batches(store, sampling, crop=24, start=0, steps=STEPS, loaders=2)
    assert [digest(b.rainy, b.clean) for b in made] == whole(workspace)
