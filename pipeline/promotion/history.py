"""The command ``history``: who made which version the champion, when, and why."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.promotion.champion import look
from pipeline.registry.client import registry


def run(project: Project[Params], as_json: bool = False, limit: int = 0) -> None:
    """Show the entries, the oldest first, including those that had no effect: the newest ``limit``, or all if that is 0.

    Raises ServiceError if MLflow is unavailable.
    """
    with registry(project.settings) as client:
        log, difference = look(client, project.params.register_)
    counted = {entry.number for entry in log.counted}
    shown = log.entries[-limit:]  # all with 0
    if as_json:
        say(json.dumps([{**asdict(entry), "counts": entry.number in counted} for entry in shown], indent=1))
        return
    rows = [
        [
            str(entry.number),
            entry.at,
            entry.who,
            entry.kind if entry.number in counted or entry.kind == "refuse" else f"{entry.kind} (too late)",
            f"{entry.before or 'none'} -> {entry.after or 'none'}",
            entry.verdict,
            entry.why,
        ]
        for entry in shown
    ]
    names = project.params.register_
    table(f"history of {names.model}@{names.champion}", ["", "when", "who", "what", "from, to", "verdict", "why"], rows)
    if earlier := len(log.entries) - len(shown):
        say(f"{earlier} earlier entries are not shown; a larger --limit shows more")
    say(f"champion: version {log.champion}" if log.champion else "champion: none yet; `python -m pipeline promote VERSION`")
    if difference:
        say(difference)
