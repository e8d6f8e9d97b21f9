"""Can a model be made again from what is recorded? Its code is in the commit, its data have digests, no leak is in them.

``register`` finds that out and records it as tags of the version; ``promote`` judges the tags; ``rebuild`` uses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.leak_report import read_excluded
from pipeline.versioning.dvc import (
    FOLDER,
    LOCK,
    PIPELINE,
    declared_code,
    folder_files,
    folder_md5,
    made_by_stages,
    read_lock,
)
from pipeline.versioning.git import files_in_commit
from rdmc.data.shards import Manifest
from rdmc.errors import DataError
from rdmc.files import file_digest

UNCOUNTED = ("check", "register")
"""Stages whose code changes no model: one only refuses, the other is running while the code is compared."""
IN_JOBS = ("train", "evaluate")
"""Stages that a job runs as commands, without DVC."""
COMMITTED = "committed"
"""Value of the tag ``code`` where the commit has all of it."""


@dataclass(frozen=True)
class Sources:
    """The files and folders that dvc.lock names as deps and no stage makes, compared with a commit."""

    changed: tuple[str, ...]
    """Files that the commit has with other bytes, and code that it does not have at all."""
    extra: tuple[str, ...]
    """Other files that the commit does not have, such as a searched architecture's genotype. They are kept with the model."""

    note: str = ""
    """For a model that a job made: the tag that follows from what its submitter found."""

    @property
    def tag(self) -> str:
        """``committed``, or which files are not."""
        if self.note:
            return self.note
        if not self.changed:
            return COMMITTED
        more = f" and {len(self.changed) - 1} more" if len(self.changed) > 1 else ""
        return f"{self.changed[0]}{more} not as in the commit"


def sources(root: Path, commit: str, datasets: Collection[str]) -> Sources | None:
    """What dvc.lock's stages were made with, compared with ``commit``. None without git, or a readable dvc.lock with stages.

    The digests in dvc.lock count, so code that was changed back since is found too. dvc.yaml counts as it is now. Not counted
    are ``UNCOUNTED`` stages, and stages of datasets that are not among ``datasets``.
    """
    return _compared(root, commit, _deps(root, datasets, UNCOUNTED))


def made_by_job(root: Path, commit: str, datasets: Collection[str], job: Mapping[str, str], genotype: Path) -> Sources:
    """What a job made a model with, compared with ``commit``.

    Args:
        root: The project, in a job or in a checkout.
        commit: The commit that is to have the code.
        datasets: Names of the datasets that count.
        job: ``commit`` and ``code`` of the job, as ``run.json`` has them.
        genotype: The file of the architecture that was trained.
    """
    here = job_sources(root, commit, datasets, genotype)
    extra = here.extra if here else (genotype.as_posix(),)
    if job["commit"] != commit:
        return Sources((), extra, f"trained at commit {job['commit'][:12]}, registered at {commit[:12]}")
    return Sources((), extra, here.tag if here and job["code"] == COMMITTED else job["code"])


def job_sources(root: Path, commit: str, datasets: Collection[str], genotype: Path) -> Sources | None:
    """As ``sources``, for a job that trains and evaluates with the code in ``root``: DVC does not run these stages there.

    So the code of both counts as it is now, and dvc.lock only for the stages that made the data. Raises ConfigError where
    dvc.yaml does not declare them.
    """
    deps = _deps(root, datasets, (*UNCOUNTED, *IN_JOBS))
    code = {path.relative_to(root).as_posix() for stage in IN_JOBS for path in declared_code(root, stage)}
    used = [path for path in (*sorted(code), genotype.as_posix()) if (root / path).is_file()]
    return _compared(root, commit, {**deps, **{path: file_digest(root / path, "md5") for path in used}})


def _compared(root: Path, commit: str, deps: dict[str, str]) -> Sources | None:
    """Compare files and folders, with their md5, with those of a commit; None without any, or where git cannot answer."""
    found = files_in_commit(root, commit, [*deps, PIPELINE]) if deps else None
    if found is None:
        return None
    deps[PIPELINE] = file_digest(root / PIPELINE, "md5") if (root / PIPELINE).is_file() else ""
    changed: set[str] = set()
    extra: set[str] = set()
    for path, md5 in deps.items():
        if md5.endswith(FOLDER):
            changed |= _changed_in_folder(root, path, md5, found)
        elif found.get(path) != md5:
            is_code = path in found or path.endswith((".py", PIPELINE))
            (changed if is_code else extra).add(path)
    return Sources(tuple(sorted(changed)), tuple(sorted(extra)))


def leaking(report: Path, manifests: Iterable[Manifest]) -> int | None:
    """How many training pairs in the shards show a scene of a test or validation; None without a report.

    Raises DataError for a damaged report.
    """
    if not report.is_file():
        return None
    return sum(
        f"train/{sample.key}" in named
        for manifest in manifests
        for named in (read_excluded(report, manifest.dataset),)
        for _, sample in manifest.samples("train")
    )


def gaps(tags: Mapping[str, str]) -> list[str]:
    """What a version's tags lack for its lineage to be complete, each on one line; empty where nothing is missing."""
    missing = []
    code, leaks = tags.get("code"), tags.get("leaks")
    if not tags.get("registered_commit") or code is None:
        missing.append("its code is unknown: it was registered without git, or without dvc.lock")
    elif code != COMMITTED:
        missing.append(f"its code is not in the commit: {code}")
    datasets = [name.removeprefix("data.") for name in tags if name.startswith("data.")]
    unknown = [name for name in datasets if f"dvc.data/shards/{name}" not in tags]
    if unknown or not datasets:
        missing.append(f"DVC knows no digest of its data ({', '.join(unknown) or 'none is named'})")
    if leaks is None:
        missing.append("no report of leaks was there when it was registered")
    elif leaks != "0":
        missing.append(f"{leaks} of its training pairs show test or validation scenes")
    return missing


def _deps(root: Path, datasets: Collection[str], uncounted: Collection[str]) -> dict[str, str]:
    """Path and md5 of each dep that no stage makes; empty without a readable dvc.lock that has stages.

    ``uncounted`` names stages whose deps do not count.
    """
    try:
        locked = read_lock(root / LOCK) or []
    except DataError:
        return {}
    kept = [stage for stage in locked if "@" not in stage.name or _dataset(stage.name) in datasets]
    outs = {path for stage in kept for path in stage.outs}
    counted = [stage for stage in kept if stage.name not in uncounted]
    return {path: md5 for stage in counted for path, md5 in stage.deps.items() if not made_by_stages(path, outs)}


def _dataset(stage: str) -> str:
    return stage.partition("@")[2]


def _changed_in_folder(root: Path, folder: str, md5: str, found: Mapping[str, str]) -> set[str]:
    """The files of a folder that differ from the commit; the folder itself where its files have changed since dvc.lock.

    ``md5`` is the folder's digest in dvc.lock, and ``found`` has the md5 of each file of the commit.
    """
    committed = {path.removeprefix(f"{folder}/"): own for path, own in found.items() if path.startswith(f"{folder}/")}
    if folder_md5(committed) == md5:
        return set()
    now = folder_files(root / folder)
    if folder_md5(now) != md5:
        return {folder}
    names = {name for name in now.keys() | committed.keys() if now.get(name) != committed.get(name)}
    return {f"{folder}/{name}" for name in names}
