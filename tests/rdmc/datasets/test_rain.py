import hashlib

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


@pytest.mark.parametrize(
    ("kind", "variants", "digest"),
    [
        ("light", 1, "f512426ebd5d9245ec49e5eb7c5dc876092bfbdb8572d84a9897be6341e63338"),
        ("heavy", 1, "57e4746f565be5051de7f0af74f64c354d098c2c5c573a0ee79aca46fec43c16"),
        ("wild", 24, "31f971970fe28bb186420f272a877f5d8a466028d0c5ab5e86350f322d5c6bcb"),
    ],
)
def test_bytes_stay_those_of_earlier_versions(kind: str, variants: int, digest: str) -> None:
    """A change of these digests changes everybody's datasets, and therefore every model trained on them.

    The images of ``wild`` have all manners of drawing, and JPEG: that of the OpenCV in constraints.txt.
    """
    down, right = np.mgrid[:120, :160]
    clean = np.stack([right, down, (down + right) // 2], axis=2).astype(np.uint8)
    rainy = b"".join(render(clean, kind, (3, variant)).tobytes() for variant in range(variants))
    assert hashlib.sha256(rainy).hexdigest() == digest


@pytest.mark.parametrize(("kind", "low", "high"), [("light", 25, 31), ("heavy", 16, 21.5)])
def test_rain_is_as_strong_as_that_of_the_benchmarks(kind: str, low: float, high: float, china: Image) -> None:
    found = [psnr_y(render(china, kind, (0, i)), china) for i in range(4)]
    assert low < np.mean(found) < high


def test_light_rain_only_adds_light(china: Image) -> None:
    darker = china < 230  # a drop is a little darker than white
    assert (render(china, "light", (0,))[darker].astype(int) >= china[darker].astype(int)).all()


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (300, 17)])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_any_shape_is_kept(kind: str, shape: tuple[int, int]) -> None:
    for variant in range(4):
        rainy = render(np.full((*shape, 3), 90, np.uint8), kind, (variant,))
        assert rainy.shape == (*shape, 3)
        assert rainy.dtype == np.uint8


def test_an_unknown_kind_is_refused(china: Image) -> None:
    with pytest.raises(ConfigError, match="rain: 'drizzle' is not one of heavy, light, wild"):
        render(china, "drizzle", (0,))
