"""NIQE, the natural image quality evaluator: how far an image's statistics are from those of natural images.

Mittal, Soundararajan and Bovik, Making a completely blind image quality analyzer, IEEE Signal Processing Letters 20(3), 2013.
Blocks of 96x96 pixels are described by 36 numbers: the fits of locally normalised grey levels and of the products of
neighbours, at the image's own scale and at half of it. The measure is a distance between two Gaussians: that of an image's
blocks, and that of the sharp blocks of natural images.

The authors fitted theirs on 125 photographs that are not at hand here. ``embedded_model`` is fitted on the 70 clean street
photographs of the training split that come with ai-benchmark. Figures by it compare with one another only, so name the model
beside them. ``read_model`` reads the authors' model from the file ``niqe_pris_params.npz`` that BasicSR distributes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdmc.datasets.embedded import AI_BENCHMARK, PHOTOS, photograph
from rdmc.errors import DataError
from rdmc.metrics import Image, Plane
from rdmc.quality.natural import check_picture, fit, grey_levels, normalised

BLOCK = 96
"""Side of a block in pixels at the image's own scale; half of it at half the scale."""
SHARP = 0.75
"""A natural image's block is used if its mean local deviation is above this share of the image's sharpest block."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Shifts in rows and columns to the neighbours whose products are fitted."""
FEATURES = 36
EMBEDDED = Path(__file__).with_name("niqe_embedded.npz")
"""The parameters of ``embedded_model``, as ``write_model`` wrote them."""
KEYS = ("mu_pris_param", "cov_pris_param")
"""Names of the arrays in a file of parameters: those of BasicSR's copy of the authors' model."""


@dataclass(frozen=True)
class NaturalModel:
    """The Gaussian of natural images' blocks."""

    name: str
    """What it was fitted on."""
    mean: NDArray[np.float64]
    """(36)."""
    covariance: NDArray[np.float64]
    """(36, 36)."""


def niqe(image: Image, model: NaturalModel | None = None) -> float:
    """Return the NIQE of an image: 0 at best, more for less natural ones. Without a ``model`` it is ``embedded_model``.

    Raises DataError unless it is uint8 (H, W, 3) with no side below 96 pixels.
    """
    check_picture(image, BLOCK)
    model = model or embedded_model()
    found = features(image)[0]
    covariance = np.cov(found, rowvar=False) if len(found) > 1 else np.zeros((FEATURES, FEATURES))
    distance = found.mean(0) - model.mean
    return float(np.sqrt(max(0.0, distance @ np.linalg.pinv((model.covariance + covariance) / 2) @ distance)))


def features(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 36 features of each whole block, (n, 36), and each block's sharpness, (n). Rows and columns beyond are cut."""
    grey = grey_levels(image)
    grey = grey[: grey.shape[0] // BLOCK * BLOCK, : grey.shape[1] // BLOCK * BLOCK]
    parts, sharpness = [], np.zeros(0)
    for scale in (1, 2):
        plane, deviation = normalised(grey)
        if scale == 1:
            sharpness = _blocks(deviation, BLOCK).mean(axis=(1, 2))
            grey = halved(grey)
        parts.append(_described(_blocks(plane, BLOCK // scale)))
    return np.concatenate(parts, axis=1), sharpness


def halved(plane: Plane) -> Plane:
    """Return a plane of even sides at half its size, as MATLAB's ``imresize(plane, 0.5)`` does: bicubic, stretched by two."""
    near, far = np.array([0.25, 0.75]), np.array([1.25, 1.75])  # distances of the taps, in pixels of the result
    taps = np.concatenate([1.5 * near**3 - 2.5 * near**2 + 1, -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2])
    kernel = np.concatenate([taps[::-1], taps]) / (2 * taps.sum())
    for axis in (0, 1):
        padded = np.pad(plane, [(3, 3) if axis == side else (0, 0) for side in (0, 1)], mode="symmetric")
        count = plane.shape[axis] // 2
        plane = np.sum([weight * _every_second(padded, axis, tap, count) for tap, weight in enumerate(kernel)], axis=0)
    return plane


def fit_model(name: str, images: Iterable[Image]) -> NaturalModel:
    """Return the model of natural images: the mean and covariance of the features of their sharp blocks.

    Raises DataError if there are too few blocks for a covariance.
    """
    rows = []
    for image in images:
        check_picture(image, BLOCK)
        found, sharpness = features(image)
        rows.append(found[sharpness > SHARP * sharpness.max()])
    every = np.concatenate(rows) if rows else np.zeros((0, FEATURES))
    if len(every) <= FEATURES:
        raise DataError(f"{len(every)} sharp blocks: a model of natural images needs more than {FEATURES}; give more images")
    return NaturalModel(name, every.mean(0), np.cov(every, rowvar=False))


def fit_embedded() -> NaturalModel:
    """Return the model of the 70 clean street photographs of the training split. Raises DataError if they are not installed."""
    photos = [photo for photo in PHOTOS if photo.split == "train" and photo.package == AI_BENCHMARK]
    name = f"NIQE of the embedded photographs ({len(photos)} streets)"
    return fit_model(name, (photograph(photo).pixels for photo in photos))


@cache
def embedded_model() -> NaturalModel:
    """Return the model that comes with the package, as ``fit_embedded`` made it."""
    model = read_model(EMBEDDED)
    return NaturalModel("NIQE of the embedded photographs (70 streets)", model.mean, model.covariance)


def read_model(path: Path) -> NaturalModel:
    """Return the model in a file of ``KEYS``. Raises DataError if it cannot be read or has other shapes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = (np.asarray(file[key], np.float64) for key in KEYS)
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        raise DataError(f"{path}: not a model of NIQE, an npz file with {' and '.join(KEYS)}; name such a file") from None
    if mean.size != FEATURES or covariance.shape != (FEATURES, FEATURES):
        raise DataError(f"{path}: has {mean.size} means and covariances of {covariance.shape}, the rule is {FEATURES} features")
    return NaturalModel(path.name, mean.ravel(), covariance)


def write_model(path: Path, model: NaturalModel) -> None:
    """Write the parameters of a model, for ``read_model``."""
    np.savez(path, **dict(zip(KEYS, (model.mean[None], model.covariance), strict=True)))  # type: ignore[arg-type]


def _described(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 18 features of each normalised block of (n, side, side): (n, 18)."""
    values = fit(blocks.reshape(len(blocks), -1))
    columns = [values.shape, (values.left + values.right) / 2]
    for shift in NEIGHBOURS:
        product = blocks * np.roll(blocks, shift, axis=(1, 2))
        found = fit(product.reshape(len(blocks), -1))
        columns += [found.shape, found.mean, found.left, found.right]
    return np.stack(columns, axis=1)


def _blocks(plane: Plane, side: int) -> NDArray[np.float64]:
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def _every_second(padded: Plane, axis: int, first: int, count: int) -> Plane:
    places = slice(first, first + 2 * count - 1, 2)
    return padded[places] if axis == 0 else padded[:, places]
