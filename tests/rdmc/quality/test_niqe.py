"""NIQE: its model, how it rises with distortions, and what it does not depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.errors import DataError
from rdmc.quality.niqe import (
    EMBEDDED,
    NaturalModel,
    embedded_model,
    features,
    fit_embedded,
    fit_model,
    halved,
    niqe,
    read_model,
    write_model,
)

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo() -> Image:
    """A photograph of the test split: the model was fitted on others."""
    street = next(photo for photo in PHOTOS if photo.name == "street-81")
    return photograph(street).pixels[:288, :384]


def test_features_are_those_of_whole_blocks(photo: Image) -> None:
    found, sharpness = features(photo[:200, :300])
    assert (found.shape, sharpness.shape) == ((6, 36), (6,))
    assert np.isfinite(found).all()
    assert features(photo[:192, :288])[0] == pytest.approx(found), "rows and columns beyond whole blocks are cut"


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def noisy(image: Image, sigma: float) -> Image:
    return np.clip(image + np.random.default_rng(0).normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def compressed(image: Image, quality: float) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1], 1), np.uint8)


@pytest.mark.parametrize(("distort", "strengths"), [(blurred, (1, 2, 4)), (noisy, (10, 20, 40)), (compressed, (60, 30, 10))])
def test_it_rises_with_distortions(
    photo: Image, distort: Callable[[Image, float], Image], strengths: tuple[float, ...]
) -> None:
    found = [niqe(photo), *(niqe(distort(photo, strength)) for strength in strengths)]
    assert found == sorted(found)
    assert found[-1] > found[0] + 2


def test_brightness_does_not_matter(photo: Image) -> None:
    grey = np.repeat((photo[..., :1] // 2 + 20), 3, axis=2)
    assert niqe(grey + np.uint8(60)) == pytest.approx(niqe(grey), rel=1e-6)


def test_an_image_of_one_block_and_one_without_texture_have_a_figure(photo: Image) -> None:
    assert np.isfinite(niqe(photo[:96, :96]))
    assert niqe(np.full((96, 200, 3), 128, np.uint8)) > niqe(photo)


def test_the_model_is_measured_against_itself(photo: Image) -> None:
    """An image whose blocks are the model's has no distance."""
    found = features(photo)[0]
    model = NaturalModel("itself", found.mean(0), np.cov(found, rowvar=False))
    assert niqe(photo, model) == pytest.approx(0, abs=1e-6)


def test_halving_is_that_of_matlab() -> None:
    """MATLAB's imresize is a bicubic filter stretched by two. Pillow's is the same, but at the border."""
    plane = np.random.default_rng(0).uniform(0, 255, (40, 60))
    other = np.asarray(Pillow.fromarray(plane.astype(np.float32)).resize((30, 20), Pillow.Resampling.BICUBIC))
    assert halved(plane)[2:-2, 2:-2] == pytest.approx(other[2:-2, 2:-2], abs=1e-3)
    assert halved(np.full((8, 8), 9.0)) == pytest.approx(np.full((4, 4), 9.0))


def test_a_model_is_written_and_read(tmp_path: Path) -> None:
    model = embedded_model()
    write_model(tmp_path / "m.npz", model)
    again = read_model(tmp_path / "m.npz")
    assert np.array_equal(again.mean, model.mean)
    assert np.array_equal(again.covariance, model.covariance)
    assert np.linalg.eigvalsh(model.covariance).min() > 0
    assert "embedded photographs" in model.name


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("model")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "small.npz", mu_pris_param=np.zeros(3), cov_pris_param=np.zeros((3, 3)))
    for name, match in (
        ("none.npz", "not a model of NIQE"),
        ("text.npz", "not a model of NIQE"),
        ("other.npz", "mu_pris_param"),
        ("small.npz", "the rule is 36 features"),
    ):
        with pytest.raises(DataError, match=match):
            read_model(tmp_path / name)


def test_too_few_images_make_no_model(photo: Image) -> None:
    with pytest.raises(DataError, match="0 sharp blocks"):
        fit_model("none", [])
    with pytest.raises(DataError, match="give more images"):
        fit_model("one", [photo])


@pytest.mark.slow
def test_the_model_in_the_package_is_that_of_the_photographs() -> None:
    fitted, kept = fit_embedded(), read_model(EMBEDDED)
    assert fitted.name == embedded_model().name
    assert kept.mean == pytest.approx(fitted.mean, abs=1e-6)
    assert kept.covariance == pytest.approx(fitted.covariance, abs=1e-6)
