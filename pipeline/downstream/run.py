"""The command ``downstream``: a detector or a segmenter on rainy, derained and clean images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import say, table
from pipeline.downstream.images import CaseSet, case_sets
from pipeline.downstream.judges import Judge, JudgeOptions, judge
from pipeline.downstream.measure import DERAINED, SetResult, chosen, detected, segmented
from pipeline.downstream.pictures import side_by_side
from pipeline.downstream.tables import plain, tables
from pipeline.evaluation.evaluator import device_of
from pipeline.evaluation.pages import fill_page, markdown_table, read_page
from pipeline.serving.choice import NAMES, load_chosen
from rdmc.data.images import Image, write_png
from rdmc.downstream.annotations import Annotations, class_names, read_annotations
from rdmc.downstream.segmentation import Labels, read_labels
from rdmc.errors import ConfigError, DataError
from rdmc.files import check_writable, write_text
from rdmc.inference import derain_image

TILE = 1024
"""Side in pixels of a tile, where no params file gives another."""
SHOWN = 5
"""Pictures of each set."""
PAGE = "downstream"
"""The markers in a Markdown page."""


@dataclass(frozen=True)
class DownstreamOptions:
    """What a user asks for."""

    data: Sequence[str] = ()
    """Datasets of params.yaml or folders; empty for all datasets."""
    model: str = ""
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    annotations: Path | None = None
    classes: Path | None = None
    """A text file with the name of a class a line."""
    json: Path | None = None
    markdown: Path | None = None
    pictures: Path | None = None


def run(options: DownstreamOptions, settings: Settings, project: Project[Params] | None) -> list[SetResult]:
    """Derain the images, let the network look at each version, show tables and write the files. Returns what was seen.

    Raises, before an image is looked at, ConfigError, DataError, CheckpointError or ServiceError for anything that cannot be
    used.
    """
    wanted = list(options.data) or (list(project.params.datasets) if project else [])
    if not wanted:
        raise ConfigError("no data is named and there is no params.yaml here; name a folder: --data FOLDER")
    names = class_names(options.classes)
    check_writable(options.json)
    check_writable(options.pictures / "picture" if options.pictures else None)
    if options.markdown:
        check_writable(options.markdown)
        read_page(options.markdown, PAGE)
    labelled = _annotations(options, names)
    sets = case_sets(wanted, project)
    model = load_chosen(options.model, settings, project.params.register_ if project else NAMES)
    device, tile = device_of(settings), project.params.evaluate.tile if project else TILE
    looks = judge(options.judge)
    say(f"network: {looks.about}")

    def derain(image: Image) -> Image:
        return derain_image(model.network, image, tile, device)

    results = []
    for cases in sets:
        results.append(_seen(cases, looks, derain, options, labelled))
        if options.pictures and results[-1].seen:
            _draw(cases, results[-1], derain, options.pictures, labelled.names if labelled else names)
    if labelled:
        results[0].faults += labelled.faults  # those of the file itself, once
    shown = tables(results)
    for one in shown:
        table(one.title, one.columns, one.rows)
    _write(options, results, str(model), looks)
    return results


def _annotations(options: DownstreamOptions, names: tuple[str, ...]) -> Annotations | None:
    if options.annotations is None or options.judge.detector:
        return read_annotations(options.annotations, names) if options.annotations else None
    if not options.annotations.is_dir():
        raise ConfigError(f"{options.annotations}: no such folder; name one with a grey PNG for each image: its label map")
    return None


def _seen(
    cases: CaseSet, looks: Judge, derain: Callable[[Image], Image], options: DownstreamOptions, labelled: Annotations | None
) -> SetResult:
    if looks.detect:
        return detected(cases, looks.detect, derain, labelled)
    folder = options.annotations

    def labels(name: str, other: Labels) -> Labels:
        return read_labels(Path(str(folder)) / f"{name}.png", other.shape)

    if looks.segment is None:
        raise ConfigError("no network to look with; name --detector or --segmenter")
    return segmented(cases, looks.segment, derain, labels if folder else None)


def _draw(cases: CaseSet, result: SetResult, derain: Callable[[Image], Image], folder: Path, names: Sequence[str]) -> None:
    """Write pictures of the most and the least helped images, and some between."""
    wanted = {result.names[place]: place for place in chosen(result, SHOWN)}
    for case in cases.cases([]):
        if case.name in wanted:
            images = {"rainy": case.rainy, DERAINED: derain(case.rainy)} | ({} if case.clean is None else {"clean": case.clean})
            seen = {version: found[wanted[case.name]] for version, found in result.seen.items()}
            write_png(folder / f"{cases.name}-{case.name}.png", side_by_side(f"{cases.name}: {case.name}", images, seen, names))


def _write(options: DownstreamOptions, results: Sequence[SetResult], model: str, looks: Judge) -> None:
    if options.json:
        found = {"model": model, "network": looks.about, "sets": [plain(result) for result in results]}
        write_text(options.json, json.dumps(found, indent=1) + "\n")
    if options.markdown:
        pages = [f"{one.title}\n\n{markdown_table(one.columns, one.rows)}\n" for one in tables(results)]
        fill_page(options.markdown, PAGE, "\n".join([f"Derained by {model}. Looked at by {looks.about}.\n", *pages]))
    written = [str(path) for path in (options.json, options.markdown, options.pictures) if path]
    if written:
        say(f"written: {', '.join(written)}")
    if not any(result.names for result in results):
        raise DataError("no image could be looked at; the tables above say why")
