"""Can a model be made again from what is recorded? Its code is in the commit, its data have digests, no leak is in them.

``register`` finds that out and records it as tags of the version; ``promote`` judges the tags; ``rebuild`` uses them.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.data.leak_report import read_excluded
from rdmc.data.shards import Manifest

LOCK = "dvc.lock"
LAST = "register"
COMMITTED = "committed"
"""Value of the tag ``code`` where the commit has all of it."""


@dataclass(frozen=True)
class Sources:
    """The files that dvc.lock names as deps and no stage makes, held against a commit."""

    changed: tuple[str, ...]
    """Those that are in the commit with other bytes, and code that is not in it at all."""
    extra: tuple[str, ...]
    """Others that the commit does not have, as the genotype of a searched architecture: they are kept with the model."""

    @property
    def tag(self) -> str:
        """``committed``, or which files are not."""
        if not self.changed:
            return COMMITTED
        more = f" and {len(self.changed) - 1} more" if len(self.changed) > 1 else ""
        return f"{self.changed[0]}{more} not as in the commit"


def sources(root: Path, commit: str, datasets: Collection[str]) -> Sources | None:
    """What dvc.lock's stages were made with, against ``commit``. None without a readable dvc.lock that has stages, or git.

    It is the files' md5 in dvc.lock that counts, so also of code that was changed back since; and dvc.yaml as it is now. What
    the lock still has of ``register``, which is running, and of datasets that are none of ``datasets`` does not count.
    """
    deps = _deps(root, datasets)
    if not deps:
        return None
    found = _in_commit(root, commit, [*deps, "dvc.yaml"])
    if found is None:
        return None
    deps["dvc.yaml"] = _md5((root / "dvc.yaml").read_bytes()) if (root / "dvc.yaml").is_file() else ""
    odd = [path for path, md5 in deps.items() if found.get(path) != md5]
    extra = [path for path in odd if path not in found and not path.endswith((".py", "dvc.yaml"))]
    return Sources(tuple(sorted(set(odd) - set(extra))), tuple(sorted(extra)))


def leaking(report: Path, manifests: Iterable[Manifest]) -> int | None:
    """Training pairs in the shards that show a scene of a test or validation; None without a report.

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
    """What a version's tags lack for its lineage to be complete, each on one line; empty where nothing is."""
    found = []
    code, leaks = tags.get("code"), tags.get("leaks")
    if not tags.get("registered_commit") or code is None:
        found.append("its code is unknown: it was registered without git, or without dvc.lock")
    elif code != COMMITTED:
        found.append(f"its code is not in the commit: {code}")
    datasets = [name.removeprefix("data.") for name in tags if name.startswith("data.")]
    unknown = [name for name in datasets if f"dvc.data/shards/{name}" not in tags]
    if unknown or not datasets:
        found.append(f"DVC knows no digest of its data ({', '.join(unknown) or 'none is named'})")
    if leaks is None:
        found.append("no report of leaks was there when it was registered")
    elif leaks != "0":
        found.append(f"{leaks} of its training pairs show test or validation scenes")
    return found


def _deps(root: Path, datasets: Collection[str]) -> dict[str, str]:
    """Path and md5 of each dep that no stage makes; empty where dvc.lock is missing or says nothing."""
    try:
        found = YAML(typ="safe", pure=True).load(root / LOCK)["stages"]
        parts = {name: name.partition("@") for name in found if name != LAST}
        stages = [found[name] for name, (_, each, dataset) in parts.items() if not each or dataset in datasets]
        deps = {str(dep["path"]): str(dep["md5"]) for stage in stages for dep in stage.get("deps", [])}
        outs = [Path(str(out["path"])) for stage in stages for out in stage.get("outs", [])]
    except (OSError, UnicodeDecodeError, YAMLError, AttributeError, KeyError, TypeError):
        return {}
    return {path: md5 for path, md5 in deps.items() if not any(_related(Path(path), out) for out in outs)}


def _related(path: Path, out: Path) -> bool:
    """Whether a path is an out, lies in it, or is a folder that holds it."""
    return path.is_relative_to(out) or out.is_relative_to(path)


def _in_commit(root: Path, commit: str, paths: list[str]) -> dict[str, str] | None:
    """md5 of the files that a commit has of ``paths``; None without git or the commit."""
    asked = "".join(f"{commit}:./{path}\n" for path in paths).encode()
    try:
        subprocess.run(["git", "cat-file", "-e", commit], cwd=root, capture_output=True, check=True, timeout=30)
        done = subprocess.run(
            ["git", "cat-file", "--batch"], cwd=root, input=asked, capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found, rest = {}, done.stdout
    for path in paths:
        head, _, rest = rest.partition(b"\n")
        if head.endswith(b" missing"):
            continue
        size = int(head.split()[2])
        found[path], rest = _md5(rest[:size]), rest[size + 1 :]
    return found


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
