"""``python -m pipeline <act>``: the command line. Each act is one function of ``pipeline.stages``, imported when asked for."""

from __future__ import annotations

import errno
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pipeline.datasets import Layout
from pipeline.settings import read_settings
from pipeline.workspace import Workspace
from rdmc.errors import ConfigError, RdmcError

if TYPE_CHECKING:
    from pipeline.params import Params

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a plain traceback of a fault of ours; locals could hold secrets
    rich_markup_mode="markdown",
    help="Train, evaluate and use RDMC, a network that removes rain from photographs.\n\n"
    "`make repro` runs prepare, leaks, pack, train, evaluate and register in order and skips what has not changed. "
    "What changes a result stands in `params.yaml`; where things run is set by the environment (`docs/operations.md`).",
)

Dataset = Annotated[str, typer.Argument(help="A key of `datasets` in params.yaml.", show_default=False)]
ParamsFile = Annotated[Path, typer.Option("--params", help="The params file.")]
VersionName = Annotated[str, typer.Argument(help="A version's number, or an alias as `candidate`.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Promote what the gate refuses; needs --reason.")]
Reason = Annotated[str, typer.Option(help="Why; the history keeps it.")]
PARAMS = Path("params.yaml")
INTERRUPTED = 130
LEAKS = 3
"""Exit code of ``leaks`` where it finds some; 1 and 2 say that it could not look."""
REFUSED = 3
"""Exit code of ``promote`` and ``release`` where the gate refuses."""


def _read(path: Path) -> Params:
    from pipeline.params import read_params  # brings torch: too slow for --help

    return read_params(path)


def _workspace() -> Workspace:
    return Workspace(Path(read_settings().data))


def _known(params: Params, dataset: str) -> str:
    if dataset not in params.datasets:
        raise ConfigError(f"{dataset!r} is not a dataset of params.yaml ({', '.join(params.datasets)}); name one of these")
    return dataset


