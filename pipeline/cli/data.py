"""Commands for data: known benchmarks, downloads, checks, leaks, packing, and DVC's remote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, known, read_project
from pipeline.config.data import Layout
from pipeline.config.settings import read_settings
from rdmc.errors import RdmcError

Dataset = Annotated[str, typer.Argument(help="A dataset: one of the keys under `datasets` in params.yaml.", show_default=False)]
LEAKS = 3
"""Exit code of ``leaks`` if it finds any; 1 and 2 mean that it could not check."""

UNUSABLE = 2
"""Exit code of ``check`` if the project cannot be run as it is."""


def datasets(
    name: Annotated[
        str,
        typer.Argument(
            help="A benchmark's name: show everything known about it. Without a name, list all benchmarks.", show_default=False
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """List the known rain benchmarks: pair counts, input PSNR-Y, known errors, published results, and the source of each."""
    from pipeline.data import benchmarks as command

    command.run(name, as_json)


def fetch(
    source: Annotated[
        str, typer.Argument(help="A folder, an archive file, or an archive's s3:// or https:// address.", show_default=False)
    ],
    dest: Annotated[Path, typer.Argument(help="The folder to create, for example raw/rain800.", show_default=False)],
    sha256: Annotated[str, typer.Option(help="The SHA-256 digest (hex) that the archive must have.")] = "",
    dvc: Annotated[bool, typer.Option("--dvc", help="Also add the folder to DVC.")] = False,
) -> None:
    """Copy or download a dataset into a new folder, and report how its images are laid out.

    An interrupted download resumes where it stopped. An unsafe archive is refused, for example one that writes outside the
    folder.
    """
    from pipeline.data import fetch as command

    command.run(source, dest, sha256, dvc)


def check(params: ParamsFile = PARAMS) -> None:
    """Check params.yaml, the settings and the paths of the datasets, as the stages will read them.

    It prints nothing if all is well. It is the first stage, because DVC deletes the outputs of a stage before it runs the
    stage. The exit code is 2 if something cannot be used.
    """
    from pipeline.stages import check as command

    try:
        command.run(read_project(params))
    except RdmcError as error:
        error.exit_code = UNUSABLE
        raise


def prepare(dataset: Dataset, params: ParamsFile = PARAMS) -> None:
    """Render or find a dataset's pairs of rainy and clean images, and check each pair.

    Bad files are left out and listed, with the reason, in `data/pairs/DATASET/quarantine.json`. If there are too many of them
    (`prepare.max_quarantined` in params.yaml), the command fails.
    """
    from pipeline.stages import prepare as command

    project = read_project(params)
    name, rules = known(project, dataset), project.params
    command.run(name, rules.datasets[name], rules.prepare, rules.seed, project.paths.pairs(name))


def leaks(
    train: Annotated[list[str] | None, typer.Option(help="A folder, or a quoted glob, of clean training images.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="A folder, or a quoted glob, of clean test images.")] = None,
    layout: Annotated[
        list[Layout] | None,
        typer.Option(help="What a folder's files are. Give it once for all folders, or once for each, --train first."),
    ] = None,
    score: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="For folders: the pixel agreement (0 to 1) from which two images show the same scene."
        ),
    ] = 0.4,
    json: Annotated[Path | None, typer.Option(help="For folders: also write the result to this JSON file.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Draw the leaks found, side by side, into this new folder.")] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Find clean scenes that training and test share: exact, cropped, recompressed, resized, mirrored or turned copies.

    With `--train` and `--test` (repeat them for several folders), it compares these folders. The exit code is 3 if there are
    leaks and 0 if there are none. Without them, it compares the prepared datasets of params.yaml and writes
    `data/leaks.json`. `pack` leaves out the pairs listed there.
    """
    from pipeline.stages import leaks as command

    if train or test:
        if command.check(train or [], test or [], layout or [Layout.CLEAN], score, json, pictures):
            raise typer.Exit(LEAKS)
        return
    project = read_project(params)
    command.run(project.params.datasets, project.params.leaks, project.paths, pictures)


def pack(dataset: Dataset, params: ParamsFile = PARAMS) -> None:
    """Pack a dataset's pairs into WebDataset shards, with a manifest of their digests and byte offsets."""
    from pipeline.stages import pack as command

    project = read_project(params)
    name, rules, paths = known(project, dataset), project.params, project.paths
    command.run(name, paths.pairs(name), rules.pack, paths.shards(name), paths.leaks if rules.leaks.exclude else None)


def clean(
    older_than: Annotated[
        float, typer.Option(min=0, help="Only runs in which nothing was written for this many days.", show_default=False)
    ],
    results: Annotated[
        bool, typer.Option("--results", help="Also the results of finished trainings in the bucket, which jobs keep there.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them. Without it, they are only listed.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """List or delete what stopped trainings and sweeps left in `runs/`, `RDMC_STORAGE` or the bucket.

    A run that is being trained is never touched. A run that was deleted starts at its first step when you start it again.
    Results are copies: MLflow has the registered models. A training whose results were deleted can no longer come home.
    """
    from pipeline.storage import clean as command

    command.run(read_project(params), older_than, yes, results)


def connect() -> None:
    """Point DVC at the bucket that `RDMC_BUCKET` names, for `dvc push` and `dvc pull`."""
    from pipeline.storage.dvc_remote import connect as point_dvc

    point_dvc(read_settings(), Path())
