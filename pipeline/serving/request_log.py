"""The log of a server for its owner: a line for each request and each change of the model, in one text file."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

LIMIT = 16 * 2**20
"""Bytes of a log. Then it becomes ``NAME.1`` in place of an older one, so a log takes twice as much at most."""


class RequestLog:
    """Appends lines to a file, which is made with its folder at the first line. Without a path nothing is written.

    A file that cannot be written costs the line, never the request.
    """

    def __init__(self, path: Path | None, limit: int = LIMIT) -> None:
        self.path, self.limit = path, limit

    def line(self, text: str) -> None:
        """Add a line with the time in UTC. Characters that could forge a line are escaped."""
        safe = text.encode("unicode_escape").decode()
        self._add(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {safe}\n")

    def block(self, text: str) -> None:
        """Add text of several lines, such as a traceback, indented."""
        self._add("".join(f"    {line}\n" for line in text.splitlines()))

    def _add(self, text: str) -> None:
        if self.path is None:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > self.limit:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
