"""``history``: who made which version the champion, when, and why."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.promotion.champion import look
from pipeline.registry.client import registry


def run(project: Project[Params], as_json: bool = False) -> None:
    """Show every entry, the oldest first; those that had no effect too. Raises ServiceError where MLflow is away."""
    with registry(project.settings) as client:
        state, differs = look(client, project.params.register_)
    counted = {entry.number for entry in state.counted}
    if as_json:
        say(json.dumps([{**asdict(entry), "counts": entry.number in counted} for entry in state.entries], indent=1))
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
        for entry in state.entries
    ]
    names = project.params.register_
    table(f"history of {names.model}@{names.champion}", ["", "when", "who", "what", "from, to", "verdict", "why"], rows)
    say(f"champion: version {state.champion}" if state.champion else "champion: none yet; `python -m pipeline promote VERSION`")
    if differs:
        say(differs)
