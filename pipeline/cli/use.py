"""Commands that use a model, and the web page that shows runs and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, registered_names
from pipeline.config.paths import Paths
from pipeline.config.settings import read_settings

DEFAULT = "Without it: the champion, else the candidate, else the reference model (`models:/rdmc@champion`, …)."


def derain(
    source: Annotated[Path, typer.Argument(help="A photograph, a folder of photographs, or a video.", show_default=False)],
    out: Annotated[
        Path,
        typer.Argument(help="Where to write: a file if the source is a file, a folder if it is a folder.", show_default=False),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A registered model (`models:/rdmc@candidate`), `reference`, a checkpoint folder, or the published `.pth` "
            f"file of PReNet. {DEFAULT}",
            show_default=False,
        ),
    ] = "",
    tile: Annotated[
        int, typer.Option(min=256, help="Larger images are derained in tiles with sides of this many pixels.")
    ] = 1024,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist. Inputs are never replaced.")
    ] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Remove the rain from a photograph, from every photograph of a folder, or from a video.

    One line says which model does it. Nothing has to be trained for it: the reference model comes with the package. A result
    keeps grey, transparency, ICC profile and EXIF. It is PNG, JPEG or WebP by the suffix of OUT, and PNG in a folder.

    A video is derained frame by frame into an MP4, MOV, AVI or (lossless) MKV file without sound. Its flicker is measured.
    """
    from pipeline.serving import derain as command

    settings = read_settings()
    if model:
        command.run(source, out, model, settings, tile, overwrite=overwrite)
    else:
        command.run(source, out, "", settings, tile, registered_names(params), overwrite)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A registered model (`models:/rdmc/3`), `reference`, a checkpoint folder, or PReNet's published `.pth` file.",
            show_default=False,
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The new folder to create.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="`onnx`, or `pt2` (the format of torch.export).")] = "onnx",
) -> None:
    """Export a model to one file that runs without this project's code, on images of any height and width."""
    from pipeline.serving import export as command

    command.run(model, folder, form, read_settings())


def serve(
    model: Annotated[
        str,
        typer.Option(
            help="An alias to follow (`models:/rdmc@champion`), a version (`models:/rdmc/3`), `reference`, a checkpoint "
            f"folder, or PReNet's published `.pth` file. {DEFAULT} A champion or candidate is followed.",
            show_default=False,
        ),
    ] = "",
    host: Annotated[
        str, typer.Option(help="Address to listen on. 0.0.0.0 makes the server reachable from the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two checks whether the alias has moved.")] = 5.0,
    batch: Annotated[
        int, typer.Option(min=1, max=64, help="Largest batch of images of one shape. Larger batches help on GPUs.")
    ] = 1,
    queue: Annotated[
        int, typer.Option(min=1, help="Images that may wait. When as many wait, further requests are refused.")
    ] = 128,
    tile: Annotated[
        int, typer.Option(min=256, help="Larger images are derained in tiles with sides of this many pixels.")
    ] = 1024,
    megabytes: Annotated[float, typer.Option(min=0.01, help="Largest request body, in MiB.")] = 32.0,
    megapixels: Annotated[float, typer.Option(min=0.001, max=80, help="Largest image, in megapixels.")] = 24.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a request may take, waiting included.")] = 300.0,
    params: ParamsFile = PARAMS,
) -> None:
    """Serve a model over HTTP: post an image, get a PNG back. There is also a web page to drop images on.

    If the alias moves to another version, the server loads that version. A server that started with the candidate or with the
    reference model, because there was no champion, stays with that choice until it is started again. The number of deraining
    processes follows the load; `RDMC_WORKERS` is the most there may be. The server has no authentication: anyone who can reach
    it can use it. Keep it on this machine, or put it behind a server that authenticates users.
    """
    from pipeline.serving import serve as command
    from pipeline.serving.requests import RequestLimits
    from pipeline.serving.types import ServingConfig

    settings = read_settings()
    limits, cache = RequestLimits(megabytes, megapixels), Paths(Path(settings.data)).served
    log = cache.with_name(f"serve-{port}.log")
    config = ServingConfig(model, host, port, tile, batch, queue, poll, limits, cache, timeout, log)
    if model:
        command.run(config, settings)
    else:
        command.run(config, settings, registered_names(params))


def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port of this machine to listen on.")] = 5000) -> None:
    """Open MLflow's web pages with the runs and models on this machine.

    If `MLFLOW_TRACKING_URI` names a server, nothing is started: the command prints the server's address.
    """
    from pipeline.tracking.ui import run

    run(read_settings(), port)
