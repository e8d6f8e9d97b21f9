import numpy as np
import pytest

from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import KINDS, render
from rdmc.errors import ConfigError


def psnr_y(a: Image, b: Image) -> float:
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return float(10 * np.log10(255**2 / np.mean(((a.astype(float) - b.astype(float)) @ weights) ** 2)))


@pytest.fixture(scope="module")
def china() -> Image:
    return photograph(next(photo for photo in PHOTOS if photo.name == "china")).pixels


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_seed_fixes_every_byte(kind: str, china: Image) -> None:
    assert np.array_equal(render(china, kind, (1, 2)), render(china, kind, (1, 2)))
    assert not np.array_equal(render(china, kind, (1, 2)), render(china, kind, (1, 3)))


@pytest.mark.parametrize(("kind", "low", "high"), [("light", 25, 31), ("heavy", 16, 21.5)])
def test_rain_is_as_strong_as_that_of_the_benchmarks(kind: str, low: float, high: float, china: Image) -> None:
    found = [psnr_y(render(china, kind, (0, i)), china) for i in range(4)]
    assert low < np.mean(found) < high


def test_light_rain_only_adds_light(china: Image) -> None:
    darker = china < 230  # a drop is a little darker than white
    assert (render(china, "light", (0,))[darker].astype(int) >= china[darker].astype(int)).all()


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (300, 17)])
def test_any_shape_is_kept(shape: tuple[int, int]) -> None:
    rainy = render(np.full((*shape, 3), 90, np.uint8), "heavy", (0,))
    assert rainy.shape == (*shape, 3)
    assert rainy.dtype == np.uint8


def test_an_unknown_kind_is_refused(china: Image) -> None:
    with pytest.raises(ConfigError, match="rain: 'drizzle' is not one of heavy, light, wild"):
        render(china, "drizzle", (0,))
