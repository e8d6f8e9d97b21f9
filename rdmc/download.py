"""Download a file and cache it under its SHA-256: once per machine, and used only if the digest matches."""

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
"""A function from a URL to the response to a GET, as ``rdmc.web.open_url`` returns it."""


def cache_folder() -> Path:
    """Return the cache folder: ``$XDG_CACHE_HOME/rdmc``, or ``~/.cache/rdmc``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rdmc"


def download(url: str, sha256: str, folder: Path, most: int, suffix: str = "", opener: Opener = open_url) -> Path:
    """Return the path of the file behind ``url``, ``folder/{sha256}{suffix}``: the cached file, or a new download.

    The file may have at most ``most`` bytes. Processes of one machine wait for one another, so that it is downloaded once.
    Raises ServiceError if it cannot be downloaded, CheckpointError if it is too large or its digest differs.
    """
    path = folder / f"{sha256}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f".{sha256}.lock"):
            if not (path.is_file() and file_digest(path) == sha256):
                _fetch(url, sha256, path, most, opener)
    except (OSError, ValueError, HTTPException) as error:  # ValueError: not a URL
        line = one_line(error)
        raise ServiceError(f"{url}: {line}; fetch it by hand and name the file instead, or try again") from None
    return path


def _fetch(url: str, sha256: str, path: Path, most: int, opener: Opener) -> None:
    """Download to a temporary file beside ``path``, check size and digest, then rename it."""
    with tempfile.NamedTemporaryFile(prefix=".fetch-", dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            digest, size = hashlib.sha256(), 0
            with closing(pieces(opener(url))) as blocks:
                for block in blocks:
                    size += len(block)
                    if size > most:
                        raise CheckpointError(f"{url}: more than {most} bytes, so it is not the expected file; check the URL")
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
