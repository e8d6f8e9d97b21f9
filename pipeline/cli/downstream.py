"""The command that shows what others' networks make of derained images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import PARAMS, ParamsFile, read_project
from pipeline.config.settings import read_settings

DetectorOption = Annotated[
    Path | None,
    typer.Option(help="An object detector: an ONNX file with one image (1, 3, H, W) as its input.", metavar="FILE"),
]
SegmenterOption = Annotated[
    Path | None,
    typer.Option(help="A segmenter: an ONNX file, logits (1, C, H, W) or labels (1, H, W) out.", metavar="FILE"),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A dataset of params.yaml, a folder of pairs in any known layout, or a folder of photographs without clean "
        "images. Repeat it for more. Without it: all datasets.",
        metavar="NAME",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="The model that derains: a registered one, `reference`, a checkpoint folder, or PReNet's published file. "
        "Without it: the champion, else the candidate, else the reference model.",
        show_default=False,
    ),
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option(
        help="What is really there. For a detector: a COCO JSON file, or a folder of VOC XML files (with `--classes`). "
        "For a segmenter: a folder with a grey PNG for each image. Without it, the versions are compared with what the "
        "network finds in the clean image.",
        show_default=False,
    ),
]
ClassesOption = Annotated[
    Path | None, typer.Option(help="A text file with the detector's classes, a line for each.", metavar="FILE")
]
LayoutOption = Annotated[
    str, typer.Option(help="The form of a detector's outputs, where it is not recognised.", show_default=False)
]
ValuesOption = Annotated[
    Literal["unit", "bytes", "imagenet"],
    typer.Option(help="The values that the network takes: 0 to 1, 0 to 255, or normalised as for ImageNet."),
]
BgrOption = Annotated[bool, typer.Option("--bgr", help="The network takes blue, green, red.")]
StretchOption = Annotated[
    bool, typer.Option("--stretch", help="Stretch images to the network's input instead of padding them.")
]
JsonOption = Annotated[Path | None, typer.Option(help="Also write all figures into this file.")]
MarkdownOption = Annotated[
    Path | None,
    typer.Option(
        help="Also write the tables into this Markdown file, between `<!-- downstream: begin -->` and "
        "`<!-- downstream: end -->`."
    ),
]
PicturesOption = Annotated[Path | None, typer.Option(help="Also write pictures with boxes into this folder.", metavar="DIR")]


def downstream(
    detector: DetectorOption = None,
    segmenter: SegmenterOption = None,
    data: DataOption = None,
    model: ModelOption = "",
    annotations: AnnotationsOption = None,
    classes: ClassesOption = None,
    layout: LayoutOption = "",
    values: ValuesOption = "unit",
    bgr: BgrOption = False,
    stretch: StretchOption = False,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    pictures: PicturesOption = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Show what a detector or a segmenter makes of rainy, derained and clean images.

    Without one, a small segmenter is trained on clean embedded photographs in about a minute. It stands in for a real network.
    """
    from pipeline.downstream import run as command
    from pipeline.downstream.judges import JudgeOptions

    project = None if params == PARAMS and not params.exists() else read_project(params)
    settings = project.settings if project else read_settings()
    options = command.DownstreamOptions(
        data=data or (),
        model=model,
        judge=JudgeOptions(detector, segmenter, layout, values, bgr, stretch),
        annotations=annotations,
        classes=classes,
        json=json,
        markdown=markdown,
        pictures=pictures,
    )
    command.run(options, settings, project)
