"""Commands that train and measure models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, RunName, read_project


def train(params: ParamsFile = PARAMS) -> None:
    """Train the network on the packed datasets, with Ray workers.

    `network.kind` in params.yaml chooses the network. `RDMC_WORKERS` sets the number of workers. The command writes
    `checkpoints/best` and `checkpoints/last`. A stopped training resumes when you run the command again.
    """
    from pipeline.stages import train as command

    command.run(read_project(params))


def search(params: ParamsFile = PARAMS) -> None:
    """Search for an architecture: which of RDMC's connections to keep, and which upsampling to use.

    The weights learn on some of the training scenes. The architecture learns on the others, which are held out from the
    weights. The command writes the folder `architectures/searched`. To train what it found:

    dvc exp run -S architecture=architectures/searched
    """
    from pipeline.experiments import search as command

    command.run(read_project(params))


def tune(
    params: ParamsFile = PARAMS,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the newest sweep that was stopped or killed.")] = False,
    sweep: Annotated[str, typer.Option(help="Resume this sweep instead of the newest.", metavar="NAME")] = "",
) -> None:
    """Search for better params with a sweep of short trainings (trials).

    `tune` in params.yaml sets what is searched (`tune.space`) and how; poor trials can be stopped early. The command writes
    best_params.yaml and trials.csv, and plots into sweep/. Each trial is an MLflow run under one parent run. A trial whose
    process or node is lost resumes from its last checkpoint.
    """
    from pipeline.experiments import tune as command

    command.run(read_project(params), resume, sweep)


def ablate(
    params: ParamsFile = PARAMS,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard all results in `ablation/` and train everything again.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Also write the table into this Markdown file, between the lines `<!-- ablation: begin -->` and "
            "`<!-- ablation: end -->`, and the plot beside the file."
        ),
    ] = None,
) -> None:
    """Train variants of the model with several seeds each, and compare them on the test images.

    `ablation` in params.yaml lists the variants. Each is a few params that differ from the rest of the file. All variants
    train for the same number of steps, on the same crops in the same order. Differences are computed seed by seed. Finished
    trials are kept in `ablation/`, with the table and the plot. So a stopped ablation resumes, and only new trials are
    trained. Each trial is an MLflow run under one parent run. If a trial fails, the others still run, and the exit code is 1.
    """
    from pipeline.experiments import ablate as command

    command.run(read_project(params), fresh, write)


def baseline(
    hint: Annotated[
        bool, typer.Option("--hint", help="Commit nothing; say what is not committed, and how to commit it.")
    ] = False,
) -> None:
    """Commit `dvc.lock`, `metrics/` and `plots/`, and nothing else: the baseline that experiments are compared with.

    `dvc metrics diff` and `experiments` compare with the last commit, and the next `dvc exp run` overwrites these files.
    """
    from pipeline.experiments import baseline as command

    (command.hint if hint else command.run)()


def experiments(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """List the experiments of `dvc exp run`: state, main figures, and the params that differ from the commit they started from.

    `dvc exp show` has a column for every param, metric and file. This is the part that is needed to choose one.
    """
    from pipeline.experiments import compare as command

    command.run(as_json=as_json)


def evaluate(params: ParamsFile = PARAMS, run: RunName = "") -> None:
    """Measure the best model on the test images of every dataset, and draw before/after pictures.

    The command writes `metrics/evaluate.json`, `plots/images.csv`, `plots/pictures/`, and all on one page, `plots/report.html`.
    A killed evaluation goes on where it stopped. `RDMC_WORKERS` of two or more measures on that many workers of Ray. A model
    that is not here comes from the bucket, if one is set; the results are kept there too.
    """
    from pipeline.jobs.home import evaluate_and_keep, fetch_results
    from pipeline.storage.results import TRAINED

    project = read_project(params)
    fetch_results(project, run, TRAINED)
    evaluate_and_keep(project)


def reference(
    params: ParamsFile = PARAMS,
    profile: Annotated[
        str, typer.Option(help="The profile, `profiles/PROFILE.yaml` beside the params file: the params that differ from it.")
    ] = "reference",
    out: Annotated[
        Path | None, typer.Option(help="The folder for weights and card. Without it, the package's own: `rdmc/weights`.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Also write the figures into this Markdown file, between the lines `<!-- reference: begin -->` and "
            "`<!-- reference: end -->`."
        ),
    ] = None,
) -> None:
    """Train the reference model from scratch, the one that `derain` and `serve` use when nothing is registered.

    It runs prepare, leaks, pack, train and evaluate in `runs/reference`, apart from the project's own files. Then it writes
    float16 weights and a card with their digest and figures. A stopped command resumes when you run it again, and steps whose
    inputs have not changed are skipped.
    """
    from pipeline.reference import make as command
    from rdmc.reference import FOLDER

    command.run(read_project(params, profile), out or FOLDER, write)


def profile(
    name: Annotated[
        str,
        typer.Argument(help="The profile: `profiles/NAME.yaml` beside the params file, with the params that differ from it."),
    ],
    params: ParamsFile = PARAMS,
) -> None:
    """Run prepare, leaks, pack, train and evaluate with the params of a profile.

    Everything is written below `runs/NAME`, apart from the project's own files, and nothing is registered. A stopped command
    resumes when you run it again, and steps whose inputs have not changed are skipped. It ends with a table of the gains.
    """
    from pipeline.profile import run as command

    command.run(read_project(params, name), name)
