"""The log of promotions: its entries and what follows from them. Pure; ``champion.py`` reads and writes the entries."""

from __future__ import annotations

from dataclasses import dataclass

MOVES = ("promote", "force", "rollback", "adopt")
"""The kinds of entries that change the champion. ``refuse`` is the one kind that does not."""


@dataclass(frozen=True)
class LogEntry:
    """An entry of the log. A version number of 0 stands for no version."""

    number: int
    kind: str
    base: int
    """Number of the last entry that counted when this one was decided; 0 for none."""
    before: int
    """The champion before this entry."""
    after: int
    """The new champion; for ``refuse``, the version that was not promoted."""
    who: str
    at: str
    """Time in UTC, ISO 8601."""
    verdict: str
    why: str
    token: str
    done: bool
    """Whether the alias is known to have been moved."""
    document: str = ""
    """Folder of the verdict in the version's run. Its name ends in a digest of everything that the verdict depends on."""


@dataclass(frozen=True)
class PromotionLog:
    """All entries of the log, and the champions that follow from them."""

    entries: tuple[LogEntry, ...]

    @property
    def counted(self) -> list[LogEntry]:
        """The entries that changed the champion, in order.

        An entry counts if its ``base`` is the entry that counted last before it.
        """
        counted: list[LogEntry] = []
        for entry in self.entries:
            if entry.kind in MOVES and entry.base == (counted[-1].number if counted else 0):
                counted.append(entry)
        return counted

    @property
    def last(self) -> int:
        """Number of the last entry that counts; 0 for none."""
        return self.counted[-1].number if self.counted else 0

    @property
    def champion(self) -> int:
        """The version in use; 0 for none."""
        return self.counted[-1].after if self.counted else 0

    @property
    def line(self) -> list[int]:
        """The champions, the newest last, without those that were rolled back.

        A champion that lost its alias stays in the list: the next challenger is compared with it, and a rollback restores it.
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
        """The versions that a rollback can return to, the newest first. Each rollback makes the list shorter."""
        return [version for version in self.line[::-1] if version != self.champion]

    def rolled_back(self, version: int) -> LogEntry | None:
        """The rollback that took this version out of use; None if there was none or the version was promoted again since."""
        rollback = None
        for entry in self.counted:
            if entry.kind == "rollback" and entry.before == version:
                rollback = entry
            elif entry.after == version:
                rollback = None
        return rollback

    def refused(self, version: int, basis: str) -> LogEntry | None:
        """The entry that refused this version on the same ``basis``, the digest at the end of ``document``."""
        refusals = (entry for entry in self.entries if entry.kind == "refuse" and entry.after == version)
        return next((entry for entry in refusals if entry.document.endswith(f"-{basis}")), None)
