"""The code of the registered model. MLflow runs this file when the model is loaded, with ``rdmc`` beside it.

Nothing is pickled: the artifact ``model`` is a model folder (rdmc/checkpoint.py). Only rdmc, numpy and mlflow are imported, so
the model loads where the pipeline is not installed.
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
"""Side of a tile in pixels, unless the caller gives one."""
TILES = (256, 2048)
"""The smallest and largest side that a caller may ask for. Memory grows with its square."""
TAKES = (
    "the model takes uint8 RGB of (height, width, 3) or (number, height, width, 3), a pathlib.Path, "
    "the bytes of a picture's file, the same in base64, or a list of these"
)


class Derain(PythonModel):
    """Removes rain from images of any size; large images are processed in tiles.

    Arrays and paths give uint8 RGB arrays. The bytes of a file give the bytes of a PNG. Base64 text, which is how JSON carries
    bytes, gives base64 text. Text is never read as a path, because over HTTP it comes from untrusted callers.
    """

    def load_context(self, context: Any) -> None:
        """Load the weights. MLflow calls this once."""
        self.network = load_model(Path(context.artifacts["model"]))[0]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
        """Return ``model_input`` without the rain, in the same form; a list gives a list.

        ``params`` may have ``tile``: larger images are derained in tiles of that many pixels a side, limited to 256 to 2048.
        Raises MlflowException for anything that is not a picture, because MLflow's server shows callers the traceback of any
        other error.
        """
        tile = min(max(int((params or {}).get("tile", TILE)), TILES[0]), TILES[1])
        given: Any = model_input  # MLflow reads the type hint above and warns at length about any other hint
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
    """Whether ``value`` is a number, or nested lists whose first element is one."""
    while isinstance(value, list):
        if not value:
            return False
        value = value[0]
    return isinstance(value, int | float)


def _levels(value: Any) -> np.ndarray:
    """An array of uint8, from an array of uint8 or from nested lists of integers from 0 to 255."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"lists of unequal length: {TAKES}") from None
    if array.dtype == np.uint8:
        return array
    if not isinstance(value, list) or array.dtype.kind not in "iu" or not array.size or array.min() < 0 or array.max() > 255:
        raise DataError(f"{type(value).__name__} of {array.dtype} {array.shape}: {TAKES}")
    return array.astype(np.uint8)


def _decoded(text: str) -> bytes:
    """The bytes of base64 text, with or without ``data:image/png;base64,`` before it."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"text {text[:40]!r} is not base64: {TAKES}") from None


mlflow.models.set_model(Derain())
