"""Measure how similar two pictures are: codes find candidates among many, and a comparison of pixels decides.

A code consists of the low frequencies of a picture resized to a square. It is robust to recompression, rescaling and cropped
borders. A mirrored or turned picture has the same frequencies with other signs or in another order, so no picture is read again
for the other seven views (``near``). The decision (``agreement``) aligns two pictures and correlates their fine detail cell by
cell. Many photographs share a bright sky over dark ground, but not the detail.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple, TypeVar

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from rdmc.data.images import Grey

T = TypeVar("T", bound=np.generic)
Code = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.int64]
"""(P, 2): positions in two lists."""

FREQUENCIES = 8
"""Frequencies of a code in each direction. The highest has four waves across the picture."""
SAMPLED = 32
"""Pixels a side of the picture from which a code is computed."""
CELL, PROBED = 64, 32
"""Codes to a cell of an index, on average, and the cells that are searched for each view of a code."""
ROUNDS = 4
"""Rounds of k-means that choose the cells."""
QUERIES = 4096
"""Codes that are searched for at once."""
CELLS = 8
"""Cells a side in which the detail of two pictures is correlated."""
MIN_CELLS = 4
"""Least number of cells with structure, of CELLS ** 2, that a decision needs."""
DETAIL = 2.0
"""Standard deviation, in pixels, of the blur that is subtracted to leave the detail."""
STRUCTURE = 1.0
"""Root mean square of the detail, in levels of 255, below which a cell is noise or flat."""
SAME = 1
"""Largest difference, in levels of 255, of pictures that are equal up to rounding."""
MAX_STRETCH, MAX_SHIFT = 0.2, 0.15
"""Limits of an alignment, as shares of a side. A larger one means another crop."""
BAND = (1.0, 4.0)
"""Standard deviations, in pixels, of the two blurs that bound the band of ``shifted_correlation``."""
COARSE, FINE = 64, 128
"""Pixels a side of the pictures for the coarse and the fine alignment."""
ITERATIONS, PRECISION, BLUR = 30, 1e-4, 3
"""Parameters of the alignment: most steps, least change of the correlation, pixels of the blur against noise."""


class View(NamedTuple):
    """A mirroring or turn of a picture: transposed first, then rows or columns reversed."""

    transposed: bool
    rows: bool
    columns: bool

    def of(self, image: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return the picture in this view."""
        turned = image.swapaxes(0, 1) if self.transposed else image
        return np.ascontiguousarray(turned[:: -1 if self.rows else 1, :: -1 if self.columns else 1])

    def __str__(self) -> str:
        return NAMES[self]


VIEWS = tuple(View(*choice) for choice in product((False, True), repeat=3))
NAMES = dict(
    zip(
        VIEWS,
        (
            "as it is",
            "mirrored",
            "upside down",
            "turned 180",
            "transposed",
            "turned 90 right",
            "turned 90 left",
            "transposed back",
        ),
        strict=True,
    )
)
SIGNS: Floats = (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)
"""Signs of the frequencies after an axis is reversed."""


