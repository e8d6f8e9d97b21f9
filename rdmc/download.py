"""A file from the web, kept under its SHA-256: fetched once a machine, and used only where it is the one that was asked for."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from rdmc.errors import CheckpointError, ServiceError, one_line
from rdmc.files import file_digest
from rdmc.web import open_url, pieces

Opener = Callable[[str], HTTPResponse]
"""The answer to a GET of a URL, as ``rdmc.web.open_url`` gives it."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/rdmc``, or ``~/.cache/rdmc``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rdmc"


def download(url: str, sha256: str, folder: Path, most: int, suffix: str = "", opener: Opener = open_url) -> Path:
    """The file behind ``url``, at most ``most`` bytes, as ``folder/sha256suffix``: the kept one, or a new one kept from now on.

    Processes of one machine wait for one another, so that it is fetched once. Raises ServiceError where it cannot be had,
    CheckpointError where it is too large or another file.
    """
    path = folder / f"{sha256}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f".{sha256}.lock"):
            if not (path.is_file() and file_digest(path) == sha256):
                _fetch(url, sha256, path, most, opener)
    except (OSError, ValueError, HTTPException) as error:  # ValueError: a URL that cannot be one
        line = one_line(error)
        raise ServiceError(f"{url}: {line}; fetch it by hand and name the file instead, or try again") from None
    return path


def _fetch(url: str, sha256: str, path: Path, most: int, opener: Opener) -> None:
    """Write beside ``path``, checking size and digest on the way, then rename."""
    with tempfile.NamedTemporaryFile(prefix=".fetch-", dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            digest, size = hashlib.sha256(), 0
            with closing(pieces(opener(url))) as blocks:
                for block in blocks:
                    size += len(block)
                    if size > most:
                        raise CheckpointError(f"{url}: more than {most} bytes, so not the file meant; check the URL")
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != sha256:
                raise CheckpointError(f"{url}: its SHA-256 is {digest.hexdigest()}, not {sha256}; check the URL and the digest")
            file.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
