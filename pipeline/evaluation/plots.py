"""Pictures of a result: panels, the histogram of the gain, the learning curve, seeds.

The functions take arrays and numbers and return pictures as arrays; they write no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Image = NDArray[np.uint8]
"""(H, W, 3), RGB, 0 to 255."""

LONGEST = 640
"""Most pixels of the longer side of an image inside a panel; larger images are shrunk."""
FULL_ERROR = 48
"""The error, in levels of 255, that the error map shows in its brightest colour. It is the same in every panel."""
INK, GREY, GREEN, RED, PAPER = "#1f2328", "#656d76", "#1a7f37", "#cf222e", "#ffffff"
BLUE, ORANGE = "#0969da", "#bc4c00"
GAP, CAPTION, TITLE = 12, 26, 40
"""Heights and distances in pixels: the gap between images, a line of caption, the line of the title."""


def choose(gains: Sequence[float], count: int) -> list[int]:
    """The positions of ``count`` images to show, spread evenly over the ranks of the gain from the worst to the best."""
    order = sorted(range(len(gains)), key=lambda i: (gains[i], i))
    count = min(count, len(order))
    if count == 1:
        return [order[len(order) // 2]]
    return [order[round(k * (len(order) - 1) / (count - 1))] for k in range(count)]


def panel(
    title: str, rainy: Image, derained: Image, clean: Image, before: Mapping[str, float], after: Mapping[str, float]
) -> Image:
    """A captioned picture of the rainy, derained and clean image and of the remaining error.

    The four parts stand two by two, or in one row if the images are upright.

    Args:
        title: the image's name.
        rainy: the input.
        derained: the output.
        clean: the ground truth.
        before: the figures of ``rdmc.metrics.measure`` for ``rainy``.
        after: the same figures for ``derained``.
    """
    gain = after["psnr_y"] - before["psnr_y"]
    error = np.abs(derained.astype(np.int16) - clean).mean(2)
    parts = [
        (rainy, "rainy", _figures(before)),
        (derained, "derained", _figures(after)),
        (clean, "clean", ""),
        (_heat(error), "error left", f"mean {error.mean():.1f} of 255 levels; brightest: {FULL_ERROR} and more"),
    ]
    shown = [(_fit(image), name, figures) for image, name, figures in parts]
    height, width = shown[0][0].shape[:2]
    columns = 4 if height > width else 2
    rows = len(shown) // columns
    across, down = width + GAP, height + CAPTION + GAP
    sheet = Pillow.new("RGB", (GAP + columns * across, TITLE + rows * down), PAPER)
    draw = ImageDraw.Draw(sheet)
    end = _write(draw, (GAP, 10), title, 18, INK)
    _write(draw, (end + 12, 10), f"{gain:+.2f} dB", 18, GREEN if gain > 0 else RED)
    for index, (image, name, figures) in enumerate(shown):
        x, y = GAP + index % columns * across, TITLE + index // columns * down
        end = _write(draw, (x, y + 4), name, 14, INK)
        _write(draw, (end + 10, y + 4), _cut(figures, x + width - end - 10), 14, GREY)
        sheet.paste(Pillow.fromarray(image), (x, y + CAPTION))
    return np.asarray(sheet)


def gain_histogram(gains: Mapping[str, Sequence[float]]) -> Image:
    """Histograms of the gain in PSNR-Y (dB) of the test images: one row per dataset, all on the same scale."""
    figure = Figure(figsize=(8, 1.2 + 1.6 * len(gains)), dpi=120, layout="constrained")
    everything = [gain for values in gains.values() for gain in values]
    low, high = np.floor(min([0, *everything])), np.ceil(max([1, *everything]))
    bins = np.linspace(low, high, int(min(40, max(10, 2 * (high - low)))) + 1)
    axes = figure.subplots(len(gains), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, values) in zip(axes, gains.items(), strict=True):
        mean = float(np.mean(values))
        axis.hist([v for v in values if v >= 0], bins, color=GREEN, alpha=0.75)
        axis.hist([v for v in values if v < 0], bins, color=RED, alpha=0.75)
        axis.axvline(mean, color=INK, linestyle="--", linewidth=1)
        worse = sum(value < 0 for value in values)
        plain(axis, f"{name}: {mean:+.2f} dB, mean of {len(values)}" + (f"; {worse} got worse" if worse else ""))
        axis.set_ylabel("images")
        axis.yaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("gain in PSNR-Y over the rainy image, dB")
    return draw(figure)


def learning_curve(rows: Sequence[Mapping[str, float]]) -> Image:
    """Curves of the training loss and of validation PSNR-Y and SSIM-Y over the steps; the best step is marked.

    Args:
        rows: the rows of history.csv, as floats. A value that a row does not have is not drawn.
    """
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    _line(upper, rows, "loss", INK)
    plain(upper, "training loss")
    points = _line(lower, rows, "psnr_y", BLUE)
    lower.set_ylabel("PSNR-Y, dB", color=BLUE)
    lower.set_xlabel("step")
    title = "validation"
    if points:
        step, best = max(points, key=lambda point: point[1])
        lower.plot([step], [best], "o", color=BLUE)
        title = f"validation: best {best:.2f} dB at step {step:.0f}"
    plain(lower, title)
    right = lower.twinx()
    _line(right, rows, "ssim_y", ORANGE)
    right.set_ylabel("SSIM-Y", color=ORANGE)
    right.spines[["top"]].set_visible(False)
    return draw(figure)


def seed_dots(values: Mapping[str, Sequence[float]]) -> Image:
    """PSNR-Y of variants: a dot per seed and a line at the mean. A dashed line marks the first variant's mean in all rows."""
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(values)), dpi=120, layout="constrained")
    axis = figure.subplots()
    for row, scores in enumerate(values.values()):
        axis.plot(scores, [row] * len(scores), "o", color=BLUE, alpha=0.6, markersize=6, markeredgewidth=0)
        axis.plot([np.mean(scores)] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=2)
    axis.axvline(float(np.mean(next(iter(values.values())))), color=GREY, linestyle="--", linewidth=1)
    axis.set_yticks(range(len(values)), list(values))
    axis.set_ylim(len(values) - 0.5, -0.5)
    axis.set_xlabel("PSNR-Y of the test images, dB")
    plain(axis, "a dot per seed, a line at the mean")
    return draw(figure)


