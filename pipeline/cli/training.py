"""Acts that train and measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, read_project


def train(params: ParamsFile = PARAMS) -> None:
    """Train RDMC on the packed datasets, on as many Ray workers as the settings say.

    Writes `checkpoints/best` and `checkpoints/last`. A run that was stopped goes on where it was.
    """
    from pipeline.stages import train as command

    command.run(read_project(params))


def search(params: ParamsFile = PARAMS) -> None:
    """Search which of RDMC's connections and which upsampling are worth having: they learn on pairs held out from the weights.

    Writes `architectures/searched`, to train with `dvc exp run -S architecture=architectures/searched`.
    """
    from pipeline.experiments import search as command

    command.run(read_project(params))


def tune(
    params: ParamsFile = PARAMS,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest sweep that was stopped or killed.")] = False,
    sweep: Annotated[str, typer.Option(help="Go on with this one, not the newest.", metavar="NAME")] = "",
) -> None:
    """Search `tune.space` for better params: a sweep of short trainings, the worst stopped early.

    Writes `best_params.yaml`, `trials.csv` and the pictures in `sweep/`; each trial is an MLflow run under one parent. A trial
    whose process or node is lost goes on from its last checkpoint.
    """
    from pipeline.experiments import tune as command

    command.run(read_project(params), resume, sweep)


def ablate(
    params: ParamsFile = PARAMS,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget all results in `ablation/` and train everything again.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="Put the table between the markers of this file too, and the plot beside it.")
    ] = None,
) -> None:
    """Train variants of the recipe alike, with several seeds, and compare them on the test images.

    `ablation` in `params.yaml` names them: each is a few params that differ from the rest of the file. Every variant takes as
    many steps on the same crops in the same order; differences are taken seed by seed. Finished trials are kept in `ablation/`
    with the table and the plot, so the act goes on where it was, and trains what is new. Each trial is an MLflow run under one
    parent. A trial that fails stops no other; the exit code is 1 then.
    """
    from pipeline.experiments import ablate as command

    command.run(read_project(params), fresh, write)


def evaluate(params: ParamsFile = PARAMS) -> None:
    """Measure the best model on every dataset's test images, and draw before/after pictures.

    Writes `metrics/evaluate.json`, `plots/images.csv` and `plots/pictures/`.
    """
    from pipeline.stages import evaluate as command

    command.run(read_project(params))
