"""Which version is the champion: a log in the registry decides, and an alias follows it.

The log is the registered model ``<model>-history``, and its versions are the entries. In every kind of store MLflow assigns
version numbers in a transaction, so no two entries get the same number. Each entry names the entry that it was decided on
(``base``), and it counts only if that is still the last entry that counts. Therefore only one of two simultaneous promotions
counts. Adding the entry is what promotes a version. The alias is moved afterwards; if a command is stopped before that, the
next promotion or rollback moves it (docs/decisions/0012). Everything here is used inside ``pipeline.registry.client.registry``.
"""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING

from pipeline.config.registry import Register
from pipeline.console import say
from pipeline.promotion.log import LogEntry, PromotionLog
from pipeline.promotion.verdict import show_reign
from pipeline.registry.versions import all_versions, ensure_model, known_aliases, known_version
from pipeline.tracking.links import HISTORY
from rdmc.errors import ServiceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TEXT = 2000
"""Most characters kept of a verdict or a reason. MLflow's databases take 5000 for an entry's description."""
TRIES = 5
"""How often to read the log again while other commands change it."""
PAUSE = 2.0
"""Seconds to wait before reading again an alias that differs from the log. If it still differs, it was moved by hand."""


def log_name(names: Register) -> str:
    """Name of the registered model that holds the log."""
    return f"{names.model}{HISTORY}"


def read_log(client: MlflowClient, names: Register) -> PromotionLog:
    """Read the log; changes nothing."""
    return PromotionLog(
        tuple(
            _entry(version.number, version.tags) for version in all_versions(client, log_name(names)) if "kind" in version.tags
        )
    )


def look(client: MlflowClient, names: Register) -> tuple[PromotionLog, str]:
    """The log, and a message if the alias differs from it, else an empty string. For commands that change nothing."""
    log, alias = read_log(client, names), known_aliases(client, names.model).get(names.champion, 0)
    if alias == log.champion:
        return log, ""
    return log, (
        f"{names.champion} is version {alias or 'none'}, but {log.champion or 'none'} by the history; "
        "the next promote or rollback settles it"
    )


def settle(client: MlflowClient, names: Register) -> PromotionLog:
    """Finish what an earlier command could not, record an alias that was moved by hand, and return the log.

    An alias that differs is read twice: a slow request of another command may have moved it, and that command corrects it.
    Raises ServiceError if others keep moving the champion.
    """
    last_seen = None
    for _ in range(TRIES):
        log = read_log(client, names)
        alias = known_aliases(client, names.model).get(names.champion, 0)
        if read_log(client, names).last != log.last:
            continue  # the log changed between the two reads, so log and alias may not match
        finished = not log.counted or log.counted[-1].done
        if alias == log.champion:
            if finished:
                return log
            show_reign(client, names.model, log)
            _mark(client, names, log.last)
            return read_log(client, names)
        if not finished and known_version(client, names.model, log.champion):
            say(f"entry {log.last} of the history was not finished: {names.champion} moves to version {log.champion}")
            follow(client, names)
            return read_log(client, names)
        if last_seen == (log.last, alias):
            say(f"{names.champion} was moved outside of this program, to version {alias or 'none'}: the history records it")
            append(client, names, log, "adopt", alias, why="the alias was moved outside of this program")
            show_reign(client, names.model, read_log(client, names))
            continue
        last_seen = (log.last, alias)
        sleep(PAUSE)
    raise _keeps_changing(names)


def move(
    client: MlflowClient,
    names: Register,
    log: PromotionLog,
    kind: str,
    version: int,
    verdict: str = "",
    why: str = "",
    document: str = "",
) -> LogEntry:
    """Make a version the champion by adding an entry to the log, then move the alias. Returns the entry.

    Args:
        client: MLflow's client.
        names: the names of the model and of its aliases.
        log: the log that the decision is based on.
        kind: one of ``pipeline.promotion.log.MOVES``.
        version: the new champion.
        verdict: the gate's verdict on one line.
        why: the reason that a user gave.
        document: folder of the verdict in the version's run.

    Raises:
        ServiceError: another command moved the champion since ``log`` was read. The champion is unchanged.
    """
    entry = append(client, names, log, kind, version, verdict, why, document)
    now = read_log(client, names)
    if entry.token not in {counted.token for counted in now.counted}:
        raise ServiceError(
            f"version {version} was not promoted: another command made version {now.champion} the champion meanwhile; "
            "look at `python -m pipeline history`, then run this again"
        )
    follow(client, names)
    return entry


