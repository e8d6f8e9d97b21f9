"""The commands that compare models, and that show where a model breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.downstream import BgrOption, ClassesOption, DetectorOption, LayoutOption, StretchOption, ValuesOption
from pipeline.cli.options import PARAMS, ParamsFile, read_project, registered_names
from pipeline.config.settings import read_settings

LpipsOption = Annotated[
    Path | None,
    typer.Option(
        help="Measure LPIPS too: its authors' channel weights (alex.pth or vgg.pth, version 0.1). It needs the network's own "
        "weights: `--alexnet` or `--vgg16`.",
        metavar="FILE",
    ),
]
DistsOption = Annotated[
    Path | None,
    typer.Option(help="Measure DISTS too: its authors' alpha and beta (weights.pt). It needs `--vgg16`.", metavar="FILE"),
]
AlexNetOption = Annotated[
    Path | None, typer.Option(help="torchvision's AlexNet weights, .pth or .safetensors.", metavar="FILE")
]
Vgg16Option = Annotated[Path | None, typer.Option(help="torchvision's VGG16 weights, .pth or .safetensors.", metavar="FILE")]


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
    lpips: LpipsOption = None,
    dists: DistsOption = None,
    alexnet: AlexNetOption = None,
    vgg16: Vgg16Option = None,
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
    from rdmc.quality.perceptual import PerceptualFiles

    project = None if params == PARAMS and not params.exists() else read_project(params)
    settings = project.settings if project else read_settings()
    weights = PerceptualFiles(lpips, dists, alexnet, vgg16)
    command.run(models, data, command.Targets(json, markdown, html), settings, project, fresh, weights)


MODEL = (
    "A registered model (`models:/rdmc@champion`), `reference`, a checkpoint folder, or PReNet's published `.pth` file. "
    "Without it: the champion, else the candidate, else the reference model."
)


def robustness(
    model: Annotated[str, typer.Option(help=MODEL, show_default=False)] = "",
    images: Annotated[int, typer.Option(min=1, help="How many of the embedded test photographs take part.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every drop.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Also write all figures into this file.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw heat maps into this file: `.png`, `.svg` or `.pdf`.", metavar="FILE")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Show where a model breaks: its PSNR gain by angle, density, length, opacity and veil of the rain, two at a time.

    The rain is rendered over clean embedded test photographs, so no data are needed.
    """
    from pipeline.comparison.robustness import run as command

    names = {} if model else {"names": registered_names(params)}
    command.run(model, read_settings(), images=images, seed=seed, json_file=json, picture=picture, **names)


def unpaired(
    folder: Annotated[Path, typer.Argument(help="Photographs of real rain, without clean counterparts.", show_default=False)],
    model: Annotated[str, typer.Option(help=MODEL, show_default=False)] = "",
    tile: Annotated[
        int, typer.Option(min=256, help="Larger images are derained in tiles with sides of this many pixels.")
    ] = 1024,
    json: Annotated[Path | None, typer.Option(help="Also write the figures of every photograph into this file.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also draw a contact sheet, rainy beside derained: `.png`, `.jpg` or `.webp`.", metavar="FILE"),
    ] = None,
    detector: DetectorOption = None,
    classes: ClassesOption = None,
    layout: LayoutOption = "",
    values: ValuesOption = "unit",
    bgr: BgrOption = False,
    stretch: StretchOption = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure real photographs before and after deraining: NIQE, PIQE, the share of pixels changed, and a contact sheet.

    No measure of these knows what rain is, so look at the contact sheet too. With a detector: what it finds before and after.
    """
    from pipeline.comparison.unpaired import run as command
    from pipeline.comparison.unpaired.objects import DetectorFile

    eyes = DetectorFile(detector, classes, layout, values, bgr, stretch) if detector else None
    names = {} if model else {"names": registered_names(params)}
    command.run(folder, model, read_settings(), tile=tile, json_file=json, sheet=sheet, detector=eyes, **names)
