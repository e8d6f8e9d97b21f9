"""Which version is the champion, and since when: a log in the registry that decides, and an alias that follows it.

The log is the registered model ``<model>-history``. Its versions are the entries: MLflow gives each the next number in one
transaction, which no two can get, in every kind of store. An entry names the entry that it was decided on (``base``); it
counts only if that one is still the last that counts. So of two promotions at once one counts, and a promotion is done with its
entry or not at all; the alias is moved after that, and by the next promotion or rollback where the first was stopped in between
(docs/decisions/0012). Everything here is used inside ``registry``.
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
from pipeline.registry.versions import all_versions, ensure_model, known_aliases, known_version
from rdmc.errors import ServiceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TEXT = 2000
"""Characters kept of a verdict or a reason; MLflow's databases take 5000 for an entry's description."""
TRIES = 5
PAUSE = 2.0
"""Seconds between two looks at an alias that differs from the log, before a hand is taken to have moved it."""


def log_name(names: Register) -> str:
    """The registered model that is the log."""
    return f"{names.model}-history"


def read_log(client: MlflowClient, names: Register) -> PromotionLog:
    """The log as it is."""
    return PromotionLog(
        tuple(
            _entry(version.number, version.tags) for version in all_versions(client, log_name(names)) if "kind" in version.tags
        )
    )


def look(client: MlflowClient, names: Register) -> tuple[PromotionLog, str]:
    """The log, and what to say where the alias differs from it; for acts that change nothing."""
    state, alias = read_log(client, names), known_aliases(client, names.model).get(names.champion, 0)
    if alias == state.champion:
        return state, ""
    return state, (
        f"{names.champion} is version {alias or 'none'}, but {state.champion or 'none'} by the history; "
        "the next promote or rollback settles it"
    )


def settle(client: MlflowClient, names: Register) -> PromotionLog:
    """Finish what an act before could not, take note of an alias that was moved by hand, and return the log.

    An alias that differs is looked at twice: a slow request of another act may have moved it, which that act mends itself.
    Raises ServiceError where others move the champion all the time.
    """
    seen = None
    for _ in range(TRIES):
        state = read_log(client, names)
        alias = known_aliases(client, names.model).get(names.champion, 0)
        if read_log(client, names).last != state.last:
            continue  # somebody is at it: what was read does not belong together
        finished = not state.counted or state.counted[-1].done
        if alias == state.champion:
            if finished:
                return state
            _mark(client, names, state.last)
            return read_log(client, names)
        if not finished and known_version(client, names.model, state.champion):
            say(f"entry {state.last} of the history was not finished: {names.champion} moves to version {state.champion}")
            follow(client, names)
            return read_log(client, names)
        if seen == (state.last, alias):
            say(f"{names.champion} was moved outside of this program, to version {alias or 'none'}: the history takes note")
            append(client, names, state, "adopt", alias, why="the alias was moved outside of this program")
            continue
        seen = (state.last, alias)
        sleep(PAUSE)
    raise _restless(names)


def move(
    client: MlflowClient,
    names: Register,
    state: PromotionLog,
    kind: str,
    version: int,
    verdict: str = "",
    why: str = "",
    document: str = "",
) -> LogEntry:
    """Make a version the champion, on the strength of ``state``; the entry is the deed, the alias follows.

    Raises ServiceError, with nothing changed, where another act moved the champion since ``state`` was read.
    """
    entry = append(client, names, state, kind, version, verdict, why, document)
    now = read_log(client, names)
    if entry.token not in {found.token for found in now.counted}:
        raise ServiceError(
            f"version {version} was not promoted: another act made version {now.champion} the champion meanwhile; "
            "look at `python -m pipeline history`, then run this again"
        )
    follow(client, names)
    return entry


def append(
    client: MlflowClient,
    names: Register,
    state: PromotionLog,
    kind: str,
    version: int,
    verdict: str = "",
    why: str = "",
    document: str = "",
) -> LogEntry:
    """Add an entry; whether it counts the log says, afterwards. What adopts an alias has nothing left to move."""
    token, before, done = secrets.token_hex(8), state.champion, kind == "adopt"
    entry = LogEntry(0, kind, state.last, before, version, _who(), _now(), verdict[:TEXT], why[:TEXT], token, done, document)
    tags = {"kind": kind, "base": entry.base, "from": before, "to": version, "who": entry.who, "at": entry.at}
    tags |= {"verdict": entry.verdict, "why": entry.why, "token": token, "document": document}
    tags |= {"done": "true"} if done else {}
    log = log_name(names)
    _make_log(client, names)
    source, run_id = _source(client, names, state, version)
    made = client.create_model_version(
        log,
        source,
        run_id,
        tags={name: str(value) for name, value in tags.items()},
        description=sentence(entry),
        await_creation_for=0,
    )
    return replace(entry, number=int(made.version))


def follow(client: MlflowClient, names: Register) -> None:
    """Set the alias to what the log says, and look again, for it may say something else by then."""
    for _ in range(TRIES):
        state = read_log(client, names)
        if state.champion:
            client.set_registered_model_alias(names.model, names.champion, str(state.champion))
        if read_log(client, names).last == state.last:
            _mark(client, names, state.last)
            return
    raise _restless(names)


def sentence(entry: LogEntry) -> str:
    """An entry for a person, as MLflow's page shows it."""
    what = {
        "promote": f"version {entry.after} promoted",
        "force": f"version {entry.after} promoted by force",
        "rollback": f"back to version {entry.after}",
        "adopt": f"version {entry.after or 'none'} found as champion",
        "refuse": f"version {entry.after} refused",
    }[entry.kind]
    lines = [f"**{what}**, champion before: {entry.before or 'none'}", f"{entry.who}, {entry.at}", entry.verdict, entry.why]
    return "\n\n".join(line for line in lines if line)


def _restless(names: Register) -> ServiceError:
    return ServiceError(f"{names.champion} of {names.model!r} keeps changing: others promote now; try again")


def _make_log(client: MlflowClient, names: Register) -> None:
    about = f"Who made which version of {names.model} the champion, when and why; written by `python -m pipeline promote`."
    ensure_model(client, log_name(names), about)


def _source(client: MlflowClient, names: Register, state: PromotionLog, version: int) -> tuple[str, str | None]:
    """What an entry points at, and its run: the version it is of, the champion before where there is none, else an entry."""
    for number in (version, state.champion):
        if found := known_version(client, names.model, number):
            return found.uri, found.run_id or None
    return f"models:/{log_name(names)}/{state.last}", None


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
    except (OSError, KeyError):  # no entry for this user
        return f"unknown@{socket.gethostname()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
