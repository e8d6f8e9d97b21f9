"""Derain whole images of any size. Large images are processed in overlapping tiles.

Memory: the network's activations for the pixels of one tile, whatever the image size, and about 40 bytes a pixel of one image
(the blend in floats, and its rounding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise, product
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rdmc.errors import CheckpointError, DataError
from rdmc.models.base import place

OVERLAP = 128
"""Pixels that neighbouring tiles share. The weight of a tile falls to zero across them, so no seam can show. A pixel that
depends on its surroundings up to 64 px away always comes mostly from a tile that contains them."""
ALIGN = 64
"""Tiles begin at multiples of this many pixels, so that the network's pooling grid (at its coarsest 64) matches that of the
whole image."""


def derain_image(
    network: nn.Module,
    rainy: NDArray[np.uint8],
    tile: int = 1024,
    device: str | torch.device = "cpu",
    follow: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Return the derained image: uint8 (H, W, 3) RGB in, the same out, rounded to the nearest level and clamped.

    Arguments and errors are those of ``derain_values``.
    """
    return _to_levels(derain_values(network, rainy, tile, device, follow))


def derain_values(
    network: nn.Module,
    rainy: NDArray[np.uint8],
    tile: int = 1024,
    device: str | torch.device = "cpu",
    follow: Callable[[float], None] | None = None,
) -> NDArray[np.float32]:
    """Return the derained image before it is rounded: uint8 (H, W, 3) RGB in, float32 (H, W, 3) clamped to 0..1 out.

    Args:
        network: maps (N, 3, H, W) RGB 0..1 to the same, any height and width, in evaluation mode. It is moved to
            ``device`` and, in place, to the channels-last layout, which takes a third less time on CPUs.
        rainy: the image.
        tile: an image with a longer side is derained in tiles of at most this many pixels a side; below 256 counts as 256.
        device: the device to compute on.
        follow: called after each tile, with the share of the image that it is (0 to 1). All shares add up to 1.

    Raises:
        DataError: ``rainy`` is not a uint8 (H, W, 3) array with pixels.
        CheckpointError: the network returned a value that is not finite.
    """
    check_image(rainy)
    place(network, device)
    height, width = rainy.shape[:2]
    rows, columns = spans(height, tile), spans(width, tile)
    follow = follow or (lambda _: None)
    if len(rows) == len(columns) == 1:
        whole = np.clip(_run(network, rainy, device), 0, 1)
        follow(1)
        return whole
    blend = np.zeros(rainy.shape, np.float32)
    down, across = _weights(rows), _weights(columns)
    for ((top, bottom), vertical), ((left, right), horizontal) in product(
        zip(rows, down, strict=True), zip(columns, across, strict=True)
    ):
        part = _run(network, rainy[top:bottom, left:right], device)
        blend[top:bottom, left:right] += part * (vertical[:, None] * horizontal)[..., None]
        follow(1 / (len(rows) * len(columns)))
    return np.clip(blend, 0, 1, out=blend)


def derain_images(
    network: nn.Module, images: Sequence[NDArray[np.uint8]], tile: int = 1024, device: str | torch.device = "cpu"
) -> list[NDArray[np.uint8]]:
    """Derain each image as ``derain_image`` does, in order. Images of one shape that need no tiles share a forward pass.

    A forward pass holds no more images than fit in the pixels of one tile. The result of a shared pass may differ from that
    of a single one in the last bit before rounding, and so, rarely, by one level.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        check_image(image)
        alike.setdefault(image.shape, []).append(index)
    derained: dict[int, NDArray[np.uint8]] = {}
    for (height, width, _), indices in alike.items():
        whole = len(spans(height, tile)) == len(spans(width, tile)) == 1
        most = max(tile, 2 * OVERLAP) ** 2 // (height * width) if whole else 1
        for group in (indices[start : start + most] for start in range(0, len(indices), most)):
            if len(group) == 1:
                derained[group[0]] = derain_image(network, images[group[0]], tile, device)
                continue
            place(network, device)
            together = _run_all(network, np.stack([images[index] for index in group]), device)
            derained |= {index: _to_levels(one) for index, one in zip(group, together, strict=True)}
    return [derained[index] for index in range(len(images))]


def best_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_image(image: NDArray[Any]) -> None:
    """Raise DataError unless ``image`` is uint8 (H, W, 3) with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(f"an image of {image.dtype} {image.shape}: deraining takes uint8 (height, width, 3); convert it first")


def spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Return where the tiles along a side of ``length`` pixels begin and end: one tile, or several that share ``OVERLAP``."""
    if length <= max(tile, 2 * OVERLAP):
        return [(0, length)]
    stride = max(OVERLAP, (tile - OVERLAP) // ALIGN * ALIGN)
    return [(start, min(start + stride + OVERLAP, length)) for start in range(0, length - OVERLAP, stride)]


def _weights(places: list[tuple[int, int]]) -> list[NDArray[np.float32]]:
    """Return a weight per pixel of each tile along one side. The weights of all tiles over a pixel add up to 1."""
    weights = [np.ones(end - start, np.float32) for start, end in places]
    for (before, after), ((_, end), (start, _)) in zip(pairwise(weights), pairwise(places), strict=True):
        shared = end - start
        ramp = (np.arange(shared, dtype=np.float32) + 0.5) / shared
        after[:shared] *= ramp
        before[-shared:] *= 1 - ramp
    return weights


def _run(network: nn.Module, image: NDArray[np.uint8], device: str | torch.device) -> NDArray[np.float32]:
    """Run one forward pass: uint8 (h, w, 3) -> float32 (h, w, 3), about 0..1."""
    found: NDArray[np.float32] = _run_all(network, image[None], device)[0]
    return found


def _run_all(network: nn.Module, images: NDArray[np.uint8], device: str | torch.device) -> NDArray[np.float32]:
    """Run one forward pass: uint8 (n, h, w, 3) -> float32 (n, h, w, 3), about 0..1."""
    pixels = np.ascontiguousarray(images)
    if not pixels.flags.writeable:
        pixels = pixels.copy()  # torch has no read-only tensors, and warns
    with torch.inference_mode(), _ANY_SHAPE:
        x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
        out: Tensor = network(x)
        if not bool(torch.isfinite(out).all()):
            raise CheckpointError(
                "the network's output is not finite (NaN or infinity): its weights cannot be used; train again"
            )
        found: NDArray[np.float32] = out.permute(0, 2, 3, 1).float().cpu().numpy()
    return found


class _AnyShape(AbstractContextManager[None]):
    """Keeps a GPU from trying the algorithms of each convolution, which pays only for shapes that come back.

    The choice is one of the whole process, so the last of several threads that leave gives the earlier one back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._kept = Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._kept, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.backends.cudnn.benchmark = self._kept


_ANY_SHAPE = _AnyShape()


def _to_levels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round floats in 0..1 to the nearest of the levels 0 to 255."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
