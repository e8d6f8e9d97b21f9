"""The registered model: MLflow runs this file when the model is loaded, with ``rdmc`` beside it and no pickle anywhere.

Its artifact ``model`` is a model folder (rdmc/checkpoint.py). Only rdmc, numpy and mlflow are imported, so it loads where the
pipeline is not installed.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from rdmc.checkpoint import load_model
from rdmc.data.images import encode_png, read_rgb
from rdmc.errors import DataError, RdmcError
from rdmc.inference import best_device, derain_image

TILE = 1024
TILES = (256, 2048)
"""The least and the most that a caller may ask for: memory grows with its square."""
TAKES = (
    "the model takes uint8 RGB of (height, width, 3) or (number, height, width, 3), a pathlib.Path, "
    "the bytes of a picture's file, the same in base64, or a list of these"
)


class Derain(PythonModel):
    """Rainy images in, derained images out, of any size; large ones in tiles.

    Arrays and paths give arrays, uint8 RGB; a file's bytes give the bytes of a PNG, and text in base64, which is how JSON
    carries them, gives text in base64. Text is never a path: over HTTP it comes from strangers.
    """

    def load_context(self, context: Any) -> None:
        """Read the weights; MLflow calls this once."""
        self.network = load_model(Path(context.artifacts["model"]))[0]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
        """What ``model_input`` is without the rain, in the same form; a list gives a list.

        ``params`` may have ``tile``: larger images are derained in tiles of so many pixels a side, from 256 to 2048. Raises
        MlflowException for anything else than pictures: of any other error MLflow's server shows strangers the traceback.
        """
        tile = min(max(int((params or {}).get("tile", TILE)), TILES[0]), TILES[1])
        given: Any = model_input  # MLflow reads the hint above, and talks at length about any other
        try:
            return self._all(given, tile)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        except RdmcError as error:
            raise MlflowException(str(error)) from None

    def _all(self, given: Any, tile: int) -> Any:
        if isinstance(given, list) and not given:
            raise DataError(f"an empty list: {TAKES}")
        if isinstance(given, list) and not _numbers(given):
            return [self._one(item, tile) for item in given]
        return self._one(given, tile)

    def _one(self, item: Any, tile: int) -> Any:
        if isinstance(item, bytes):
            return encode_png(self._pixels(read_rgb(item, convert=True), tile))
        if isinstance(item, str):
            return base64.b64encode(self._one(_decoded(item), tile)).decode()
        if isinstance(item, Path):
            return self._pixels(read_rgb(item, convert=True), tile)
        return self._pixels(_levels(item), tile)

    def _pixels(self, images: Any, tile: int) -> Any:
        if images.ndim == 3:
            return derain_image(self.network, images, tile, best_device())
        if images.ndim != 4 or not len(images):
            raise DataError(f"images of shape {images.shape}: {TAKES}")
        return np.stack([derain_image(self.network, image, tile, best_device()) for image in images])


def _numbers(value: Any) -> bool:
    """Whether nested lists, as JSON has them, end in numbers."""
    while isinstance(value, list):
        if not value:
            return False
        value = value[0]
    return isinstance(value, int | float)


def _levels(value: Any) -> np.ndarray:
    """uint8 of an array, or of whole numbers from 0 to 255 in nested lists."""
    try:
        found = np.asarray(value)
    except ValueError:
        raise DataError(f"lists of unequal length: {TAKES}") from None
    if found.dtype == np.uint8:
        return found
    if not isinstance(value, list) or found.dtype.kind not in "iu" or not found.size or found.min() < 0 or found.max() > 255:
        raise DataError(f"{type(value).__name__} of {found.dtype} {found.shape}: {TAKES}")
    return found.astype(np.uint8)


def _decoded(text: str) -> bytes:
    """The bytes of base64, with or without ``data:image/png;base64,`` before it."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"text {text[:40]!r} is not base64: {TAKES}") from None


mlflow.models.set_model(Derain())
