"""A checkout without data, as a submitter has it: code, tiny params, and a dvc.lock whose shards are in a bucket."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.config.paths import Paths
from tests.support.data import TINY, make_dataset
from tests.support.imports import ROOT
from tests.support.pushed import push_shards

CODE = ("rdmc", "pipeline", "architectures/full", "infra/runtime-env.yaml", "dvc.yaml", ".gitignore")


def make_checkout(root: Path, bucket: Any, made: Path, changes: Mapping[str, Any] | None = None, prefix: str = "") -> Path:
    """Make a committed checkout in ``root`` whose one dataset ``light`` is in ``bucket``, packed in the folder ``made``.

    ``changes`` are params by dotted name; ``prefix`` is that of the bucket, with a slash at its end.
    """
    for name in CODE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["datasets"] = {"light": params["datasets"]["light"]}
    for key, value in {**TINY, **(changes or {})}.items():
        part, name = key.split(".")
        params[part][name] = value
    yaml.dump(params, root / "params.yaml")
    paths = Paths(made)
    make_dataset(paths, "light")
    (root / "dvc.lock").write_text(push_shards([paths.shards("light")], bucket, prefix) + "\n")
    subprocess.run(["git", "init", "-q", root], check=True)
    commit(root)
    return root


def commit(root: Path) -> str:
    """Commit everything and return the commit."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "one"], cwd=root, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def with_leaks(checkout: Path, bucket: Any) -> None:
    """Push a report of leaks, as `dvc push` does, and commit it."""
    report = json.dumps({"version": 1, "leaks": []}).encode()
    md5 = hashlib.md5(report, usedforsecurity=False).hexdigest()
    bucket.put_object(Key=f"main/dvc/files/md5/{md5[:2]}/{md5[2:]}", Body=report)
    lock = (checkout / "dvc.lock").read_text()
    (checkout / "dvc.lock").write_text(lock.replace("{outs: [", f"{{outs: [{{path: data/leaks.json, md5: {md5}}}, "))
    commit(checkout)
