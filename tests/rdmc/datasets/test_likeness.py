from io import BytesIO
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from rdmc.data.images import Grey
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.likeness import (
    CELLS,
    VIEWS,
    View,
    agreement,
    band,
    code,
    likely_views,
    near,
    same_levels,
    shifted_correlation,
    square,
)


def noise(seed: int, height: int = 120, width: int = 160) -> Grey:
    """Structure at every scale."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(0, 1, (n, n)), (width, height), interpolation=cv2.INTER_CUBIC) for n in (3, 6, 12, 48)]
    return np.asarray(128 + 30 * np.sum(layers, 0)).clip(0, 255).astype(np.uint8)


def recompressed(image: Grey, quality: int = 50) -> Grey:
    file = BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Pillow.open(file))


def test_views_are_those_of_numpy() -> None:
    image = noise(0)
    turned = {str(view): view.of(image) for view in VIEWS}
    assert len(turned) == 8
    assert np.array_equal(turned["mirrored"], np.fliplr(image))
    assert np.array_equal(turned["upside down"], np.flipud(image))
    assert np.array_equal(turned["turned 180"], np.rot90(image, 2))
    assert np.array_equal(turned["turned 90 left"], np.rot90(image))
    assert np.array_equal(turned["turned 90 right"], np.rot90(image, -1))
    assert np.array_equal(turned["transposed"], image.T)
    assert np.array_equal(turned["transposed back"], np.rot90(image, 2).T)


def test_near_codes_are_those_whose_turned_pictures_have_the_cosine() -> None:
    images = [noise(seed) for seed in range(30)]
    images += [VIEWS[seed % 8].of(recompressed(images[seed])) for seed in range(10)]
    codes = np.stack([code(image) for image in images])
    best = np.array([[max(float((code(view.of(a)) * b).sum()) for view in VIEWS) for b in codes] for a in images])
    for least in (-1.0, 0.3, 0.7):
        assert not (abs(best - least) < 1e-4).any(), "rounding decides about none"
        assert near(codes, codes, least, len(codes)).tolist() == np.argwhere(best >= least).tolist()
    assert near(codes[:0], codes, 0.3, 1).shape == near(codes, codes[:0], 0.3, 1).shape == (0, 2)


def test_an_index_of_many_cells_misses_no_copy_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(6000, 8, 8)).astype(np.float32)
    whole[:, 0, 0] = 0
    whole /= np.linalg.norm(whole, axis=(1, 2), keepdims=True)
    copies = whole[::20] + rng.normal(0, 0.06, (300, 8, 8)).astype(np.float32)
    copies /= np.linalg.norm(copies, axis=(1, 2), keepdims=True)
    cosines = (copies * whole[::20]).sum((1, 2))
    assert 0.8 < cosines.min() < 0.85, "farther apart than cropped copies are"
    found = near(copies, whole, 0.7, 64)
    assert {(n, 20 * n) for n in range(300)} <= {(int(i), int(j)) for i, j in found}
    assert np.array_equal(found, near(copies, whole, 0.7, 64))


def test_only_the_nearest_codes_are_taken() -> None:
    images = [noise(seed) for seed in range(6)]
    codes = np.stack([code(image) for image in images])
    assert near(codes, codes, 0.99, 1).tolist() == [[n, n] for n in range(6)]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_view_is_found(view: View) -> None:
    image = noise(1)
    turned = view.of(image)
    back = likely_views(code(image)[None], code(turned)[None], 0.9)[0][0]
    assert agreement(square(image, 64), back.of(square(turned, 64))) == 1


def test_pictures_of_one_level_match_nothing() -> None:
    flat = np.full((40, 60), 200, np.uint8)
    assert not code(flat).any()
    assert near(np.stack([code(flat)]), np.stack([code(flat), code(noise(0))]), 0.1, 2).tolist() == []
    assert likely_views(code(flat)[None], code(flat)[None], 0.5) == [[]]


def test_shifted_correlation_recognises_cropped_copies() -> None:
    image = square(noise(2, 240, 320), 64)
    cut = square(recompressed(noise(2, 240, 320)[12:, :-16]), 64)  # a twentieth of each side
    moved, far = np.roll(image, (4, -7), (0, 1)), np.roll(image, 24, 1)
    others = [square(noise(seed, 240, 320), 64) for seed in range(3, 9)]
    flat = np.full((64, 64), 9, np.uint8)
    seconds = np.stack([cut, moved, far, *others, flat])
    found = shifted_correlation(np.stack([band(image)] * len(seconds)), np.stack([band(second) for second in seconds]))
    assert found[0] > 0.5
    assert found[1] > 0.85  # the border is blurred otherwise
    assert found[2:-1].max() < 0.4
    assert found[-1] == 0
    assert same_levels(flat, flat + 1)
    assert not same_levels(flat, flat + 2)


def test_copies_agree_and_others_do_not() -> None:
    image = noise(2, 240, 320)
    small = cv2.resize(image[3:-5, 4:-2], None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA).astype(np.uint8)
    for side in (64, 256):
        assert agreement(square(image, side), square(recompressed(small), side)) > 0.6
        assert agreement(square(image, side), square(noise(3, 240, 320), side)) < 0.1


def test_skies_agree_with_nothing() -> None:
    def sky(seed: int) -> Grey:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:1:240j, 0:1:320j]
        light = 180 + rng.uniform(-60, 30) * y + rng.uniform(-20, 20) * x + rng.normal(0, 1.5, y.shape)
        return recompressed(light.clip(0, 255).astype(np.uint8))

    skies = [square(sky(seed), 256) for seed in range(8)]
    assert max(agreement(one, other) for one, other in combinations(skies, 2)) == 0


def test_a_frame_around_other_pictures_does_not_make_them_agree() -> None:
    """The retina fills a disc: two quarters of it share the bright arc but have different vessels."""
    (retina,) = (photograph(photo).pixels for photo in PHOTOS if photo.name == "retina")
    grey = np.asarray(cv2.cvtColor(retina, cv2.COLOR_RGB2GRAY), np.uint8)
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    upper, lower = square(grey[:height, width:], 256), square(grey[height:, width:][::-1], 256)
    assert float((code(upper) * code(lower)).sum()) > 0.7
    assert agreement(upper, lower) < 0.2


def test_agreement_needs_structure_in_several_places() -> None:
    one = np.full((256, 256), 100, np.uint8)
    one[100:110, 100:110] = noise(4, 10, 10)
    other = one.copy()
    other[200:, 200:] += 4  # so that it is not equal
    assert 256 % CELLS == 0
    assert agreement(one, other) == 0
