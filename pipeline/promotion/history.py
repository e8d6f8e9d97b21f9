"""The command ``history``: who made which version the champion, when, and why."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.promotion.champion import look
from pipeline.registry.client import registry


def run(project: Project[Params], as_json: bool = False) -> None:
    """Show every entry, the oldest first, including those that had no effect. Raises ServiceError if MLflow is unavailable."""
    with registry(project.settings) as client:
        log, difference = look(client, project.params.register_)
    counted = {entry.number for entry in log.counted}
    if as_json:
        say(json.dumps([{**asdict(entry), "counts": entry.number in counted} for entry in log.entries], indent=1))
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
        for entry in log.entries
    ]
    names = project.params.register_
    table(f"history of {names.model}@{names.champion}", ["", "when", "who", "what", "from, to", "verdict", "why"], rows)
    say(f"champion: version {log.champion}" if log.champion else "champion: none yet; `python -m pipeline promote VERSION`")
    if difference:
        say(difference)
