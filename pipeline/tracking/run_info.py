"""What a run's page in MLflow says about it: its name, description, source and user."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

SHOWN = 3
"""Most datasets that a run's name lists."""
TRAINED = ("seed", "datasets", "architecture", "network", "loss", "train")
"""The sections of params.yaml that a training depends on."""
REGISTERED = (
    "seed",
    "datasets",
    "prepare",
    "leaks",
    "pack",
    "architecture",
    "network",
    "loss",
    "train",
    "evaluate",
    "register",
)
"""The sections that the stages of ``dvc.yaml`` read."""
UNSENT = "unsent"
"""The key in ``checkpoints/run.json`` of all reports of a training that ended while MLflow did not answer."""
NOTE = "mlflow.note.content"
"""The tag with a run's description."""
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
"""The tag of an experiment that makes MLflow show it as model training, and its value (MLflow's web interface knows both)."""


def run_title(network: str, width: int, datasets: Sequence[str], command: str = "") -> str:
    """A name that says what was trained, on what and when: ``rdmc width 24 on light+heavy, 2026-11-26`` (the day in UTC).

    Args:
        network: kind of the network.
        width: its width in channels.
        datasets: names of the datasets.
        command: what the run is of, if it is not a training.
    """
    more = f"+{len(datasets) - SHOWN} more" if len(datasets) > SHOWN else ""
    begin = f"{command}: " if command else ""
    return f"{begin}{network} width {width} on {'+'.join(datasets[:SHOWN])}{more}, {datetime.now(UTC):%Y-%m-%d}"


def run_tags(command: str, description: str, commit: str = "") -> dict[str, str]:
    """The tags from which MLflow shows a run's source, commit, user and description.

    Args:
        command: the command of ``python -m pipeline`` that makes the run.
        description: Markdown.
        commit: git commit of the code; empty if it is not known.
    """
    return {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": f"python -m pipeline {command}",
        "mlflow.user": user(),
        NOTE: description,
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }


def only(params: Mapping[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    """The params, by dotted name, of some sections of params.yaml."""
    return {name: value for name, value in params.items() if name.partition(".")[0] in sections}


def user() -> str:
    """The name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # this user has no entry in the password database
        return "unknown"
