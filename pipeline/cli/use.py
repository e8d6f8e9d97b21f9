"""Acts that use a model, and the pages that show models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.paths import Paths
from pipeline.config.settings import read_settings


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
    from pipeline.serving import derain as command

    command.run(source, out, model, read_settings(), tile)


def export(
    model: Annotated[
        str, typer.Argument(help="A registered model (`models:/rdmc/3`) or a checkpoint folder.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="`onnx`, or `pt2` for torch.export.")] = "onnx",
) -> None:
    """Write a model as one file that runs without this project, on images of any height and width."""
    from pipeline.serving import export as command

    command.run(model, folder, form, read_settings())


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
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a picture may take, waiting included.")] = 300.0,
) -> None:
    """Serve a model over HTTP: a picture in, a PNG out, and a page to drop one on. When the alias moves, the model does.

    `RDMC_WORKERS` is how many processes derain at most; there are as many as the load asks for. It is open to whoever can reach
    it: keep it on this machine or behind a server that asks who is there.
    """
    from pipeline.serving import serve as command
    from pipeline.serving.requests import RequestLimits
    from pipeline.serving.types import ServingConfig

    settings = read_settings()
    limits, cache = RequestLimits(megabytes, megapixels), Paths(Path(settings.data)).served
    command.run(ServingConfig(model, host, port, tile, batch, queue, poll, limits, cache, timeout), settings)


def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port of this machine to serve it on.")] = 5000) -> None:
    """Serve MLflow's pages of the runs and models on this machine, or say where the server of the settings is."""
    from pipeline.tracking.ui import run

    run(read_settings(), port)
