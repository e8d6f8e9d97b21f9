"""The maps: which rains they hold, that each property does what its name says, and figures that a known network must have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation import rain_maps as measure
from pipeline.evaluation.rain_maps import BASE, LEVELS, MAPS, RainCell, Shape, clean_photographs, count, rain_maps, shapes
from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS
from rdmc.datasets.rain import render_streaks
from rdmc.errors import ConfigError, DataError
from rdmc.metrics import psnr_y
from tests.support.data import scene
from tests.support.networks import Times


def rainy(**changes: float) -> Image:
    grey = np.full((96, 128, 3), 90, np.uint8)
    return render_streaks(grey, replace(BASE, **changes).rain(), np.random.default_rng(0))


def test_every_property_is_in_a_map_and_the_base_is_in_each() -> None:
    assert {name for pair in MAPS for name in pair} == set(LEVELS) == set(measure.UNITS)
    for across, down in MAPS:
        rows = shapes(across, down)
        assert [getattr(shape, across) for shape in rows[0]] == list(LEVELS[across])
        assert [getattr(row[0], down) for row in rows] == list(LEVELS[down])
        others = set(LEVELS) - {across, down}
        assert all(getattr(shape, name) == getattr(BASE, name) for row in rows for shape in row for name in others)
    with pytest.raises(ConfigError, match="'colour' is not a property of rain; name one of angle, density"):
        shapes("colour", "veil")


@pytest.mark.parametrize("name", ["density", "length", "opacity", "veil"])
def test_more_of_a_property_is_more_rain(name: str) -> None:
    quality = [psnr_y(rainy(**{name: value}), np.full((96, 128, 3), 90, np.uint8)) for value in LEVELS[name]]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] - quality[-1] > 1.5


def test_the_same_photograph_gets_the_same_drops_at_every_opacity() -> None:
    faint, strong = (rainy(opacity=value).astype(int) - 90 for value in (0.5, 1))
    assert (strong >= faint).all()
    assert ((faint > 3) <= (strong > 6)).all()


def test_a_network_that_changes_nothing_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEVELS", {name: (getattr(BASE, name), values[-1]) for name, values in LEVELS.items()})
    photographs, moves = [scene(0)[:48, :48], scene(1)[:48, :48]], list[float]()
    maps = rain_maps(Times(), photographs, follow=moves.append)
    assert [(one.across, one.down) for one in maps] == list(MAPS)
    cells = [cell for one in maps for row in one.cells for cell in row]
    assert {gain for cell in cells for gain in cell.gains} == {0}
    assert len(moves) == count() == len({cell.shape for cell in cells}) < len(cells)
    again, other = rain_maps(Times(), photographs), rain_maps(Times(), photographs, seed=1)
    assert again == maps != other


def test_the_figures_are_means_over_the_photographs() -> None:
    photographs, shape = [scene(0)[:48, :48], scene(1)[:48, :48]], BASE
    found = measure._cell(Times(0.9), photographs, shape, 3, "cpu")
    before, after = [], []
    for number, clean in enumerate(photographs):
        wet = render_streaks(clean, shape.rain(), np.random.default_rng((3, number)))
        before.append(psnr_y(wet, clean))
        after.append(psnr_y(np.rint(wet * 0.9).astype(np.uint8), clean))
    assert found.rainy == pytest.approx(np.mean(before))
    assert found.derained == pytest.approx(np.mean(after), abs=0.02)
    assert found.gains == pytest.approx(np.subtract(after, before), abs=0.03)
    plain = RainCell(shape, 20, (8.0, 12.0)).plain()
    assert (plain["gain_psnr_y"], plain["derained_psnr_y"], plain["least_gain_psnr_y"]) == (10, 30, 8)
    assert plain["angle"] == BASE.angle


def test_a_rain_is_named_by_what_differs() -> None:
    assert BASE.words == "the base rain"
    assert Shape(angle=60, density=24).words == "angle 60, density 24"


def test_the_photographs_are_middles_of_the_test_split() -> None:
    tests = sum(photo.split == "test" for photo in PHOTOS)
    assert {image.shape for image in clean_photographs(3)} == {(256, 256, 3)}
    assert len(clean_photographs(3)) == 3
    assert tests > 20
    with pytest.raises(DataError, match="0 images: the rule is one or more"):
        clean_photographs(0)
