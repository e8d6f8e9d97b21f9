"""Pictures inside the page: their pixels, their size, and what is left out when there is no room."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image as Pillow

from pipeline.evaluation.report.pictures import LONGEST, Album, plot
from rdmc.data.images import read_rgb
from tests.support.data import scene

URI = re.compile(r'src="data:image/(\w+);base64,([^"]+)"')


def test_the_three_images_are_there_in_colour() -> None:
    clean, rainy, derained = scene(0), scene(1), scene(2)
    made = Album(10**6).picture('a "picture"', "better & best", rainy, derained, clean)
    assert "a &quot;picture&quot;" in made
    assert "(64x48). better &amp; best" in made
    kinds, data = zip(*URI.findall(made), strict=True)
    assert kinds == ("webp",) * 3
    for one, expected in zip(data, (derained, rainy, clean), strict=True):
        shown = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(one))).convert("RGB"))
        assert np.abs(shown.astype(int) - expected).mean() < 6
    assert made.count('type="range"') == 1


def test_a_large_picture_is_shrunk_and_one_without_room_is_counted() -> None:
    large = np.zeros((100, 3 * LONGEST, 3), np.uint8)
    album = Album(10**6)
    first, second = (album.picture("x", "", large, large, large) for _ in range(2))
    assert Pillow.open(io.BytesIO(base64.b64decode(URI.findall(first)[0][1]))).size[0] == LONGEST
    assert ('id="p1"' in first, 'id="p2"' in second) == (True, True), "radio buttons are grouped by these names"
    full = Album(100)
    assert full.picture("x", "", large, large, large) == ""
    assert (full.count, full.left_out) == (0, 1)


def test_a_plot_is_lossless() -> None:
    ((kind, data),) = URI.findall(plot(scene(3), "gain"))
    assert kind == "png"
    assert np.array_equal(read_rgb(base64.b64decode(data)), scene(3))
