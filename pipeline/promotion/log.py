"""The entries of the log of promotions, and what follows from them. Pure; ``promotion.py`` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass

MOVES = ("promote", "force", "rollback", "adopt")
"""Kinds of entries that change the champion; ``refuse`` does not."""


@dataclass(frozen=True)
class LogEntry:
    """An entry of the log; a version number of 0 stands for no version."""

    number: int
    kind: str
    base: int
    """Number of the entry that it was decided on; 0 for none."""
    before: int
    """The champion then."""
    after: int
    """The champion it makes, or, refused, the version that was not promoted."""
    who: str
    at: str
    """UTC, ISO 8601."""
    verdict: str
    why: str
    token: str
    done: bool
    """Whether the alias is known to have followed."""
    document: str = ""
    """Folder of the verdict in the version's run; its name ends in a digest of all that was judged on."""


@dataclass(frozen=True)
class PromotionLog:
    """What the log says."""

    entries: tuple[LogEntry, ...]

    @property
    def counted(self) -> list[LogEntry]:
        """The entries that changed the champion, in order."""
        found: list[LogEntry] = []
        for entry in self.entries:
            if entry.kind in MOVES and entry.base == (found[-1].number if found else 0):
                found.append(entry)
        return found

    @property
    def last(self) -> int:
        """Number of the last of them; 0 for none."""
        return self.counted[-1].number if self.counted else 0

    @property
    def champion(self) -> int:
        """The version in use; 0 for none."""
        return self.counted[-1].after if self.counted else 0

    @property
    def line(self) -> list[int]:
        """The champions, the newest last, without those that a rollback took away.

        A champion that lost its alias stays in it: the next one is held against it, and a rollback brings it back.
        """
        line: list[int] = []
        for entry in self.counted:
            if entry.kind == "rollback" and entry.after in line:
                del line[len(line) - line[::-1].index(entry.after) :]
            elif entry.after and line[-1:] != [entry.after]:
                line.append(entry.after)
        return line

    @property
    def earlier(self) -> list[int]:
        """What a rollback may go to, the newest first: further back with each rollback."""
        return [version for version in self.line[::-1] if version != self.champion]

    def fallen(self, version: int) -> LogEntry | None:
        """The rollback that took this version out of use, unless it has been promoted again since."""
        found = None
        for entry in self.counted:
            if entry.kind == "rollback" and entry.before == version:
                found = entry
            elif entry.after == version:
                found = None
        return found

    def refused(self, version: int, basis: str) -> LogEntry | None:
        """The entry that refused this version on the very same ``basis``, the digest at the end of ``document``."""
        known = (entry for entry in self.entries if entry.kind == "refuse" and entry.after == version)
        return next((entry for entry in known if entry.document.endswith(f"-{basis}")), None)