@app.command()
def datasets(
    name: Annotated[str, typer.Argument(help="One of them, to see all that is known of it.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the rain benchmarks that are known: counts, figures, faults, published results, and who says so."""
    from pipeline.stages import datasets as stage

    stage.run(name, as_json)


@app.command()
def fetch(
    source: Annotated[str, typer.Argument(help="A folder, an archive, or its s3:// or https:// address.", show_default=False)],
    dest: Annotated[Path, typer.Argument(help="The folder to make, as raw/rain800.", show_default=False)],
    sha256: Annotated[str, typer.Option(help="What the archive must be.")] = "",
    dvc: Annotated[bool, typer.Option("--dvc", help="Put the folder under DVC.")] = False,
) -> None:
    """Bring a dataset in: download what goes on where it stopped, unpack with suspicion, say what it looks like."""
    from pipeline.stages import fetch as stage

    stage.run(source, dest, sha256, dvc)


@app.command()
def prepare(dataset: Dataset, params: ParamsFile = PARAMS) -> None:
    """Make or find a dataset's pairs and check each one.

    Bad files are set aside with their reason in `data/pairs/DATASET/quarantine.json`; too many of them fail the act.
    """
    from pipeline.stages import prepare as stage

    read = _read(params)
    name = _known(read, dataset)
    stage.run(name, read.datasets[name], read.prepare, read.seed, _workspace().pairs(name))


@app.command()
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
    from pipeline.stages import leaks as stage

    if train or test:
        if stage.check(train or [], test or [], layout or [Layout.CLEAN], score, json, pictures):
            raise typer.Exit(LEAKS)
        return
    read = _read(params)
    stage.run(read.datasets, read.leaks, _workspace(), pictures)


@app.command()
def pack(dataset: Dataset, params: ParamsFile = PARAMS) -> None:
    """Pack a dataset's pairs into WebDataset shards with a manifest of digests and offsets."""
    from pipeline.stages import pack as stage

    read = _read(params)
    name = _known(read, dataset)
    workspace = _workspace()
    stage.run(name, workspace.pairs(name), read.pack, workspace.shards(name), workspace.leaks if read.leaks.exclude else None)


@app.command()
def train(params: ParamsFile = PARAMS) -> None:
    """Train RDMC on the packed datasets, on as many Ray workers as the settings say.

    Writes `checkpoints/best` and `checkpoints/last`. A run that was stopped goes on where it was.
    """
    from pipeline.stages import train as stage

    stage.run(_read(params), read_settings(), _workspace())


@app.command()
def search(params: ParamsFile = PARAMS) -> None:
    """Search which of RDMC's connections and which upsampling are worth having: they learn on pairs held out from the weights.

    Writes `architectures/searched`, to train with `dvc exp run -S architecture=architectures/searched`.
    """
    from pipeline.stages import search as stage

    stage.run(_read(params), read_settings(), _workspace())


@app.command()
def tune(
    params: ParamsFile = PARAMS,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest sweep that was stopped or killed.")] = False,
) -> None:
    """Search `tune.space` for better params: a sweep of short trainings, the worst stopped early.

    Writes `best_params.yaml`, `trials.csv` and the pictures in `sweep/`; each trial is an MLflow run under one parent. A trial
    whose process or node is lost goes on from its last checkpoint.
    """
    from pipeline.stages import tune as stage

    stage.run(_read(params), read_settings(), _workspace(), resume)


@app.command()
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
    from pipeline.stages import ablate as stage

    stage.run(_read(params), read_settings(), _workspace(), fresh, write)


@app.command()
def evaluate(params: ParamsFile = PARAMS) -> None:
    """Measure the best model on every dataset's test images, and draw before/after pictures.

    Writes `metrics/evaluate.json`, `plots/images.csv` and `plots/pictures/`.
    """
    from pipeline.stages import evaluate as stage

    stage.run(_read(params), read_settings(), _workspace())


@app.command()
def register(params: ParamsFile = PARAMS) -> None:
    """Register the best model in MLflow, with all that made it and all that is known of it, as `candidate`."""
    from pipeline.stages import register as stage

    stage.run(_read(params), read_settings(), _workspace())


@app.command()
def models(params: ParamsFile = PARAMS) -> None:
    """List the versions in the registry: aliases, figures, digests of data, weights and code, age, verdict."""
    from pipeline.stages import models as stage

    stage.run(_read(params), read_settings())


@app.command()
def promote(version: VersionName, force: Force = False, reason: Reason = "", params: ParamsFile = PARAMS) -> None:
    """Make a version the champion, if it is better than the present one on the test images of every dataset of params.yaml.

    `gate` in `params.yaml` has the rules. The verdict is kept with the version, the deed in the history. Exit codes: 0
    promoted, or the champion already; 3 refused by the gate; 1 could not be judged or was overtaken by another promotion.
    """
    from pipeline.stages import promote as stage

    if not stage.run(_read(params), read_settings(), _workspace(), version, force, reason):
        raise typer.Exit(REFUSED)


@app.command()
def rollback(reason: Reason = "", params: ParamsFile = PARAMS) -> None:
    """Make the champion before this one the champion again; each further rollback goes one further back."""
    from pipeline.stages import rollback as stage

    stage.run(_read(params), read_settings(), reason)


@app.command()
def diff(first: VersionName, second: VersionName, params: ParamsFile = PARAMS) -> None:
    """Show what two versions differ in: params, data, code, and the figures of each dataset."""
    from pipeline.stages import diff as stage

    stage.run(_read(params), read_settings(), first, second)


@app.command()
def history(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, params: ParamsFile = PARAMS) -> None:
    """Show who made which version the champion, when, from which, on what verdict, and why; also what was refused."""
    from pipeline.stages import history as stage

    stage.run(_read(params), read_settings(), as_json)


@app.command()
def rebuild(
    version: VersionName,
    folder: Annotated[Path, typer.Argument(help="A new folder for the project as it was.", show_default=False)],
    train: Annotated[bool, typer.Option("--train", help="Train again too; else weights come by digest.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Build a version again from the registry: its commit, params and data in a new folder, and its figures measured anew."""
    from pipeline.stages import rebuild as stage

    stage.run(_read(params), read_settings(), version, folder, train)


@app.command()
def release() -> None:
    """Run the pipeline (`dvc repro`) and promote what it registered, for a scheduler. Exit codes are those of `promote`."""
    from pipeline.reproduction import dvc
    from pipeline.stages import promote as stage
    from pipeline.storage import connect as act

    settings = read_settings()
    if settings.data:
        raise ConfigError(f"RDMC_DATA={settings.data}: DVC keeps its files in this folder; unset it for a release")
    if settings.bucket:
        act(settings, Path())
    dvc(Path(), "repro")
    read = _read(PARAMS)
    if not stage.run(read, settings, _workspace(), read.register_.alias):
        raise typer.Exit(REFUSED)


@app.command()
def derain(
    source: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Where to write: a file for a file, a folder for a folder.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(help="A registered model (`models:/rdmc@candidate`), a checkpoint folder, or PReNet's published `.pth`."),
    ] = "models:/rdmc@candidate",
    tile: Annotated[int, typer.Option(min=256, help="Derain larger images in tiles of this many pixels a side.")] = 1024,
) -> None:
    """Remove the rain from a photograph, or from every photograph of a folder."""
    from pipeline.stages import derain as stage

    stage.run(source, out, model, read_settings(), tile)


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="A registered model (`models:/rdmc/3`) or a checkpoint folder.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="`onnx`, or `pt2` for torch.export.")] = "onnx",
) -> None:
    """Write a model as one file that runs without this project, on images of any height and width."""
    from pipeline.stages import export as stage

    stage.run(model, folder, form, read_settings())


@app.command()
def serve(
    model: Annotated[
        str,
        typer.Option(
            help="An alias to follow (`models:/rdmc@champion`), a version (`models:/rdmc/3`), or a checkpoint folder."
        ),
    ] = "models:/rdmc@champion",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is open to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the alias.")] = 5.0,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Pictures of one shape derained together; more pays on GPUs.")] = 1,
    queue: Annotated[int, typer.Option(min=1, help="Pictures that may wait before others are refused.")] = 128,
    tile: Annotated[int, typer.Option(min=256, help="Derain larger images in tiles of this many pixels a side.")] = 1024,
    megabytes: Annotated[float, typer.Option(min=0.01, help="Largest body, MiB.")] = 32.0,
    megapixels: Annotated[float, typer.Option(min=0.001, max=80, help="Largest picture.")] = 24.0,
) -> None:
    """Serve a model over HTTP: a picture in, a PNG out, and a page to drop one on. When the alias moves, the model does.

    `RDMC_WORKERS` is how many processes derain at most; there are as many as the load asks for. It is open to whoever can reach
    it: keep it on this machine or behind a server that asks who is there.
    """
    from pipeline.intake import Limits
    from pipeline.serving import Plan
    from pipeline.stages import serve as stage

    limits, cache = Limits(megabytes, megapixels), _workspace().served
    stage.run(Plan(model, host, port, tile, batch, queue, poll, limits, cache), read_settings())


@app.command()
def connect() -> None:
    """Point DVC at the bucket of the settings (`RDMC_BUCKET`), so that `dvc push` and `dvc pull` go there."""
    from pipeline.storage import connect as act

    act(read_settings(), Path())


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port of this machine to serve it on.")] = 5000) -> None:
    """Serve MLflow's pages of the runs and models on this machine, or say where the server of the settings is."""
    from pipeline.ui import run

    run(read_settings(), port)


def main() -> None:
    """Run the command line; what a person or the machine is at fault for ends in one line on standard error.

    Exit codes: 1, or 130 after Ctrl-C. A fault of the program's own keeps its traceback.
    """
    try:
        app()
    except RdmcError as error:
        _fail(str(error), error.exit_code)
    except BrokenProcessPool:
        _fail("a process of this act was ended from outside, often for want of memory; free some and run it again")
    except OSError as error:
        rule = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EACCES: "make it accessible"}
        _fail(f"{' '.join(str(error).split())}; {rule.get(error.errno or 0, 'mend that')}, then run the same act again")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's answer to Ctrl-C
            _fail("stopped; the same act begins again, a training where it was", INTERRUPTED)
        raise


def _fail(line: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
