"""The gain of each image over the PSNR of its rainy image, as an inline SVG whose points name their images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pipeline.evaluation.evaluator import ImageResult

WIDTH, HEIGHT = 760, 360
LEFT, BOTTOM, EDGE = 60, 46, 14
"""Pixels that the axes' numbers and titles take, and the free edge at the other sides."""
LEAST = 0.05
"""Half of the smallest range in dB that an axis has."""
TICKS = 6
"""About how many numbers an axis has."""


def scatter(results: Sequence[ImageResult]) -> str:
    """The plot as SVG: a point for each image, its name and figures in its tooltip."""
    x, y = [result.rainy["psnr_y"] for result in results], [result.gain for result in results]
    across, down = _ticks(min(x), max(x)), _ticks(min(0.0, *y), max(0.0, *y))
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        'aria-label="gain in PSNR-Y of each image over the PSNR-Y of its rainy image">'
    ]
    for value in down:
        at = _y(value, down)
        kind = ' class="zero"' if value == 0 else ""
        parts.append(f'<line{kind} x1="{LEFT}" x2="{WIDTH - EDGE}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    below = HEIGHT - BOTTOM + 18
    parts += [f'<text x="{_x(value, across):.1f}" y="{below}" text-anchor="middle">{value:g}</text>' for value in across]
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">PSNR-Y of the rainy image, dB</text>')
    parts.append(f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">gain, dB</text>')
    for result, value, gain in zip(results, x, y, strict=True):
        kind = ' class="worse"' if gain < 0 else ""
        name = escape(f"{result.dataset}/{result.image}: {gain:+.2f} dB from {value:.2f} dB")
        parts.append(
            f'<circle{kind} cx="{_x(value, across):.1f}" cy="{_y(gain, down):.1f}" r="4"><title>{name}</title></circle>'
        )
    return "\n".join([*parts, "</svg>"])


def _x(value: float, ticks: Sequence[float]) -> float:
    return LEFT + (WIDTH - LEFT - EDGE) * (value - ticks[0]) / (ticks[-1] - ticks[0])


def _y(value: float, ticks: Sequence[float]) -> float:
    return EDGE + (HEIGHT - BOTTOM - EDGE) * (ticks[-1] - value) / (ticks[-1] - ticks[0])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from one at or below ``low`` to one at or above ``high``."""
    middle = (low + high) / 2
    low, high = min(low, middle - LEAST), max(high, middle + LEAST)
    raw = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 6) + 0.0 for number in range(first, last + 1)]
