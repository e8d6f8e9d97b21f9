"""DVC, as the pipeline needs it: its commands, what dvc.lock records, and what dvc.yaml declares.

dvc.lock and dvc.yaml are read here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.paths import Paths
from rdmc.errors import ConfigError, DataError, ServiceError, one_line
from rdmc.files import file_digest

LOCK, PIPELINE, PARAMS = "dvc.lock", "dvc.yaml", "params.yaml"
FOLDER = ".dir"
"""How DVC ends the md5 of a folder."""
IGNORED = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}
"""What .dvcignore keeps out of DVC's digests of code."""
PLACES = ("RDMC_DATA", "MLFLOW_TRACKING_URI")
"""Settings that another project must not take over from this one: its files and its MLflow store are its own."""


def run_dvc(root: Path, *arguments: str) -> str:
    """Run one of DVC's commands in ``root`` and return its output. Raises ServiceError with the first line of its error."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        first = (done.stderr.strip() or "no message").splitlines()[0]
        raise ServiceError(f"dvc {' '.join(arguments[:2])}: {first}; run this in a git checkout of the project")
    return done.stdout


def show_dvc(root: Path, *arguments: str, own: bool = True) -> None:
    """Run one of DVC's commands in ``root`` and show its output.

    Args:
        root: A DVC project; its stages run its own code, with this interpreter.
        arguments: The command's arguments.
        own: Whether ``root`` is the project of this process, so that its settings apply there too.

    Raises:
        ServiceError: The command fails; its output stands above.
    """
    kept = {name: value for name, value in os.environ.items() if own or name not in PLACES}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    environment = {**kept, "PATH": path, "PYTHONPATH": str(root.absolute())}
    code = _ended([sys.executable, "-m", "dvc", *arguments], root, environment)
    if code:
        raise ServiceError(f"{root.absolute()}: `dvc {' '.join(arguments)}` failed with exit code {code}; see its output above")


def _ended(command: list[str], root: Path, environment: Mapping[str, str]) -> int:
    """Run a command and return its exit code. A stop of this process stops the command and all that it started, and waits.

    ``subprocess.run`` would kill DVC alone, and the stage that it runs would go on without it.
    """
    process = subprocess.Popen(command, cwd=root, env=environment, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise


@dataclass(frozen=True)
class LockedStage:
    """What dvc.lock records of a stage: md5 by path. The md5 of a folder ends with ``.dir``."""

    name: str
    """``stage``, or ``stage@dataset``."""
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    params: Mapping[str, Any]
    """The params by dotted name, with the values of params.yaml that the stage was run with."""


def read_lock(path: Path) -> list[LockedStage] | None:
    """The stages of a dvc.lock; None where there is no such file. Raises DataError where DVC did not write it."""
    if not path.is_file():
        return None
    try:
        stages = (YAML(typ="safe", pure=True).load(path) or {}).get("stages", {})
        return [
            LockedStage(str(name), _digests(stage, "deps"), _digests(stage, "outs"), dict(_params(stage)))
            for name, stage in stages.items()
        ]
    except (OSError, UnicodeDecodeError, YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not what DVC writes ({one_line(error)}); run `git checkout dvc.lock` or `dvc repro`"
        ) from None


def locked_outs(root: Path) -> dict[str, str]:
    """The md5 that dvc.lock has for each output, by path; empty without a readable dvc.lock."""
    try:
        stages = read_lock(root / LOCK) or []
    except DataError:
        return {}
    return {path: md5 for stage in stages for path, md5 in stage.outs.items()}


def recorded_md5(paths: Paths, dataset: str) -> str:
    """The md5 (``….dir``) that dvc.lock records for a dataset's shards.

    The dvc.lock of the project's data folder counts before the one of the working folder. Raises DataError where neither has
    the dataset, or one is damaged.
    """
    wanted = Paths().shards(dataset).as_posix()
    if md5 := recorded_out(paths, wanted):
        return md5
    raise DataError(f"{wanted}: neither on disk nor in dvc.lock; run `dvc repro pack` and `dvc push` once where the pairs are")


def recorded_out(paths: Paths, out: str) -> str | None:
    """The md5 of an output, such as ``data/leaks.json``, in the dvc.lock of the data folder, else of the working folder."""
    for lock in (paths.root / LOCK, Path(LOCK)):
        for stage in read_lock(lock) or []:
            if out in stage.outs:
                return stage.outs[out]
    return None


def declared_code(root: Path, stage: str) -> list[Path]:
    """The Python files that dvc.yaml declares as deps of a stage, those inside declared folders included, sorted.

    Raises ConfigError where ``root`` has no dvc.yaml with that stage.
    """
    try:
        declared = YAML(typ="safe", pure=True).load(root / PIPELINE)["stages"][stage]
        deps = declared.get("do", declared)["deps"]  # `do` is what a stage with `foreach` runs for each dataset
    except (OSError, UnicodeDecodeError, YAMLError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{root / PIPELINE}: does not declare the stage {stage} ({one_line(error)}); run from a checkout of the project"
        ) from None
    places = [root / str(dep) for dep in deps]
    inside = [path for place in places if place.is_dir() for path in place.rglob("*.py")]
    return sorted({*inside, *(place for place in places if place.suffix == ".py")})


def folder_md5(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder, ``….dir``, from the md5 of each file in it by its path below the folder.

    It is the md5 of DVC's own listing: JSON, sorted by path.
    """
    listing = json.dumps([{"md5": files[path], "relpath": path} for path in sorted(files)], sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + FOLDER


def folder_files(folder: Path) -> dict[str, str]:
    """The md5 of each file in a folder of code by its path below it, as DVC counts them: without what .dvcignore names."""
    files = (path for path in folder.rglob("*") if path.is_file() and IGNORED.isdisjoint(path.parts))
    return {path.relative_to(folder).as_posix(): file_digest(path, "md5") for path in files}


def made_by_stages(path: str, outs: Collection[str]) -> bool:
    """Whether a dep is an output of a stage, lies in one, or is a folder that holds one."""
    dep = Path(path)
    return any(dep.is_relative_to(out) or Path(out).is_relative_to(dep) for out in outs)


def _params(stage: Any) -> Any:
    return stage.get("params", {}).get(PARAMS, {})


def _digests(stage: Any, part: str) -> dict[str, str]:
    return {str(item["path"]): str(item["md5"]) for item in stage.get(part, ()) if "md5" in item}
