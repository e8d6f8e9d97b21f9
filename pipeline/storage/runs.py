"""Folders of files that machines share: those of running trainings in Ray's storage (a folder or a bucket), and results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.fs

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.storage.outage import PatientS3
from pipeline.storage.s3 import TIMEOUTS, Bucket, bucket_of, endpoint, refusals
from rdmc.errors import ServiceError, one_line
from rdmc.files import write_text


@dataclass(frozen=True)
class RunFiles:
    """A folder in Ray's storage or in the bucket. Its methods raise ServiceError if the storage fails."""

    path: str
    """Path in the form that the filesystem takes."""
    filesystem: pyarrow.fs.FileSystem | None
    """None for the local filesystem."""

    def within(self, name: str) -> RunFiles:
        """The subfolder ``name``."""
        return RunFiles(f"{self.path}/{name}", self.filesystem)

    def at_once(self) -> RunFiles:
        """The same folder; its requests do not wait for a bucket that cannot be reached."""
        return RunFiles(self.path, self.filesystem and _server(0.0))

    @property
    def files(self) -> pyarrow.fs.FileSystem:
        """The filesystem, also if it is the local one."""
        return self.filesystem or pyarrow.fs.LocalFileSystem()

    def write(self, name: str, text: str) -> None:
        """Write a small file. A reader sees the old or the new content: a rename on disk, one request to a bucket."""
        with faults(self.path):
            if self.filesystem is None:
                write_text(Path(self.path) / name, text)
                return
            with self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
                stream.write(text.encode())

    def read(self, name: str) -> str | None:
        """The content of a small file; None if there is no such file."""
        with faults(self.path), suppress(FileNotFoundError):
            if self.filesystem is None:
                return (Path(self.path) / name).read_text("utf-8")
            # one request: between two, another process may write a longer text
            return str(self.filesystem.handler.fs.cat_file(f"{self.path}/{name}", max_concurrency=1).decode())
        return None

    def drop(self, name: str) -> None:
        """Delete a small file, if it exists."""
        with faults(self.path), suppress(FileNotFoundError):
            self.files.delete_file(f"{self.path}/{name}")

    def put(self, folder: Path, name: str) -> None:
        """Copy a folder here as ``name``. It is incomplete until this returns: refer to it in a ``write`` only then."""
        with faults(self.path):
            self.files.create_dir(f"{self.path}/{name}", recursive=True)
            pyarrow.fs.copy_files(
                str(folder), f"{self.path}/{name}", source_filesystem=pyarrow.fs.LocalFileSystem(),
                destination_filesystem=self.files, use_threads=False,
            )  # fmt: skip

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """This folder on the local disk: itself, or a temporary copy."""
        if self.filesystem is None:
            yield Path(self.path)
            return
        with TemporaryDirectory(prefix="rdmc-") as folder:
            with faults(self.path):
                pyarrow.fs.copy_files(
                    self.path, folder, source_filesystem=self.files, destination_filesystem=pyarrow.fs.LocalFileSystem(),
                    use_threads=False,
                )  # fmt: skip
            yield Path(folder)

    def folders(self) -> list[str]:
        """The names of the folders in this one, sorted."""
        return self._names(pyarrow.fs.FileType.Directory)

    def names(self, start: str) -> list[str]:
        """The names of the files in this folder that begin with ``start``, sorted."""
        return [name for name in self._names(pyarrow.fs.FileType.File) if name.startswith(start)]

    def _names(self, kind: pyarrow.fs.FileType) -> list[str]:
        with faults(self.path):
            found = self.files.get_file_info(pyarrow.fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == kind)

    def size_and_last_write(self) -> tuple[int, float]:
        """Bytes of the files in this folder, and the time of the newest (seconds since 1970); both 0 without files."""
        with faults(self.path):
            if self.filesystem is None:
                stats = [path.stat() for path in Path(self.path).rglob("*") if path.is_file()]
                return sum(stat.st_size for stat in stats), max((stat.st_mtime for stat in stats), default=0.0)
            found = self.filesystem.handler.fs.find(self.path, detail=True).values()  # pyarrow passes no times of a bucket on
            return sum(item["size"] for item in found), max((item["LastModified"].timestamp() for item in found), default=0.0)

    def remove(self) -> None:
        """Delete this folder with its content, if it exists."""
        with faults(self.path), suppress(FileNotFoundError):
            self.files.delete_dir(self.path)


def log_file(run: str) -> str:
    """The name of a run's log, in Ray's storage beside the folder of its checkpoints."""
    return f"{run}.jsonl"


def ray_storage(project: Project[Recipe]) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """``storage_path`` and ``storage_filesystem`` of Ray's RunConfig: a folder that all workers can write, or the bucket.

    The filesystem is pickled to the workers without credentials. Each process finds them in its own environment. pyarrow's
    own S3 client is not used: it writes empty objects for folders, and some S3 servers refuse those. Requests to the bucket
    are repeated for ``RDMC_OUTAGE`` seconds.
    """
    if project.settings.storage:
        return str(Path(project.settings.storage).absolute()), None
    bucket = bucket_of(project.settings)
    if not bucket:
        return str(project.paths.runs.absolute()), None
    place = bucket_files(bucket, "ray", patience=project.settings.outage)
    return place.path, place.filesystem


def bucket_files(bucket: Bucket, *parts: str, patience: float = 0.0) -> RunFiles:
    """A folder under the bucket's prefix. Its requests are repeated for ``patience`` seconds while the server is gone."""
    return RunFiles(f"{bucket.name}/{bucket.key(*parts)}", _server(patience))


def _server(patience: float) -> pyarrow.fs.FileSystem:
    files = PatientS3(
        patience=patience,
        endpoint_url=endpoint() or None,
        config_kwargs=TIMEOUTS,
        use_listings_cache=False,  # other processes write here too
    )
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files))


def run_files(project: Project[Recipe], name: str = "") -> RunFiles:
    """The folder ``name`` of Ray's storage, or its root without a name."""
    place = RunFiles(*ray_storage(project))
    return place.within(name) if name else place


@contextmanager
def faults(place: str) -> Iterator[None]:
    """Turn errors of Ray's storage, on disk or in a bucket, into a ServiceError with one line."""
    try:
        with refusals(place):
            yield
    except OSError as error:
        line = one_line(error)
        raise ServiceError(f"{place}: {line}; make sure that there is room and that it can be read and written") from None
