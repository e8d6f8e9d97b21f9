"""Acts on data: what is known, what comes in, what is checked and packed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, known, read_project
from pipeline.config.data import Layout
from pipeline.config.settings import read_settings

Dataset = Annotated[str, typer.Argument(help="A key of `datasets` in params.yaml.", show_default=False)]
LEAKS = 3
"""Exit code of ``leaks`` where it finds some; 1 and 2 say that it could not look."""


def datasets(
    name: Annotated[str, typer.Argument(help="One of them, to see all that is known of it.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the rain benchmarks that are known: counts, figures, faults, published results, and who says so."""
    from pipeline.data import benchmarks as command

    command.run(name, as_json)


def fetch(
    source: Annotated[str, typer.Argument(help="A folder, an archive, or its s3:// or https:// address.", show_default=False)],
    dest: Annotated[Path, typer.Argument(help="The folder to make, as raw/rain800.", show_default=False)],
    sha256: Annotated[str, typer.Option(help="What the archive must be.")] = "",
    dvc: Annotated[bool, typer.Option("--dvc", help="Put the folder under DVC.")] = False,
) -> None:
    """Bring a dataset in: download what goes on where it stopped, unpack with suspicion, say what it looks like."""
    from pipeline.data import fetch as command

    command.run(source, dest, sha256, dvc)


def prepare(dataset: Dataset, params: ParamsFile = PARAMS) -> None:
    """Make or find a dataset's pairs and check each one.

    Bad files are set aside with their reason in `data/pairs/DATASET/quarantine.json`; too many of them fail the act.
    """
    from pipeline.stages import prepare as command

    project = read_project(params)
    name, rules = known(project, dataset), project.params
    command.run(name, rules.datasets[name], rules.prepare, rules.seed, project.paths.pairs(name))


def leaks(
    train: Annotated[list[str] | None, typer.Option(help="A folder, or a quoted glob, of clean training images.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="A folder, or a quoted glob, of clean test images.")] = None,
    layout: Annotated[
        list[Layout] | None, typer.Option(help="What the files of a folder are: one for all, or one for each in order.")
    ] = None,
    score: Annotated[float, typer.Option(min=0.01, max=1, help="Agreement of the pixels that counts, for folders.")] = 0.4,
    json: Annotated[Path | None, typer.Option(help="Also write what is found here, for folders.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Draw what is found side by side into this new folder.")] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Find clean scenes that training and test share: exact, cropped, recompressed, resized, mirrored or turned copies.

    With `--train` and `--test` (each may be repeated): of these folders; exit code 3 where there are leaks, 0 where there are
    none. Without: of the prepared datasets of params.yaml, and `data/leaks.json` is what `pack` leaves out.
    """
    from pipeline.stages import leaks as command

    if train or test:
        if command.check(train or [], test or [], layout or [Layout.CLEAN], score, json, pictures):
            raise typer.Exit(LEAKS)
        return
    project = read_project(params)
    command.run(project.params.datasets, project.params.leaks, project.paths, pictures)


def pack(dataset: Dataset, params: ParamsFile = PARAMS) -> None:
    """Pack a dataset's pairs into WebDataset shards with a manifest of digests and offsets."""
    from pipeline.stages import pack as command

    project = read_project(params)
    name, rules, paths = known(project, dataset), project.params, project.paths
    command.run(name, paths.pairs(name), rules.pack, paths.shards(name), paths.leaks if rules.leaks.exclude else None)


def connect() -> None:
    """Point DVC at the bucket of the settings (`RDMC_BUCKET`), so that `dvc push` and `dvc pull` go there."""
    from pipeline.storage.dvc_remote import connect as point_dvc

    point_dvc(read_settings(), Path())
