"""A folder of pairs in the making, which outlives a killed process: the next one goes on in it.

It lies beside its target under a hidden name with a digest of everything that its files depend on, so DVC, which deletes the
target before it runs a stage, leaves it alone. A journal in it has the result of each finished piece. Nothing in it is believed
unseen: what a piece was made from, and the files that it wrote, are compared by their digests first.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rdmc.data.journal import PieceJournal, digest_of
from rdmc.data.pairs import SPLITS, PairEntry
from rdmc.errors import DataError, RdmcError
from rdmc.files import file_digest, take_place

JOURNAL = "journal.jsonl"


@contextmanager
def partial_folder(target: Path, depends: object) -> Iterator[tuple[Path, PieceJournal]]:
    """Yield a folder beside ``target``, and the journal of what is in it. It replaces ``target`` if the block succeeds.

    A killed or interrupted process leaves it for the next one with the same ``depends``, a value that JSON can hold; after an
    RdmcError it is removed. Folders of other values are removed at the start. Raises DataError if another process is in it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{digest_of(depends)}.part")
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        _hold(lock.fileno(), folder)
        _remove_others(folder, target)
        journal = PieceJournal(folder / JOURNAL)
        try:
            with journal:
                yield folder, journal
            journal.remove()
            (folder / ".lock").unlink()
            take_place(folder, target)
        except RdmcError:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def intact(folder: Path, entry: PairEntry) -> bool:
    """Whether both files of a pair are there and have the digests of its entry."""
    files = ((entry.rainy, entry.sha256_rainy), (entry.clean, entry.sha256_clean))
    return all((folder / name).is_file() and file_digest(folder / name) == digest for name, digest in files)


def remove_strays(folder: Path, entries: Iterable[PairEntry]) -> None:
    """Remove files of pairs that are not among the ``entries``, such as one that a killed process wrote half of."""
    kept = {name for entry in entries for name in (entry.rainy, entry.clean)}
    for split in SPLITS:
        for path in list((folder / split).glob("*")):
            if f"{split}/{path.name}" not in kept:
                path.unlink()
        if (folder / split).is_dir() and not any((folder / split).iterdir()):
            (folder / split).rmdir()


def _hold(lock: int, folder: Path) -> None:
    """Lock a folder until the file is closed. Raises DataError if another process has locked it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DataError(f"{folder}: another process is making these pairs; wait for it, or stop it") from None


def _remove_others(folder: Path, target: Path) -> None:
    """Remove what earlier processes left of the same target under other digests, unless one still works there.

    A target that was set aside by a process that was killed before it put another in its place goes back.
    """
    for aside in target.parent.glob(f".{target.name}.*.part.old"):
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)
    for other in target.parent.glob(f".{target.name}.*.part"):
        if other == folder:
            continue
        try:
            with (other / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other, ignore_errors=True)
        except OSError:
            continue