def square(image: Grey, side: int) -> Grey:
    """Return ``image`` (H, W) resized to ``side`` pixels in both directions."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def code(image: Grey) -> Code:
    """Return the code of a picture: (FREQUENCIES, FREQUENCIES), of norm 1, or all zeros for a picture of one level.

    Frequencies are weighted by their height, because photographs contain less of the higher ones.
    """
    found = cv2.dct(square(image, SAMPLED).astype(np.float32))[:FREQUENCIES, :FREQUENCIES]
    height = np.hypot(*np.meshgrid(np.arange(FREQUENCIES), np.arange(FREQUENCIES))).astype(np.float32)
    weighed = found * height  # the mean level drops out: its height is 0
    norm = float(np.linalg.norm(weighed))
    return np.asarray(weighed / norm if norm > 1e-3 else np.zeros_like(weighed), np.float32)


def near(first: Code, second: Code, least: float, most: int) -> Pairs:
    """Return the positions of two codes whose cosine reaches ``least`` in a view: (n, F, F) and (m, F, F) -> (P, 2), sorted.

    For each view of a code in ``first``, these are at most ``most`` of ``second``, the nearest. ``second`` is divided into
    cells by k-means, and only the cells nearest to a code are searched (an inverted file: Jegou, Douze and Schmid, PAMI 2011).
    Up to CELL * PROBED codes in ``second`` these are all cells, so nothing is missed.
    """
    if not len(first) or not len(second):
        return np.empty((0, 2), np.int64)
    index = _index(second.reshape(len(second), -1))
    found = []
    for start in range(0, len(first), QUERIES):
        asked = _views(first[start : start + QUERIES])
        cosines, positions = index.search(asked.reshape(-1, asked.shape[-1]), min(most, len(second)))
        query, rank = np.nonzero((cosines >= least) & (positions >= 0))
        found.append(np.unique(np.stack([start + query // len(VIEWS), positions[query, rank]], 1), axis=0))
    return np.concatenate(found).astype(np.int64)


def likely_views(first: Code, second: Code, least: float) -> list[list[View]]:
    """Return, for each two codes, the views of the second whose cosine with the first reaches ``least``, the largest first.

    Both codes are (n, F, F), compared one by one.
    """
    cosines = np.einsum("nf,nvf->nv", first.reshape(len(first), -1), _views(second))
    return [[VIEWS[view] for view in np.argsort(-row, kind="stable") if row[view] >= least] for row in cosines]


def band(image: Grey) -> Floats:
    """Return the band of a picture between two scales, of mean 0 and norm 1; zeros if the band is empty."""
    values = image.astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(values, (0, 0), deviation) for deviation in BAND)
    found = cv2.subtract(fine, coarse)
    found -= found.mean()
    norm = float(np.linalg.norm(found))
    return np.asarray(found / norm if norm > 1e-3 else np.zeros_like(found), np.float32)


def shifted_correlation(first: Floats, second: Floats) -> Floats:
    """Return the largest correlation of each two bands of square pictures, over shifts up to MAX_SHIFT of a side, -1 to 1.

    Brightness and noise do not count in a band, and one of a picture of 64 pixels is enough. This takes a small part of the
    time of ``agreement`` and rules out most pictures that are not copies (docs/decisions/0008). Both bands are (n, S, S),
    compared one by one; the result is (n,).
    """
    side = first.shape[-1]
    found = np.fft.irfft2(np.fft.rfft2(first) * np.fft.rfft2(second).conj(), s=(side, side))
    reach = np.r_[: round(MAX_SHIFT * side) + 1, -round(MAX_SHIFT * side) : 0]
    return np.asarray(found[:, reach[:, None], reach].max((1, 2)), np.float32)


def same_levels(first: Grey, second: Grey) -> bool:
    """Return whether two pictures of one size are equal up to rounding."""
    return int(cv2.absdiff(first, second).max()) <= SAME


def agreement(first: Grey, second: Grey) -> float:
    """Return how far two square pictures of one size show the same detail in the same places, 0 to 1.

    The second is aligned to the first by an affine map, found by the enhanced correlation coefficient (Evangelidis and
    Psarakis, PAMI 2008). The agreement is the median correlation of the detail over the cells with structure in either. It is
    0 if the alignment goes too far or too few cells have structure, and 1 for pictures that are equal up to rounding.
    """
    if same_levels(first, second):
        return 1.0
    one, other = first.astype(np.float32), second.astype(np.float32)
    warp = _align(one, other)
    if warp is None:
        return 0.0
    side = one.shape[0]
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    moved = np.asarray(cv2.warpAffine(other, warp, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)
    seen = cv2.warpAffine(np.ones_like(other), warp, (side, side), flags=flags)
    margin = np.ones((2 * round(DETAIL) + 1,) * 2)
    both = (cv2.erode(seen, margin, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0.999).astype(np.float32)
    return _correlation(_detail(one) * both, _detail(moved) * both, both)


def _correlation(one: Floats, other: Floats, both: Floats) -> float:
    """Return the median of the cells' correlations, without cells that have no structure or are mostly outside ``both``."""
    count = _cells(both)
    power, power2 = _cells(one * one), _cells(other * other)
    whole = (one.shape[0] // CELLS) ** 2
    usable = (np.maximum(power, power2) > STRUCTURE**2 * count) & (count > whole / 2)
    if usable.sum() < MIN_CELLS:
        return 0.0
    found = _cells(one * other)[usable] / np.sqrt(power[usable] * power2[usable] + 1e-6)
    return float(np.clip(np.median(found), 0, 1))


def _align(one: Floats, other: Floats) -> Floats | None:
    """Return the map from positions in ``one`` to those in ``other``, (2, 3): first a coarse shift, then an affine map.

    The result is None if there is nothing to align, or if the alignment goes too far.
    """
    side = one.shape[0]
    shift = _ecc(one, other, np.eye(2, 3, dtype=np.float32), COARSE, cv2.MOTION_TRANSLATION)
    warp = _ecc(one, other, np.eye(2, 3, dtype=np.float32) if shift is None else shift, min(FINE, side), cv2.MOTION_AFFINE)
    if warp is None or np.abs(warp[:, :2] - np.eye(2)).max() > MAX_STRETCH or np.abs(warp[:, 2]).max() > MAX_SHIFT * side:
        return None
    return warp


def _ecc(one: Floats, other: Floats, start: Floats, side: int, motion: int) -> Floats | None:
    """Refine ``start`` on both pictures at a size of ``side`` pixels. Return None if it does not converge."""
    scale = np.array([1, 1, one.shape[0] / side], np.float32)
    small = [np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)) for image in (one, other)]
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, ITERATIONS, PRECISION)
    try:
        return (
            np.asarray(
                cv2.findTransformECC(
                    small[0], small[1], start / scale, motion, criteria, np.full((side, side), 255, np.uint8), BLUR
                )[1],
                np.float32,
            )
            * scale
        )
    except cv2.error:
        return None


def _detail(image: Floats) -> Floats:
    return np.asarray(cv2.subtract(image, cv2.GaussianBlur(image, (0, 0), DETAIL)), np.float32)


def _cells(values: Floats) -> Floats:
    """Return the sums over cells: (S, S) -> (CELLS, CELLS)."""
    side = values.shape[0] // CELLS
    return np.asarray(values.reshape(CELLS, side, CELLS, side).sum((1, 3)), np.float32)


def _index(codes: Floats) -> Any:
    """An inverted file of codes (m, F * F) for searches by their product. It is the same for the same codes."""
    cells = max(1, len(codes) // CELL)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(codes.shape[1]), codes.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = ROUNDS, 1, CELL
    index.train(codes)
    index.add(codes)
    index.nprobe = min(PROBED, cells)
    return index


def _views(codes: Code) -> Floats:
    """The codes of the eight views of pictures, in the order of VIEWS: (n, F, F) -> (n, 8, F * F)."""
    found = np.stack([_turned(codes, view) for view in VIEWS], 1)
    return found.reshape(len(codes), len(VIEWS), -1)


def _turned(found: Code, view: View) -> Code:
    turned = found.swapaxes(-1, -2) if view.transposed else found
    turned = turned * SIGNS[:, None] if view.rows else turned
    return turned * SIGNS if view.columns else turned
