"""MLflow's embedded store (a SQLite file) after its project was moved or copied.

MLflow records the absolute path of every artifact. After a move nothing is found any more, and a copy would write into the
original. So each connection first compares the recorded folder with the one beside the database, and corrects the records.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rdmc.errors import ServiceError

FOLDER = "mlartifacts"
"""The folder beside the database that holds all artifacts."""
UPDATES = {
    ("experiments", "artifact_location"): "UPDATE experiments SET artifact_location = moved(artifact_location)"
    " WHERE artifact_location <> moved(artifact_location)",
    ("runs", "artifact_uri"): "UPDATE runs SET artifact_uri = moved(artifact_uri) WHERE artifact_uri <> moved(artifact_uri)",
    ("logged_models", "artifact_location"): "UPDATE logged_models SET artifact_location = moved(artifact_location)"
    " WHERE artifact_location <> moved(artifact_location)",
    ("model_versions", "source"): "UPDATE model_versions SET source = moved(source) WHERE source <> moved(source)",
    ("model_versions", "storage_location"): "UPDATE model_versions SET storage_location = moved(storage_location)"
    " WHERE storage_location <> moved(storage_location)",
}
"""The tables and columns of MLflow's database that hold artifact paths, and what corrects each. ``moved`` is ``_moved``."""
SECONDS = 30.0
"""How long to wait for another process that writes to the database."""


def artifact_folder(database: Path) -> Path:
    """The absolute path of the folder in which the artifacts of a SQLite store belong."""
    return database.parent.resolve() / FOLDER


def relocate(database: Path) -> str:
    """Make every recorded artifact path of a moved or copied store point below the folder beside the database.

    Artifacts in a bucket, and a database that is a link to another place, are left alone. A folder that is only reached by
    another path, such as a bind mount of which both ends are visible, is left alone too.

    Returns:
        A line that says what was corrected; empty if everything was in its place.

    Raises:
        ServiceError: only the database is here, its artifacts are still at the recorded path; or the database is locked,
            read-only or damaged.
    """
    if database.is_symlink() or not database.is_file():
        return ""
    here = artifact_folder(database)
    try:
        with closing(sqlite3.connect(database, timeout=SECONDS)) as store:
            moved = {text: old for text in _locations(store) if (old := _elsewhere(text, here))}
            for old in moved.values():
                if old.is_dir() and not here.is_dir():
                    raise ServiceError(
                        f"{database}: its artifacts are in {old} and not beside it; "
                        f"copy that folder here too: cp -a {old} {here.parent}"
                    )
            changed = sum(_correct(store, text, here.as_uri()) for text in moved)
            store.commit()
    except sqlite3.Error as error:
        raise ServiceError(f"{database}: {error}; make it readable and writable, then run this command again") from None
    if not moved:
        return ""
    before = ", ".join(f"{'copied' if old.is_dir() else 'moved'} from {old.parent}" for old in moved.values())
    return f"MLflow's store was {before}: {changed} artifact paths in {database} point to {here} now"


def _locations(store: sqlite3.Connection) -> list[str]:
    """The artifact locations of all experiments; empty for a database without MLflow's tables."""
    if not _columns(store, "experiments"):
        return []
    return [row[0] for row in store.execute("SELECT DISTINCT artifact_location FROM experiments") if row[0]]


def _elsewhere(location: str, here: Path) -> Path | None:
    """The local artifact folder of a store that a location names, if that is not ``here``."""
    parts = urlsplit(location)
    path = Path(unquote(parts.path))
    if parts.scheme not in ("", "file") or path.name != FOLDER or path == here:
        return None
    same = path.is_dir() and here.is_dir() and path.samefile(here)
    return None if same else path


def _correct(store: sqlite3.Connection, before: str, now: str) -> int:
    """Replace the beginning ``before`` of all recorded paths; return how many there were."""
    store.create_function("moved", 1, lambda path: _moved(path, before, now), deterministic=True)
    known = [update for (table, column), update in UPDATES.items() if column in _columns(store, table)]
    return sum(store.execute(update).rowcount for update in known)


def _moved(path: str | None, before: str, now: str) -> str | None:
    """``path`` with ``now`` in place of its beginning ``before``, a folder; any other path, and NULL, as it is."""
    if path is None or not f"{path}/".startswith(f"{before}/"):
        return path
    return now + path[len(before) :]


def _columns(store: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in store.execute(f"PRAGMA table_info({table})")}
