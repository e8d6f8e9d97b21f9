"""The page of an evaluation: means with intervals, plots, the best, median and worst images, every image, and the origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.bootstrap import CONFIDENCE, Floats, shown_interval
from pipeline.evaluation.evaluator import ImageResult
from pipeline.evaluation.report.html import definitions, heading, page, paragraph, table
from pipeline.evaluation.report.pictures import Album, plot
from pipeline.evaluation.report.scatter import scatter
from rdmc.data.images import Image

ROOM = 18_000_000
"""Bytes that the pictures may take: the page stays below 25 MB with the rows of thousands of images."""
RANKS = ("best", "median", "worst")
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Shown:
    """An image that the page shows: its result and its pixels, (H, W, 3) uint8 RGB."""

    rank: str
    """One of ``RANKS``."""
    result: ImageResult
    rainy: Image
    derained: Image
    clean: Image


def ranked(count: int, order: Sequence[int]) -> dict[int, str]:
    """The images to show, position -> rank, from their positions in order from the worst gain to the best."""
    chosen = {order[-1]: "best", order[0]: "worst"}
    middle = order[count // 2]
    return {**chosen, middle: "median"} if middle not in chosen else chosen


def evaluation_page(
    results: Mapping[str, Sequence[ImageResult]],
    scenes: Mapping[str, Sequence[str]],
    histogram: Image,
    shown: Mapping[str, Sequence[Shown]],
    facts: Mapping[str, str],
) -> str:
    """The page as HTML.

    Args:
        results: dataset -> the figures of its images.
        scenes: dataset -> the scene of each of its images, for the intervals.
        histogram: that of the gain, a picture.
        shown: dataset -> the images to show.
        facts: what the figures were made from, and how, by name.
    """
    everything = [result for group in results.values() for result in group]
    parts = [
        table("means over the images of each dataset", MEANS, _means(results, scenes)),
        paragraph(f"The ranges hold the mean with {CONFIDENCE:.0%} confidence, by a bootstrap over scenes."),
        heading("Gain of each image"),
        plot(histogram, "histogram of the gain"),
        scatter(everything),
        heading("Best, median and worst images"),
        paragraph("Drag across a picture, or focus it and use the arrow keys: the line uncovers what is on its left."),
    ]
    album = Album(ROOM)
    for name, group in shown.items():
        for one in sorted(group, key=lambda one: RANKS.index(one.rank)):
            title = f"{one.rank} of {name}: {one.result.image}"
            parts.append(album.picture(title, _about(one.result), one.rainy, one.derained, one.clean))
    if album.left_out:
        parts.append(paragraph(f"{album.left_out} pictures are left out, because the page may hold {ROOM / 1e6:g} MB of them."))
    parts += [
        heading("Every image"),
        table("figures of every image, in dB and from -1 to 1", IMAGES, [_row(result) for result in everything]),
        heading("Origin"),
        definitions(facts),
    ]
    return page("Evaluation on test images", parts)


MEANS = ("dataset", "images", "scenes", "rainy PSNR-Y, dB", "derained", "range", "gain", "range", "SSIM-Y", "got worse")
IMAGES = ("image", "size", "rainy PSNR-Y", "derained", "gain", "rainy SSIM-Y", "derained", "rainy PSNR-RGB", "derained", "s")


def _means(results: Mapping[str, Sequence[ImageResult]], scenes: Mapping[str, Sequence[str]]) -> list[list[str]]:
    groups = {name: (group, scenes[name]) for name, group in results.items()}
    if len(groups) > 1:
        groups["overall"] = (
            [one for group, _ in groups.values() for one in group],
            [scene for _, own in groups.values() for scene in own],
        )
    return [_mean_row(name, group, own) for name, (group, own) in groups.items()]


def _mean_row(name: str, group: Sequence[ImageResult], scenes: Sequence[str]) -> list[str]:
    rainy, derained = (np.array([getattr(one, side)["psnr_y"] for one in group]) for side in ("rainy", "derained"))
    zero = np.zeros(len(group))
    return [
        name,
        str(len(group)),
        str(len(set(scenes))),
        f"{rainy.mean():.2f}",
        f"{derained.mean():.2f}",
        _range(scenes, derained, zero),
        f"{(derained - rainy).mean():+.2f}",
        _range(scenes, derained, rainy),
        f"{np.mean([one.derained['ssim_y'] for one in group]):.4f}",
        str(int((derained < rainy).sum())),
    ]


def _range(scenes: Sequence[str], new: Floats, old: Floats) -> str:
    found = shown_interval(new, old, scenes)
    return f"{found.low:.2f} to {found.high:.2f}" if np.isfinite([found.low, found.high]).all() else "too few scenes"


def _row(result: ImageResult) -> list[str]:
    before, after = result.rainy, result.derained
    return [
        f"{result.dataset}/{result.image}",
        f"{result.width}x{result.height}",
        f"{before['psnr_y']:.2f}",
        f"{after['psnr_y']:.2f}",
        f"{result.gain:.2f}",
        f"{before['ssim_y']:.4f}",
        f"{after['ssim_y']:.4f}",
        f"{before['psnr_rgb']:.2f}",
        f"{after['psnr_rgb']:.2f}",
        f"{result.seconds:.2f}",
    ]


def _about(result: ImageResult) -> str:
    before, after = result.rainy, result.derained
    return (
        f"PSNR-Y {before['psnr_y']:.2f} dB before, {after['psnr_y']:.2f} dB after ({result.gain:+.2f} dB); "
        f"SSIM-Y {before['ssim_y']:.4f} before, {after['ssim_y']:.4f} after."
    )
