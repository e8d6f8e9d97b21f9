"""The command ``rebuild``: restore the project that made a version, from its number alone, and measure its figures again."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import say, table
from pipeline.registry.client import registry
from pipeline.registry.provenance import COMMITTED
from pipeline.registry.versions import Version, find_version
from pipeline.storage.dvc_remote import connect
from pipeline.versioning.dvc import LOCK, show_dvc
from pipeline.versioning.git import git
from rdmc.errors import ConfigError, DataError, ServiceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS = "metrics/evaluate.json"
FIGURES = "evaluate.json"
CLOSE = 0.01
"""Largest accepted difference in dB. Other processors and thread counts change figures by less."""


def run(project: Project[Params], version: str, folder: Path, train: bool = False) -> None:
    """Restore the project that made a version in ``folder``: its commit, dvc.lock, params and data. Then evaluate and compare.

    Data and weights come from this project's DVC cache or from the bucket of the settings, by the digests of dvc.lock. What
    neither has is made again. With ``train``, the model is trained again too.

    Raises:
        ConfigError: ``folder`` exists already.
        ServiceError: MLflow, git or DVC fails, or the version was registered without its commit and dvc.lock.
        DataError: its artifacts are damaged, or its figures differ from the registered ones.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; name a new folder")
    with tempfile.TemporaryDirectory() as name:
        with registry(project.settings) as client:
            found = find_version(client, project.params.register_.model, version)
            commit, kept = _needed(found)
            kept_files = _download(client, found, kept, name)
        expected = _means(kept_files / FIGURES, found)
        place = _clone(folder, commit)
        _restore(kept_files, place)
    _fetch(place, project.settings)
    show_dvc(place, "repro", "--no-run-cache", "pack" if train else "train", own=False)
    if train:
        show_dvc(place, "repro", "--no-run-cache", "--force", "--single-item", "train", own=False)
    # by force: the figures are in DVC's cache too, but they must be measured again
    show_dvc(place, "repro", "--no-run-cache", "--force", "--single-item", "evaluate", own=False)
    _compare(found, expected, _means(place / METRICS, found))
    say(f"{found.uri} is in {place}: go there to run it again, train it further or change it")


def _needed(version: Version) -> tuple[str, str]:
    """The version's commit and the folder of its artifacts. Raises ServiceError for a version that cannot be rebuilt."""
    commit, kept, code = (version.tags.get(name, "") for name in ("registered_commit", "rebuild", "code"))
    if not version.run_id or not commit or not kept:
        raise ServiceError(f"{version.uri}: was registered without its commit and dvc.lock, so it cannot be built again")
    if code != COMMITTED:
        raise ServiceError(f"{version.uri}: was made by code that no commit has ({code}); commit before `make repro`")
    return commit, kept


def _download(client: MlflowClient, version: Version, kept: str, folder: str) -> Path:
    """Download the artifacts that ``register`` kept for a rebuild to ``folder``. Raises DataError if one is missing."""
    existing = {Path(item.path).name for item in client.list_artifacts(version.run_id, kept)}
    lost = [name for name in (LOCK, "params.yaml", FIGURES) if name not in existing]
    if lost:
        raise _damaged(version, f"{kept}/{lost[0]} is not in its run")
    return Path(client.download_artifacts(version.run_id, kept, folder))


def _means(path: Path, version: Version) -> dict[str, float]:
    """Dataset -> mean PSNR-Y (dB) of its derained images. Raises DataError if the file has none."""
    try:
        means = {name: float(group["derained"]["psnr_y"]) for name, group in json.loads(path.read_text()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        means = {}
    if not means:
        raise _damaged(version, f"{path.name} holds no figures")
    return means


def _damaged(version: Version, what: str) -> DataError:
    return DataError(f"{version.uri}: its artifacts are damaged ({what}); restore them, or name another version")


def _clone(folder: Path, commit: str) -> Path:
    """Clone this repository at the commit into ``folder``. Returns the project's folder in the clone."""
    try:
        git(Path(), "cat-file", "-e", f"{commit}^{{commit}}")
    except ServiceError:
        raise ServiceError(
            f"{commit[:12]}: this repository does not have that commit; `git fetch --all`, then run it again"
        ) from None
    git(Path(), "clone", "--quiet", "--no-checkout", git(Path(), "rev-parse", "--show-toplevel"), str(folder.absolute()))
    git(folder, "checkout", "--quiet", "--detach", commit)
    return folder / git(Path(), "rev-parse", "--show-prefix")


def _restore(kept: Path, place: Path) -> None:
    """Copy the files that git does not have to where they were."""
    for name in (LOCK, "params.yaml"):
        shutil.copyfile(kept / name, place / name)
    if (kept / "files").is_dir():
        shutil.copytree(kept / "files", place, dirs_exist_ok=True)


def _fetch(place: Path, settings: Settings) -> None:
    """Fetch by digest all outputs that this project's DVC cache or the bucket has."""
    cache = Path(".dvc/cache")
    if cache.is_dir():
        show_dvc(place, "config", "--local", "cache.dir", str(cache.absolute()), own=False)
    if settings.bucket:
        connect(settings, place)
        show_dvc(place, "pull", "--allow-missing", own=False)
    else:
        show_dvc(place, "checkout", "--allow-missing", own=False)


def _compare(version: Version, expected: dict[str, float], measured: dict[str, float]) -> None:
    """Show both figures of each dataset. Raises DataError if they differ by more than ``CLOSE``."""
    now = {name: measured.get(name, math.nan) for name in expected}
    rows = [[name, f"{before:.4f}", f"{now[name]:.4f}", f"{now[name] - before:+.4f}"] for name, before in expected.items()]
    table(f"{version.label}: PSNR-Y of its test images (dB)", ["", "registered", "now", "difference"], rows)
    off = [name for name, before in expected.items() if not abs(now[name] - before) <= CLOSE]  # NaN is off too
    if off:
        raise DataError(f"{version.uri}: {', '.join(off)} over {CLOSE} dB off what was registered; compare package versions")
