"""``rebuild``: from a version's number alone the project as it was, and its figures measured again."""

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
"""dB: other processors and thread counts move figures by less."""


def run(project: Project[Params], version: str, folder: Path, train: bool = False) -> None:
    """Make ``folder`` the project that made a version: its commit, dvc.lock, params and data; then evaluate and compare.

    Data and weights come from DVC's cache of this project, or from the bucket of the settings, by the digests of dvc.lock; what
    neither has is made again. ``train`` trains again too.

    Raises:
        ConfigError: ``folder`` is there already.
        ServiceError: MLflow, git or DVC fails, or the version was registered without what is needed.
        DataError: its artifacts are damaged, or the figures are not those that were registered.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; name a folder that is not")
    with tempfile.TemporaryDirectory() as name:
        with registry(project.settings) as client:
            found = find_version(client, project.params.register_.model, version)
            commit, kept = _needed(found)
            given = _given(client, found, kept, name)
        expected = _means(given / FIGURES, found)
        place = _code(folder, commit)
        _lay(given, place)
    _data(place, project.settings)
    show_dvc(place, "repro", "--no-run-cache", "pack" if train else "train", own=False)
    if train:
        show_dvc(place, "repro", "--no-run-cache", "--force", "--single-item", "train", own=False)
    # by force: DVC's cache has the figures too, and they are to be measured
    show_dvc(place, "repro", "--no-run-cache", "--force", "--single-item", "evaluate", own=False)
    _compare(found, expected, _means(place / METRICS, found))
    say(f"{found.uri} stands in {place}: go there to run it again, train on or change it")


def _needed(version: Version) -> tuple[str, str]:
    """The commit and the artifacts' folder."""
    commit, kept, code = (version.tags.get(name, "") for name in ("registered_commit", "rebuild", "code"))
    if not version.run_id or not commit or not kept:
        raise ServiceError(f"{version.uri}: was registered without its commit and dvc.lock, so it cannot be built again")
    if code != COMMITTED:
        raise ServiceError(f"{version.uri}: was made by code that no commit has ({code}); commit before `make repro`")
    return commit, kept


def _given(client: MlflowClient, version: Version, kept: str, folder: str) -> Path:
    """The artifacts that ``register`` kept for this, brought to ``folder``."""
    there = {Path(item.path).name for item in client.list_artifacts(version.run_id, kept)}
    lost = [name for name in (LOCK, "params.yaml", FIGURES) if name not in there]
    if lost:
        raise _damaged(version, f"{kept}/{lost[0]} is not in its run")
    return Path(client.download_artifacts(version.run_id, kept, folder))


def _means(path: Path, version: Version) -> dict[str, float]:
    """PSNR-Y of the derained images by dataset. Raises DataError where there is none."""
    try:
        found = {name: float(group["derained"]["psnr_y"]) for name, group in json.loads(path.read_text()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found = {}
    if not found:
        raise _damaged(version, f"{path.name} holds no figures")
    return found


def _damaged(version: Version, what: str) -> DataError:
    return DataError(f"{version.uri}: its artifacts are damaged ({what}); restore them, or name another version")


def _code(folder: Path, commit: str) -> Path:
    """A clone of this repository at the commit; returns the project's folder in it."""
    try:
        git(Path(), "cat-file", "-e", f"{commit}^{{commit}}")
    except ServiceError:
        raise ServiceError(
            f"{commit[:12]}: this repository does not have that commit; `git fetch --all`, then run it again"
        ) from None
    git(Path(), "clone", "--quiet", "--no-checkout", git(Path(), "rev-parse", "--show-toplevel"), str(folder.absolute()))
    git(folder, "checkout", "--quiet", "--detach", commit)
    return folder / git(Path(), "rev-parse", "--show-prefix")


def _lay(given: Path, place: Path) -> None:
    """Put what git does not have where it was."""
    for name in (LOCK, "params.yaml"):
        shutil.copyfile(given / name, place / name)
    if (given / "files").is_dir():
        shutil.copytree(given / "files", place, dirs_exist_ok=True)


def _data(place: Path, settings: Settings) -> None:
    """Bring in by their digests all outs that this project's cache or the bucket has."""
    cache = Path(".dvc/cache")
    if cache.is_dir():
        show_dvc(place, "config", "--local", "cache.dir", str(cache.absolute()), own=False)
    if settings.bucket:
        connect(settings, place)
        show_dvc(place, "pull", "--allow-missing", own=False)
    else:
        show_dvc(place, "checkout", "--allow-missing", own=False)


def _compare(version: Version, expected: dict[str, float], found: dict[str, float]) -> None:
    now = {name: found.get(name, math.nan) for name in expected}
    rows = [[name, f"{before:.4f}", f"{now[name]:.4f}", f"{now[name] - before:+.4f}"] for name, before in expected.items()]
    table(f"{version.label}: PSNR-Y of its test images (dB)", ["", "registered", "now", "difference"], rows)
    off = [name for name, before in expected.items() if not abs(now[name] - before) <= CLOSE]  # NaN is off too
    if off:
        raise DataError(f"{version.uri}: {', '.join(off)} over {CLOSE} dB off what was registered; compare package versions")
