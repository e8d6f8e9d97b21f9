"""The command that compares models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, read_project
from pipeline.config.settings import read_settings


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="What to compare: a registered model (`models:/rdmc@champion`), a checkpoint or run folder, `reference`, "
            "`prenet:FILE` with published weights, `outputs:FOLDER` with images that a method saved, or `rainy`, the input "
            "itself, which always takes part. `x8:MODEL` is the model's self-ensemble. Differences are to the first.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="A dataset of params.yaml, or a folder of pairs in any known layout. Repeat it for more.", metavar="NAME"
        ),
    ],
    json: Annotated[Path | None, typer.Option(help="Also write everything into this file, every image included.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="Also write the tables into this Markdown file: a new one, or one that is there, between the lines "
            "`<!-- leaderboard: begin -->` and `<!-- leaderboard: end -->`."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the tables as one HTML page that loads nothing.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again the images that an earlier command has measured.")
    ] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Compare models on the same images under every convention of PSNR and SSIM, as a leaderboard.

    It has confidence intervals of the mean and of the difference to the first model, seconds an image, parameters, GFLOP and
    peak memory, and the published figures of a known benchmark beside them. A killed command goes on where it stopped.
    """
    from pipeline.comparison import run as command

    project = None if params == PARAMS and not params.exists() else read_project(params)
    settings = project.settings if project else read_settings()
    command.run(models, data, command.Targets(json, markdown, html), settings, project, fresh)
