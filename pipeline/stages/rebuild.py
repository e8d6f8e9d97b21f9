"""``rebuild``: from a version's number alone the project as it was, and its figures measured again."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.console import say, table
from pipeline.params import Params
from pipeline.provenance import COMMITTED, LOCK
from pipeline.registry import registry
from pipeline.reproduction import dvc, git
from pipeline.settings import Settings
from pipeline.storage import connect
from pipeline.versions import Version, find_version
from rdmc.errors import ConfigError, DataError, ServiceError

METRICS = "metrics/evaluate.json"
CLOSE = 0.01
"""dB: other processors and thread counts move figures by less."""


def run(params: Params, settings: Settings, version: str, folder: Path, train: bool = False) -> None:
    """Make ``folder`` the project that made a version: its commit, dvc.lock, params and data; then evaluate and compare.

    Data and weights come from DVC's cache of this project, or from the bucket of the settings, by the digests of dvc.lock; what
    neither has is made again. ``train`` trains again too.

    Raises:
        ConfigError: ``folder`` is there already.
        ServiceError: MLflow, git or DVC fails, or the version was registered without what is needed.
        DataError: the figures are not those that were registered.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; name a folder that is not")
    with registry(settings) as client, tempfile.TemporaryDirectory() as name:
        found = find_version(client, params.register_.model, version)
        commit, kept = _needed(found)
        given = Path(client.download_artifacts(found.run_id, kept, name))
        place = _code(folder, commit)
        _lay(given, place)
        expected = json.loads((given / "evaluate.json").read_text())
    _data(place, settings)
    if train:
        dvc(place, "repro", "--no-run-cache", "pack", own=False)
        dvc(place, "repro", "--no-run-cache", "--force", "--single-item", "train", own=False)
    (place / METRICS).unlink(missing_ok=True)  # the commit may have it; it is to be measured
    dvc(place, "repro", "--no-run-cache", "evaluate", own=False)
    _compare(found, expected, json.loads((place / METRICS).read_text()))
    say(f"{found.uri} stands in {place}: go there to run it again, train on or change it")


def _needed(version: Version) -> tuple[str, str]:
    """The commit and the artifacts' folder."""
    commit, kept, code = (version.tags.get(name, "") for name in ("registered_commit", "rebuild", "code"))
    if not version.run_id or not commit or not kept:
        raise ServiceError(f"{version.uri}: was registered without its commit and dvc.lock, so it cannot be built again")
    if code != COMMITTED:
        raise ServiceError(f"{version.uri}: was made by code that no commit has ({code}); commit before `make repro`")
    return commit, kept


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
        dvc(place, "config", "--local", "cache.dir", str(cache.absolute()), own=False)
    if settings.bucket:
        connect(settings, place)
        dvc(place, "pull", "--allow-missing", own=False)
    else:
        dvc(place, "checkout", "--allow-missing", own=False)


def _compare(version: Version, expected: dict[str, Any], found: dict[str, Any]) -> None:
    rows, off = [], []
    for name, group in expected.items():
        before, after = (float(side["derained"]["psnr_y"]) for side in (group, found[name]))
        off.append(abs(after - before))
        rows.append([name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"])
    table(f"{version.label}: PSNR-Y of its test images (dB)", ["", "registered", "now", "difference"], rows)
    if not all(value <= CLOSE for value in off):  # NaN is off too
        raise DataError(f"{version.uri}: {max(off):.3f} dB off what was registered, over {CLOSE} dB; compare package versions")
