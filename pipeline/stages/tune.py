"""``tune``: a sweep of short trainings (pipeline/trials.py), chosen by Optuna and stopped early by ASHA."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from ruamel.yaml import YAML

from pipeline.cluster import cluster, workers
from pipeline.console import say, table
from pipeline.distributed import forget
from pipeline.lineage import git_commit
from pipeline.params import Choice, LogUniform, Params, Uniform, flatten, trial_params, with_architecture
from pipeline.settings import Settings
from pipeline.storage import check_bucket, fetch_dataset, shard_fetch
from pipeline.tracking import Tracker
from pipeline.trials import METRIC, Children, cause, run_name, run_trials
from pipeline.workspace import Workspace
from rdmc.data.loader import PairStore
from rdmc.errors import TrainingError
from rdmc.files import write_text


def run(params: Params, settings: Settings, workspace: Workspace) -> None:
    """Search ``params.tune.space`` and write the best overrides and a table of all trials.

    Raises, before anything starts, ConfigError for a space with a value that cannot be used and DataError where there is
    nothing to train or to score on; TrainingError where every trial failed.
    """
    name, params = f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}", with_architecture(params)
    check_space(params)
    check_bucket(settings)
    folders = [fetch_dataset(settings, workspace, dataset) for dataset in params.datasets]
    for split in ("train", "validation"):
        PairStore(folders, split, fetch=shard_fetch(settings, workspace))
    tags = {"git_commit": git_commit() or "unknown", "stage": "tune"}
    with (
        cluster(settings, trials=params.tune.concurrent),
        Tracker.start(settings, name, flatten(params), tags) as parent,
        Children(_choose, params, settings, parent.run_id) as children,
    ):
        say(f"tune: {params.tune.trials} trials, {params.tune.concurrent} at once, {workers(settings)} workers each")
        space = {key: _domain(domain) for key, domain in params.tune.space.items()}
        results = run_trials(_choose, params, settings, workspace, name, space, _rules(params), children)
        rows = [_row(result, params) for result in results]
        write_text(workspace.trials, trials_csv(rows))
        for row in rows:
            if "cause" in row:
                say(f"trial {row['trial']} failed: {row['cause']}")
        scored = [row for row in rows if METRIC in row]
        if not scored:
            raise TrainingError(f"{name}: no trial of {len(rows)} ended with a {METRIC}; trials.csv says what they died of")
        best = max(scored, key=lambda row: float(row[METRIC]))
        parent.log({f"best_{METRIC}": float(best[METRIC])}, 0)
    overrides = {key: best[key] for key in params.tune.space}
    write_text(workspace.best_params, best_params_yaml(overrides))
    _summary(rows, overrides)
    for finished in (*map(run_name, children.trackers), name):
        forget(settings, workspace, finished)


def check_space(params: Params) -> None:
    """Try every value of a list and both ends of a range. Raises ConfigError that names the param and the value."""
    for key, domain in params.tune.space.items():
        for value in _values(domain):
            _choose(params, {key: value})


def _choose(params: Params, config: dict[str, Any]) -> Params:
    return trial_params(params, params.tune.steps, config)


def _rules(params: Params) -> tune.TuneConfig:
    return tune.TuneConfig(
        metric=METRIC,
        mode="max",
        num_samples=params.tune.trials,
        max_concurrent_trials=params.tune.concurrent,
        search_alg=OptunaSearch(seed=params.seed),
        scheduler=ASHAScheduler(
            time_attr="step",
            max_t=params.tune.steps,
            grace_period=params.tune.grace_steps,
            reduction_factor=params.tune.reduction,
        ),
    )


def _domain(domain: Choice | Uniform | LogUniform) -> Any:
    if isinstance(domain, Choice):
        return tune.choice(domain.choice)
    return tune.uniform(*domain.uniform) if isinstance(domain, Uniform) else tune.loguniform(*domain.loguniform)


def _values(domain: Choice | Uniform | LogUniform) -> Sequence[Any]:
    """Every value of a list, or the two ends of a range."""
    if isinstance(domain, Choice):
        return domain.choice
    return domain.uniform if isinstance(domain, Uniform) else domain.loguniform


def _row(result: Any, params: Params) -> dict[str, Any]:
    """A trial in the table: its overrides, its last score, its steps, how it ended and, where it failed, of what."""
    metrics = result.metrics or {}
    chosen = {key: result.config[key] for key in params.tune.space}
    scores = {METRIC: metrics[METRIC], "step": metrics["step"]} if METRIC in metrics else {}
    ended = "finished" if scores.get("step") == params.tune.steps else "stopped early"
    row = {"trial": metrics.get("trial_id", ""), **chosen, **scores, "state": "failed" if result.error else ended}
    return {**row, "cause": cause(result.error)} if result.error else row


def best_params_yaml(overrides: dict[str, Any]) -> str:
    """The overrides as the nested YAML they are in params.yaml."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(nested, text)
    return text.getvalue()


def trials_csv(rows: list[dict[str, Any]]) -> str:
    """A line per trial."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _summary(rows: list[dict[str, Any]], overrides: dict[str, Any]) -> None:
    ranked = sorted(rows, key=lambda row: -float(row.get(METRIC, 0)))
    keys = list(overrides)
    table(
        "trials, best first",
        ["trial", *keys, "PSNR-Y (dB)", "steps", "state"],
        [
            [
                row["trial"],
                *(f"{row[key]:.3g}" if isinstance(row[key], float) else str(row[key]) for key in keys),
                f"{row[METRIC]:.2f}" if METRIC in row else "-",
                str(row.get("step", "-")),
                row["state"],
            ]
            for row in ranked
        ],
    )
    flags = " ".join(f"-S {key}={value}" for key, value in overrides.items())
    say(f"best params are in best_params.yaml; train with them: dvc exp run {flags}")
