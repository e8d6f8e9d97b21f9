"""A record of finished steps, so that a command which was stopped repeats only what has changed.

A step is finished if its inputs have the digest that they had when it ran, and its files the one that it left. DVC does this
for a project's own files; those of a profile lie outside of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.console import say
from pipeline.versioning.dvc import folder_files, folder_md5
from rdmc.files import file_digest, write_text


class Steps:
    """The finished steps, recorded in the JSON file ``record``. A damaged record counts as empty, so everything runs again."""

    def __init__(self, record: Path) -> None:
        self.record = record

    def run(self, name: str, inputs: Sequence[Any], files: Sequence[Path], work: Callable[[], object]) -> str:
        """Do ``work`` unless it is finished. Returns the digest of its ``files``, which are files and folders.

        ``inputs`` are plain data: params, and digests of code and of the files of earlier steps. A step that is interrupted
        or fails is not recorded.
        """
        wanted, recorded = _digest(inputs), self._finished().get(name)
        left = _digest_of_files(files)
        if recorded == {"inputs": wanted, "files": left}:
            say(f"{name}: nothing has changed, skipped")
            return left
        work()
        left = _digest_of_files(files)
        write_text(self.record, json.dumps({**self._finished(), name: {"inputs": wanted, "files": left}}, indent=2) + "\n")
        return left

    def _finished(self) -> dict[str, Any]:
        try:
            finished = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return finished if isinstance(finished, dict) else {}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_of_files(files: Sequence[Path]) -> str:
    """A digest of the content of files and folders, and of which of them exist."""
    return _digest([_content(path) for path in files])


def _content(path: Path) -> str:
    if path.is_dir():
        return folder_md5(folder_files(path))
    return file_digest(path) if path.is_file() else ""
