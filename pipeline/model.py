"""The registered model: MLflow runs this file when the model is loaded, with ``rdmc`` beside it and no pickle anywhere.

Its artifact ``model`` is a model folder (rdmc/checkpoint.py). Only rdmc, numpy and mlflow are imported, so it loads where the
pipeline is not installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel

from rdmc.checkpoint import load_model
from rdmc.errors import DataError
from rdmc.inference import best_device, derain_image


class Derain(PythonModel):
    """Rainy images in, derained images out: uint8 (N, H, W, 3) RGB, or one image of (H, W, 3)."""

    def load_context(self, context: Any) -> None:
        """Read the weights; MLflow calls this once."""
        self.network = load_model(Path(context.artifacts["model"]))[0]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """The derained images, of the shape that came in. Raises DataError for anything else than uint8 RGB."""
        images = np.asarray(model_input)
        if images.ndim == 3:
            return derain_image(self.network, images, device=best_device())
        if images.ndim != 4:
            raise DataError(f"images of shape {images.shape}: the model takes (number, height, width, 3); reshape them")
        return np.stack([derain_image(self.network, image, device=best_device()) for image in images])


mlflow.models.set_model(Derain())