def append(
    client: MlflowClient,
    names: Register,
    log: PromotionLog,
    kind: str,
    version: int,
    verdict: str = "",
    why: str = "",
    document: str = "",
) -> LogEntry:
    """Add an entry to the log and return it. Read the log again to see whether it counts.

    The arguments are those of ``move``, and ``kind`` may be ``refuse`` too. An ``adopt`` entry is marked as done at once,
    because the alias has moved already.
    """
    token, before, done = secrets.token_hex(8), log.champion, kind == "adopt"
    entry = LogEntry(0, kind, log.last, before, version, _who(), _now(), verdict[:TEXT], why[:TEXT], token, done, document)
    tags = {"kind": kind, "base": entry.base, "from": before, "to": version, "who": entry.who, "at": entry.at}
    tags |= {"verdict": entry.verdict, "why": entry.why, "token": token, "document": document}
    tags |= {"done": "true"} if done else {}
    _make_log(client, names)
    source, run_id = _source(client, names, log, version)
    made = client.create_model_version(
        log_name(names),
        source,
        run_id,
        tags={name: str(value) for name, value in tags.items()},
        description=sentence(entry),
        await_creation_for=0,
    )
    return replace(entry, number=int(made.version))


def follow(client: MlflowClient, names: Register) -> None:
    """Set the alias to the log's champion, again if the log changed meanwhile. Raises ServiceError if it keeps changing."""
    for _ in range(TRIES):
        log = read_log(client, names)
        if log.champion:
            client.set_registered_model_alias(names.model, names.champion, str(log.champion))
        if read_log(client, names).last == log.last:
            show_reign(client, names.model, log)
            _mark(client, names, log.last)
            return
    raise _keeps_changing(names)


def sentence(entry: LogEntry) -> str:
    """An entry as text for MLflow's page."""
    what = {
        "promote": f"version {entry.after} promoted",
        "force": f"version {entry.after} promoted by force",
        "rollback": f"back to version {entry.after}",
        "adopt": f"version {entry.after or 'none'} found as champion",
        "refuse": f"version {entry.after} refused",
    }[entry.kind]
    lines = [f"**{what}**, champion before: {entry.before or 'none'}", f"{entry.who}, {entry.at}", entry.verdict, entry.why]
    return "\n\n".join(line for line in lines if line)


def _keeps_changing(names: Register) -> ServiceError:
    return ServiceError(f"{names.champion} of {names.model!r} keeps changing: others promote now; try again")


def _make_log(client: MlflowClient, names: Register) -> None:
    about = f"Who made which version of {names.model} the champion, when and why; written by `python -m pipeline promote`."
    ensure_model(client, log_name(names), about)


def _source(client: MlflowClient, names: Register, log: PromotionLog, version: int) -> tuple[str, str | None]:
    """The model that an entry points at, and its run.

    It is the entry's version if that exists, else the champion before, else the last entry that counts.
    """
    for number in (version, log.champion):
        if existing := known_version(client, names.model, number):
            return existing.uri, existing.run_id or None
    return f"models:/{log_name(names)}/{log.last}", None


def _mark(client: MlflowClient, names: Register, number: int) -> None:
    client.set_model_version_tag(log_name(names), str(number), "done", "true")


def _entry(number: int, tags: Mapping[str, str]) -> LogEntry:
    def text(name: str) -> str:
        return tags.get(name, "")

    return LogEntry(
        number=number,
        kind=text("kind"),
        base=int(text("base") or 0),
        before=int(text("from") or 0),
        after=int(text("to") or 0),
        who=text("who"),
        at=text("at"),
        verdict=text("verdict"),
        why=text("why"),
        token=text("token"),
        done="done" in tags,
        document=text("document"),
    )


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # this user has no entry in the password database
        return f"unknown@{socket.gethostname()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
