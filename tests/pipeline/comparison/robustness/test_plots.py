"""The heat maps: a cell's colour and text, and the kinds of file."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipeline.comparison.robustness.plots import check_suffix, heat_maps
from pipeline.evaluation.rain_maps import BASE, LEVELS, RainCell, RainMap, Shape, shapes
from rdmc.errors import ConfigError


def gain(shape: Shape) -> float:
    return 10.0 if shape.angle < 0 else -12.0


def one_map() -> RainMap:
    return RainMap(
        "angle",
        "density",
        [[RainCell(shape, 20.4, (gain(shape),)) for shape in row] for row in shapes("angle", "density")],
    )


def test_blue_is_a_gain_red_a_loss_and_both_numbers_are_written() -> None:
    figure, data = heat_maps([one_map()], "a model"), io.BytesIO()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts[:3]] == ["+10.0\n(20)", "+10.0\n(20)", "-12.0\n(20)"]
    assert len(axes.texts) == len(LEVELS["angle"]) * len(LEVELS["density"])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["-60", "-30", "0", "30", "60"]
    assert axes.get_ylabel() == "density (streaks per 1,000 pixels)"
    figure.savefig(data, format="png")
    pixels = np.asarray(Pillow.open(data).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    box = axes.get_window_extent()
    row = height - round(box.y0 + 0.12 * box.height)  # in the lowest row, beside the words of the first and of the last cell
    left, right = (pixels[row - 8, round(box.x0 + share * box.width)] for share in (0.02, 0.98))
    assert left[2] > left[0] + 50
    assert right[0] > right[2] + 50
    assert width > 300


def test_only_some_kinds_of_file(tmp_path: Path) -> None:
    for name in ("a.png", "a.SVG", "a.pdf"):
        check_suffix(tmp_path / name)
    for name in ("a.jpg", "a"):
        with pytest.raises(ConfigError, match=rf"{name}: heat maps are \.png, \.svg, \.pdf files"):
            check_suffix(tmp_path / name)
    assert set(asdict(BASE)) == set(LEVELS)
