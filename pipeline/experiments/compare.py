"""``experiments``: the experiments of ``dvc exp run`` with few columns: state, main figures, and the params that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config.paths import Paths
from pipeline.config.recipe import leaves
from pipeline.console import say, table
from pipeline.versioning.dvc import run_dvc

COMMITS = 10
"""How many of the last commits are searched for experiments that started from them."""
TEST, TRAIN = Paths().evaluate_metrics.as_posix(), Paths().train_metrics.as_posix()
PARAMS = "params.yaml"
FIGURES = {
    "test PSNR-Y": (TEST, "overall.derained.psnr_y", ".2f"),
    "gain": (TEST, "overall.gain_psnr_y", "+.2f"),
    "test SSIM-Y": (TEST, "overall.derained.ssim_y", ".4f"),
    "validation PSNR-Y": (TRAIN, "validation_psnr_y", ".2f"),
}
"""The figures shown: file, dotted name and format of each. PSNR-Y and gain in dB."""


@dataclass(frozen=True)
class Experiment:
    """One row: the files here, a commit, or an experiment that started from that commit."""

    name: str
    kind: str
    """``workspace``, ``commit`` or ``experiment``."""
    state: str
    figures: dict[str, float | None]
    changed: dict[str, Any]
    """Params that differ from those of the commit, by dotted name."""


def run(root: Path = Path(), as_json: bool = False) -> None:
    """Show the experiments of the project in ``root``, below the commit that each started from.

    Raises ServiceError if DVC cannot list them, such as outside a DVC project.
    """
    rows = list(experiments(shown_by_dvc(root)))
    if as_json:
        say(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table("experiments: PSNR-Y and gain in dB", ["", "state", *FIGURES, "changed params"], [_cells(row) for row in rows])
    if not any(row.kind == "experiment" for row in rows):
        say("no experiment yet; make one:  dvc exp run -S train.lr=1e-3")
    else:
        say("take one over:  dvc exp apply NAME      delete one:  dvc exp remove NAME      all columns:  dvc exp show")


def shown_by_dvc(root: Path) -> list[dict[str, Any]]:
    """What ``dvc exp show --json`` prints. Raises ServiceError with the first line of its error."""
    return list(json.loads(run_dvc(root, "exp", "show", "--json", "--num", str(COMMITS))))


def experiments(shown: list[dict[str, Any]]) -> Iterator[Experiment]:
    """The rows of DVC's output: the workspace, and each commit with its experiments. Other old commits are left out."""
    commits = [entry for entry in shown if entry["rev"] != "workspace"]
    head = _params(commits[0]) if commits else {}
    for entry in shown:
        here = entry["rev"] == "workspace"
        below = entry.get("experiments") or []
        if not here and entry is not commits[0] and not below:
            continue
        yield _row(entry, "workspace" if here else "commit", "", head if here else _params(entry))
        for experiment in below:
            state = str((experiment.get("executor") or {}).get("state") or "")
            for revision in experiment["revs"][:1]:
                yield _row(revision, "experiment", state.lower(), _params(entry))


def _row(entry: Mapping[str, Any], kind: str, state: str, base: Mapping[str, Any]) -> Experiment:
    metrics = {file: dict(leaves(part.get("data") or {})) for file, part in (_data(entry).get("metrics") or {}).items()}
    figures = {title: _number(metrics.get(file, {}).get(name)) for title, (file, name, _) in FIGURES.items()}
    own = _params(entry)
    keys = sorted(own.keys() | base.keys()) if own else []
    changed = {key: own.get(key) for key in keys if own.get(key) != base.get(key)}
    error = (entry.get("error") or {}).get("msg", "")
    name = str(entry.get("name") or (entry["rev"] if kind == "workspace" else entry["rev"][:7]))
    done = "failed" if error else "done" if figures["test PSNR-Y"] is not None else "no result"
    return Experiment(name, kind, state or (done if kind == "experiment" else kind), figures, changed)


def _cells(row: Experiment) -> list[str]:
    shown = [format(value, FIGURES[title][2]) if value is not None else "-" for title, value in row.figures.items()]
    changed = " ".join(f"{name}={json.dumps(value)}" for name, value in row.changed.items())
    return [f"  {row.name}" if row.kind == "experiment" else row.name, row.state, *shown, changed]


def _data(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry.get("data") or {}


def _params(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a revision by dotted name; empty if DVC could not read them."""
    return dict(leaves(((_data(entry).get("params") or {}).get(PARAMS) or {}).get("data") or {}))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
