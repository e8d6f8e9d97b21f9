"""The command ``compare``: models on the same images under every convention, as a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.comparison.entrants import entrants
from pipeline.comparison.leaderboard import board
from pipeline.comparison.measure import outcomes
from pipeline.comparison.memory import peak_mb
from pipeline.comparison.report import Comparison, check_markdown, html, show, write_json, write_markdown
from pipeline.comparison.sets import pair_sets
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.evaluation.evaluator import device_of
from rdmc.files import check_writable, write_text
from rdmc.quality.perceptual import PerceptualFiles, load_measures

TILE = 1024
"""Side in pixels of a tile, where no params file gives another."""


@dataclass(frozen=True)
class Targets:
    """The files to write."""

    json: Path | None = None
    markdown: Path | None = None
    html: Path | None = None

    def written(self) -> list[Path]:
        """Those that are wanted."""
        return [path for path in (self.json, self.markdown, self.html) if path]


def run(
    models: Sequence[str],
    data: Sequence[str],
    targets: Targets,
    settings: Settings,
    project: Project[Params] | None = None,
    fresh: bool = False,
    weights: PerceptualFiles | None = None,
) -> Comparison:
    """Measure the models on the data, show the leaderboard and write the files. Returns what was found.

    Args:
        models: as a user names them (``pipeline.comparison.entrants``); differences are to the first.
        data: datasets of params.yaml, or folders of pairs.
        targets: the files to write.
        settings: where MLflow is, and whether a GPU may be used.
        project: the project with its params; None without a params file, where only folders can be named.
        fresh: measure again what an earlier command has measured.
        weights: the files of LPIPS and DISTS, where they are to be measured.

    Raises, before anything is measured, ConfigError, DataError, CheckpointError or ServiceError for a model, a dataset or a
    target that cannot be used.
    """
    for path in targets.written():
        check_writable(path)
    if targets.markdown:
        check_markdown(targets.markdown)
    measures = load_measures(weights or PerceptualFiles())
    chosen = entrants(models, settings)
    sets = pair_sets(data, project)
    device, tile = device_of(settings), project.params.evaluate.tile if project else TILE
    journals = Paths(Path(settings.data)).journals
    boards = [board(one, chosen, outcomes(chosen, one, tile, device, journals, fresh, measures)) for one in sets]
    peaks = {model.label: peak_mb(model.network, device) for model in chosen if model.network}
    found = Comparison(chosen, boards, peaks, tile, device, {one.name: one.digest for one in measures})
    show(found)
    if targets.json:
        write_json(found, targets.json)
    if targets.markdown:
        write_markdown(found, targets.markdown)
    if targets.html:
        write_text(targets.html, html(found))
    if targets.written():
        say(f"written: {', '.join(map(str, targets.written()))}")
    return found