def _line(axis: Axes, rows: Sequence[Mapping[str, float]], name: str, color: str) -> list[tuple[float, float]]:
    points = [(row["step"], row[name]) for row in rows if name in row]
    axis.plot([x for x, _ in points], [y for _, y in points], color=color, linewidth=1.5)
    return points


def plain(axis: Axes, title: str) -> None:
    """Give the axis a title and faint horizontal lines, and remove its frame."""
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25)


def draw(figure: Figure) -> Image:
    """Render the figure as pixels."""
    canvas: Any = FigureCanvasAgg(figure)  # its methods are untyped
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figures(figures: Mapping[str, float]) -> str:
    return f"PSNR-Y {figures['psnr_y']:.2f} dB   SSIM-Y {figures['ssim_y']:.3f}"


def _heat(error: NDArray[np.floating]) -> Image:
    """Colour an (H, W) error in levels, from black over red to pale yellow."""
    levels = np.clip(error * (255 / FULL_ERROR), 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8)[..., ::-1]


def _fit(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, color: str) -> float:
    """Write a line of text; returns the x coordinate of its end, in pixels."""
    font = ImageFont.load_default(size)
    draw.text(at, text, fill=color, font=font)
    return at[0] + draw.textlength(text, font=font)


def _cut(text: str, room: float) -> str:
    """The caption, shortened by whole parts until it fits into ``room`` pixels; empty if nothing fits."""
    font = ImageFont.load_default(14)
    for end in ("   ", ";"):
        if font.getlength(text) > room:
            text = text.rpartition(end)[0] if end in text else text
    return text if font.getlength(text) <= room else ""
