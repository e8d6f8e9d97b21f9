"""Write a comparison: to the terminal, as JSON, as Markdown and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.comparison import tables
from pipeline.comparison.entrants import Entrant
from pipeline.comparison.leaderboard import Board
from pipeline.comparison.memory import SIDE as MEMORY_SIDE
from pipeline.comparison.tables import Table
from pipeline.console import say, table
from pipeline.evaluation.bootstrap import CONFIDENCE, RESAMPLES, SEED
from pipeline.evaluation.computer import computer
from pipeline.evaluation.finite import finite
from pipeline.evaluation.pages import between_markers, markdown_table
from pipeline.evaluation.report.html import bullets, heading, page, paragraph
from pipeline.evaluation.report.html import table as html_table
from rdmc.errors import ConfigError
from rdmc.files import write_text
from rdmc.models.cost import SIDE

MARKERS = "leaderboard"
"""Name of the markers between which the Markdown goes in a page that has them."""


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison found."""

    models: Sequence[Entrant]
    boards: Sequence[Board]
    peaks: Mapping[str, float | None]
    """Label -> peak memory, MB."""
    tile: int
    device: torch.device
    measures: Mapping[str, str] = field(default_factory=dict)
    """Name of each perceptual measure -> SHA-256 of its weights."""

    @property
    def first(self) -> str:
        """The label of the model that the others are compared with."""
        return self.models[0].label

    def conditions(self) -> str:
        """Where and how it was measured, as one sentence."""
        return (
            f"{computer(self.device)}; tiles of {self.tile} pixels; "
            f"intervals of {CONFIDENCE:.0%} by {RESAMPLES:,} bootstrap resamples over scenes, seed {SEED}"
            + "".join(f"; {name} by weights {' and '.join(_short(digest))}" for name, digest in self.measures.items())
        )


def show(found: Comparison) -> None:
    """Print the leaderboard of each dataset, and what the models cost."""
    for board in found.boards:
        for shown in _of_board(board, found.first):
            table(shown.title, shown.columns, shown.rows)
        for line in tables.remarks(board):
            say(line)
    shown = tables.costs(found.models, found.peaks)
    table(shown.title, shown.columns, shown.rows)
    say(f"measured on {found.conditions()}")


def check_markdown(path: Path) -> None:
    """Raise ConfigError for a page that is there and has no markers, before hours of work end in it."""
    if path.exists():
        _page(path, "")


def write_markdown(found: Comparison, path: Path) -> None:
    """Write the tables as Markdown: a new page, or between the markers of one that is there. Raises ConfigError."""
    write_text(path, _page(path, markdown(found)))


def markdown(found: Comparison) -> str:
    """The tables as Markdown."""
    parts = [f"Measured on {found.conditions()}."]
    for board in found.boards:
        parts.append(f"## {tables.titled(board)}")
        for shown in _of_board(board, found.first):
            parts += [*([] if shown.title == tables.titled(board) else [f"{shown.title}:"]), _markdown_table(shown)]
        if lines := tables.remarks(board):
            parts.append("\n".join(f"- {line}" for line in lines))
    for shown in (tables.costs(found.models, found.peaks), tables.conventions()):
        parts += [f"## {shown.title.capitalize()}", _markdown_table(shown)]
    return "\n\n".join(parts) + "\n"


def html(found: Comparison) -> str:
    """The tables as one HTML page."""
    parts = [paragraph(f"Measured on {found.conditions()}.")]
    for board in found.boards:
        parts.append(heading(tables.titled(board)))
        parts += [html_table(shown.title, shown.columns, shown.rows) for shown in _of_board(board, found.first)]
        parts.append(bullets(tables.remarks(board)))
    for shown in (tables.costs(found.models, found.peaks), tables.conventions()):
        parts += [heading(shown.title.capitalize()), html_table(shown.title, shown.columns, shown.rows)]
    return page(f"Leaderboard: {', '.join(model.label for model in found.models)}", parts)


def plain(found: Comparison) -> dict[str, Any]:
    """Everything as JSON: a number that is not finite is null."""
    content = {
        "conditions": {
            "measured on": found.conditions(),
            "first": found.first,
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "seed": SEED,
            "tile": found.tile,
            "device": str(found.device),
            "perceptual measures, SHA-256 of their weights": dict(found.measures),
        },
        "conventions": {row[0]: row[1] for row in tables.conventions().rows},
        "models": [_model(model, found.peaks.get(model.label)) for model in found.models],
        "data": [_board(board) for board in found.boards],
    }
    without: dict[str, Any] = finite(content)
    return without


def write_json(found: Comparison, path: Path) -> None:
    """Write ``plain`` into a file."""
    write_text(path, json.dumps(plain(found), indent=1) + "\n")


def _of_board(board: Board, first: str) -> list[Table]:
    rest = (tables.perceptual(board, first), tables.published(board))
    return [tables.ranking(board, first), tables.by_convention(board), *(one for one in rest if one)]


def _markdown_table(shown: Table) -> str:
    clean = [[cell.replace("|", "\\|") for cell in row] for row in shown.rows]
    return markdown_table(shown.columns, clean)


def _page(path: Path, content: str) -> str:
    """The text of the page with the content. Raises ConfigError for a page without markers."""
    if not path.exists():
        return content
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; name a new file, or a page with the markers of {MARKERS}") from None
    return between_markers(text, MARKERS, content, str(path))


def _model(model: Entrant, peak: float | None) -> dict[str, Any]:
    price = model.cost
    return {
        "model": model.label,
        "source": model.source,
        "sha256": model.digest,
        "parameters": price.parameters if price else None,
        f"gflop_{SIDE}": price.gflop if price else None,
        f"peak_mb_{MEMORY_SIDE}": peak,
    }


def _board(board: Board) -> dict[str, Any]:
    entry, copy = board.data.entry, board.data.copy
    return {
        "name": board.data.name,
        "source": board.data.source,
        "split": board.data.split,
        "sha256": board.data.pairs.digest,
        "pairs": len(board.images),
        "scenes": board.scenes,
        "benchmark": entry.name if entry else None,
        "copy": copy.what if copy else None,
        "whole": board.data.whole,
        "set_aside": [asdict(fault) for fault in board.data.faults],
        "models": [
            {
                "model": standing.label,
                "means": {name: mean._asdict() for name, mean in standing.means.items()},
                "psnr_interval": {name: asdict(one) for name, one in standing.psnr.items()},
                "psnr_above_first": {name: asdict(one) for name, one in standing.to_first.items()},
                "perceptual": {name: asdict(one) for name, one in standing.perceptual.items()},
                "seconds": standing.seconds,
                "failed": dict(standing.failures),
                "images": {
                    image: {name: one._asdict() for name, one in outcome.figures.items()} | dict(outcome.perceptual)
                    for image, outcome in zip(board.images, standing.outcomes, strict=True)
                },
            }
            for standing in board.standings
        ],
        "published": [asdict(result) for result in board.published],
    }


def _short(digests: str) -> list[str]:
    return [one[:12] for one in digests.split()]
