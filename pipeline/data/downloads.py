"""Download of one file from ``https://``, ``http://`` or ``s3://``: resumed, verified, and given its name when complete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pipeline.console import say
from pipeline.storage.s3 import open_object
from rdmc.errors import ConfigError, DataError, ServiceError, one_line
from rdmc.files import file_digest, write_text
from rdmc.web import RefusedError, open_url, pieces

Opened = tuple[Iterator[bytes], int, str]
"""Chunks, the position of the first byte, and a tag of this version of the file."""
ATTEMPTS = 5
"""Attempts per download. Each one resumes where the one before stopped."""
SCHEMES = {"https": ("https",), "http": ("http", "https"), "s3": ()}
"""Accepted schemes of an address, and the schemes that a web server may redirect it to: https only to https."""


def download(url: str, folder: Path, sha256: str) -> Path:
    """Download the file at ``url`` into ``folder``, under its own name.

    A complete file is not downloaded again if it has the digest, or if the server says that it still has this version.

    ``sha256`` (hex) is the digest that the file must have, or empty. Raises ConfigError for an address that may not be used,
    DataError for a wrong digest, ServiceError if the server cannot be reached or a connection breaks ``ATTEMPTS`` times.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc or "@" in parts.netloc:
        raise ConfigError(f"{url}: the rule is https://, http:// or s3:// without a password; fix the address")
    if parts.scheme == "http" and not sha256:
        raise ConfigError(f"{url}: http does not protect the file on its way; give --sha256, or use https://")
    place = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
    target = place / (Path(parts.path).name or "file")
    part, tags = place / ".part", place / ".tag"
    place.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        if sha256 and file_digest(target) == sha256.lower():
            return target
        target.rename(part)  # complete, if the server still has this version
    _receive(url, open_object if parts.scheme == "s3" else _open_http, part, tags)
    _verify(url, part, sha256)
    part.rename(target)
    return target


def _receive(url: str, opener: Callable[[str, int, str], Opened], part: Path, tags: Path) -> None:
    """Complete ``part``. It is continued if the server still has the same version, and written again otherwise."""
    for attempt in range(1, ATTEMPTS + 1):
        have = part.stat().st_size if part.is_file() else 0
        try:
            chunks, start, tag = opener(url, have, tags.read_text() if tags.is_file() else "")
            write_text(tags, tag)
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                for chunk in chunks:
                    file.write(chunk)
            return
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            reason = one_line(error)
            if attempt == 1 and isinstance(error, URLError):  # there was no connection at all
                raise ServiceError(
                    f"{url}: cannot be reached ({reason}); check the address, then run the same command"
                ) from None
            if attempt == ATTEMPTS:
                raise ServiceError(
                    f"{url}: the connection broke {ATTEMPTS} times ({reason}); run the same command again to resume"
                ) from None
            say(f"{url}: the connection broke ({reason}); resuming")


def _open_http(url: str, start: int, tag: str) -> Opened:
    headers = {"Range": f"bytes={start}-", "If-Range": tag} if start and tag else {}
    try:
        response = open_url(url, SCHEMES[urlsplit(url).scheme], headers)
    except HTTPError as error:
        if error.code == 416:  # the file is complete already
            return iter(()), start, tag
        raise DataError(f"{url}: {error.code} {error.reason}; download it with a browser and fetch that file") from None
    except RefusedError as error:
        raise DataError(f"{url}: {error}; give that address and --sha256") from None
    current = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return pieces(response), start if response.status == 206 else 0, "" if current.startswith("W/") else current


def _verify(url: str, path: Path, sha256: str) -> None:
    digest = file_digest(path)
    if not sha256:
        say(f"{url}: sha256 {digest}, not verified; add --sha256 {digest} when you fetch it again")
    elif digest != sha256.lower():
        path.unlink()
        raise DataError(f"{url}: sha256 {digest}, the rule is {sha256}; it was removed, fetch it again or fix the digest")
