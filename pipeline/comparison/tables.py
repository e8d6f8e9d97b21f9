"""The tables of a comparison. The terminal, the Markdown page and the HTML page show the same ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.comparison.entrants import Entrant
from pipeline.comparison.leaderboard import FIRST, Board, PerceptualMean, Standing
from pipeline.comparison.memory import SIDE as MEMORY_SIDE
from pipeline.evaluation.bootstrap import CONFIDENCE, Interval
from rdmc.models.cost import SIDE
from rdmc.quality.conventions import CONVENTIONS, NAMES, MeanFidelity

NONE = "-"
SHOWN = 3
"""Most failures or faults that are named; all are in the JSON."""


@dataclass(frozen=True)
class Table:
    """A table of text, the first column of which has names."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def ranking(board: Board, first: str) -> Table:
    """The leaderboard of a dataset: PSNR and SSIM by the first convention, intervals, the difference to the first model."""
    level = f"{CONFIDENCE:.0%}"
    columns = ["model", "PSNR-Y, dB", level, "SSIM-Y", f"dB above {first}", level, "identical", "failed", "s an image"]
    return Table(titled(board), columns, [_ranked(standing, standing.label == first) for standing in board.standings])


def _ranked(standing: Standing, is_first: bool) -> list[str]:
    found = standing.means.get(FIRST)
    psnr, difference = standing.psnr.get(FIRST), standing.to_first.get(FIRST)
    return [
        standing.label,
        _decibel(found),
        _interval(psnr, ""),
        f"{found.ssim:.4f}" if found else NONE,
        "first" if is_first else f"{difference.mean:+.2f}" if difference else NONE,
        "" if is_first else _interval(difference, "+"),
        str(found.identical) if found else NONE,
        str(len(standing.failures)),
        NONE if standing.seconds is None else f"{standing.seconds:.3g}",
    ]


def titled(board: Board) -> str:
    """A dataset in words: how many pairs it has and what it is."""
    count = len(board.images)
    scenes = f" of {board.scenes} scenes" if board.scenes < count else ""
    known = f"; {board.data.entry.title}, {board.data.copy.what}" if board.data.entry and board.data.copy else ""
    return f"{board.data.name}: {count} pairs{scenes}{known}"


def by_convention(board: Board) -> Table:
    """PSNR (dB) and SSIM of the same outputs under every convention."""
    rows = [
        [standing.label, *(_both(standing.means.get(name)) for name in NAMES)] for standing in board.standings if standing.means
    ]
    return Table(f"{board.data.name}: PSNR in dB / SSIM of the same outputs by each convention", ["model", *NAMES], rows)


def perceptual(board: Board, first: str) -> Table | None:
    """LPIPS and DISTS of the outputs; None if none was measured."""
    names = list(dict.fromkeys(name for standing in board.standings for name in standing.perceptual))
    if not names:
        return None
    level = f"{CONFIDENCE:.0%}"
    columns = ["model", *(cell for name in names for cell in (name, level, f"above {first}", level)), "images"]
    rows = []
    for standing in board.standings:
        found = [standing.perceptual.get(name) for name in names]
        cells = [cell for one in found for cell in _distance(one, standing.label == first)]
        rows.append([standing.label, *cells, str(max((one.images for one in found if one), default=0))])
    return Table(f"{board.data.name}: perceptual distance to the clean images (lower is better)", columns, rows)


def _distance(found: PerceptualMean | None, is_first: bool) -> list[str]:
    if found is None:
        return [NONE] * 4
    above = "first" if is_first else f"{found.to_first.mean:+.4f}" if found.to_first else NONE
    difference = "" if is_first else _interval(found.to_first, "+", 4)
    return [f"{found.mean.mean:.4f}", _interval(found.mean, "", 4), above, difference]


def published(board: Board) -> Table | None:
    """The published figures of the benchmark; None if it has none."""
    if not board.published:
        return None
    columns = ["published", "PSNR, dB", "SSIM", "convention", "trained on", "source"]
    rows = [
        [
            result.method,
            f"{result.psnr:.2f}",
            NONE if result.ssim is None else f"{result.ssim:.3f}",
            result.convention,
            result.training or "not stated",
            result.source,
        ]
        for result in board.published
    ]
    part = "" if board.data.whole else ", on the whole set: they do not compare with figures on this part"
    return Table(f"{board.data.name}: published figures{part}", columns, rows)


def costs(models: Sequence[Entrant], peaks: Mapping[str, float | None]) -> Table:
    """Parameters, arithmetic and peak memory of each network."""
    gflop, memory = f"GFLOP at {SIDE}x{SIDE}", f"peak MB at {MEMORY_SIDE}x{MEMORY_SIDE}"
    rows = []
    for model in models:
        price, peak = model.cost, peaks.get(model.label)
        size = [NONE, NONE] if price is None else [f"{price.parameters:,}", f"{price.gflop:.3g}"]
        rows.append([model.label, *size, NONE if peak is None else f"{peak:.0f}", model.source, model.digest[:12] or NONE])
    return Table("models", ["model", "parameters", gflop, memory, "source", "SHA-256"], rows)


def conventions() -> Table:
    """What each convention is."""
    rows = [[f"{how.name}", how.meaning, how.users] for how in CONVENTIONS]
    return Table("conventions", ["convention", "PSNR and SSIM of", "used by"], rows)


def remarks(board: Board) -> list[str]:
    """Lines on what was set aside, what failed, and which images are identical."""
    name, lines = board.data.name, []
    if board.data.faults:
        some = "; ".join(f"{fault.file}: {fault.reason}" for fault in board.data.faults[:SHOWN])
        lines.append(f"{name}: {_counted(len(board.data.faults), 'file')} set aside: {some}{_more(len(board.data.faults))}")
    for standing in board.standings:
        if standing.failures:
            some = "; ".join(f"{image}: {why}" for image, why in list(standing.failures.items())[:SHOWN])
            failed = _counted(len(standing.failures), "image")
            lines.append(f"{name}: {standing.label} failed on {failed}: {some}{_more(len(standing.failures))}")
        found = standing.means.get(FIRST)
        if found and found.identical:
            same = _counted(found.identical, "output")
            lines.append(
                f"{name}: {same} of {standing.label} equal the clean image: their PSNR is infinite and in no mean PSNR"
            )
    return lines


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _more(count: int) -> str:
    return f"; and {count - SHOWN} more" if count > SHOWN else ""


def _decibel(found: MeanFidelity | None) -> str:
    if found is None:
        return NONE
    return f"{found.psnr:.2f}" if math.isfinite(found.psnr) else "infinite"


def _both(found: MeanFidelity | None) -> str:
    return NONE if found is None else f"{_decibel(found)} / {found.ssim:.4f}"


def _interval(found: Interval | None, sign: str, digits: int = 2) -> str:
    if found is None:
        return NONE
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return "too few scenes"
    return f"{found.low:{sign}.{digits}f} to {found.high:{sign}.{digits}f}"
