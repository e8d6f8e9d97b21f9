"""The results of trainings in the bucket: what a job made on another machine comes home from here.

``results/<run name>/`` has one folder and one small index per part: ``train.json`` names the files of the training, and
``evaluate.json`` those of its evaluation. An index has the SHA-256 of each file. It is written after its files are complete, so
a reader never sees half of a result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.storage.runs import RunFiles, bucket_files
from pipeline.storage.s3 import bucket_of
from rdmc.checkpoint import WEIGHTS
from rdmc.data.pairs import sha256
from rdmc.errors import ConfigError, DataError
from rdmc.files import file_digest, new_folder, write_bytes

TRAINED, EVALUATED = "train", "evaluate"
"""The parts of a run's results."""
FOLDER = "results"
"""The folder below the bucket's prefix."""


def files_of(paths: Paths, part: str) -> list[Path]:
    """The files and folders of a part, in a project; the first one is what the next command needs."""
    if part == EVALUATED:
        return [paths.evaluate_metrics, paths.images, paths.pictures, paths.report]
    return [paths.best, paths.last, paths.run, paths.train_metrics, paths.history]


def keep(project: Project[Recipe], run: str, part: str) -> str:
    """Copy a part of the project's results to the bucket, as those of the run ``run``. They replace an earlier copy.

    Returns the address of the copy; empty without a bucket. Raises ServiceError where the bucket fails. An earlier copy is then
    still complete.
    """
    bucket = bucket_of(project.settings)
    if not bucket:
        return ""
    place, paths = bucket_files(bucket, FOLDER, run), project.paths
    found = {file.relative_to(paths.root).as_posix(): file for top in files_of(paths, part) for file in _below(top)}
    digests = {name: file_digest(file) for name, file in sorted(found.items())}
    index = {"folder": f"{part}-{_digest(digests)}", "model": file_digest(paths.best / WEIGHTS), "files": digests}
    if _index(place, part) != index:
        with TemporaryDirectory(prefix="rdmc-") as name:
            for relative, file in found.items():
                target = Path(name, relative)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            place.put(Path(name), str(index["folder"]))
        place.write(f"{part}.json", json.dumps(index, indent=1) + "\n")
        for old in place.folders():
            if old.startswith(f"{part}-") and old != index["folder"]:
                place.within(old).remove()
    return bucket.url(FOLDER, run)


def fetch(project: Project[Recipe], run: str, part: str = TRAINED) -> bool:
    """Replace a part of the project's results by those of a run in the bucket. Returns False if the bucket does not have them.

    An evaluation is only fetched if it is of the weights in ``checkpoints/best``. All files are downloaded and verified before
    the first one is replaced.

    Raises:
        ConfigError: No bucket is set.
        DataError: A file in the bucket is damaged or missing.
        ServiceError: The bucket fails.
    """
    place, paths = _place(project, run), project.paths
    index = _index(place, part)
    if index is None or (part == EVALUATED and not _is_of(paths, index)):
        return False
    with place.within(str(index["folder"])).fetched() as source:
        for name, digest in index["files"].items():
            file = source / name
            if not file.is_file() or file_digest(file) != digest:
                raise DataError(f"{place.path}/{index['folder']}/{name}: missing or damaged; run `submit {part}` again")
        for target in files_of(paths, part):
            _replace(source / target.relative_to(paths.root), target)
    return True


def kept_runs(project: Project[Recipe]) -> list[str]:
    """The runs whose results the bucket has, sorted by name. Raises ConfigError without a bucket."""
    return _place(project).folders()


def results_place(project: Project[Recipe]) -> RunFiles:
    """The folder of all results in the bucket. Raises ConfigError without a bucket."""
    return _place(project)


def _place(project: Project[Recipe], *run: str) -> RunFiles:
    bucket = bucket_of(project.settings)
    if not bucket:
        raise ConfigError("RDMC_BUCKET: is not set, so there are no results to fetch; set it to the bucket of the training")
    return bucket_files(bucket, FOLDER, *run)


def _index(place: RunFiles, part: str) -> dict[str, Any] | None:
    text = place.read(f"{part}.json")
    try:
        index = json.loads(text) if text else None
    except ValueError:
        return None  # it is then written again
    return index if isinstance(index, dict) and index.keys() >= {"folder", "model", "files"} else None


def _is_of(paths: Paths, index: Mapping[str, Any]) -> bool:
    weights = paths.best / WEIGHTS
    return weights.is_file() and file_digest(weights) == index["model"]


def _below(top: Path) -> Iterator[Path]:
    """The files of a folder, or the file itself."""
    yield from (path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]


def _replace(source: Path, target: Path) -> None:
    if source.is_dir():
        with new_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    elif source.is_file():
        write_bytes(target, source.read_bytes())


def _digest(files: Mapping[str, str]) -> str:
    return sha256(json.dumps(files, sort_keys=True).encode())[:16]
