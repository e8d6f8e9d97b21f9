"""A replica: one process with one model. It decodes, derains and encodes images, and follows the alias (model_loader.py).

A request is finished with the model that it started with, even if the alias moves meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from ray import serve
from torch import nn

from pipeline.config.settings import Settings
from pipeline.serving.model_loader import FollowedModel
from pipeline.serving.photos import read_photo
from pipeline.serving.types import Answer, ModelStatus, ServingConfig
from rdmc.errors import CheckpointError, RdmcError
from rdmc.inference import best_device, derain_images


class Derainer:
    """One process with one model.

    Args:
        config: how to serve.
        settings: the settings of the command ``serve``.
        tracking_uri: MLflow's address, valid in any working directory.
        share: how many replicas share the CPUs of a node.
        gpu: whether this replica has a GPU.
    """

    def __init__(self, config: ServingConfig, settings: Settings, tracking_uri: str, share: int, gpu: bool) -> None:
        self.ended = threading.Event()
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))
        self.config, self.device = config, str(best_device()) if gpu else "cpu"
        self.model = FollowedModel(config.model, settings, config.cache)
        self._together.set_max_batch_size(config.batch)
        self.room = asyncio.Semaphore(config.batch + 1)  # one more is decoded meanwhile; others would only take memory
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ended.wait(self.config.poll):
            try:
                self.model.refresh()
            except Exception as error:  # noqa: BLE001  # whatever the error, the loaded model stays in service
                self.model.problem = f"{type(error).__name__}: {error}"

    def __del__(self) -> None:
        self.ended.set()

    async def model_status(self) -> ModelStatus:
        """Which model answers now."""
        return self._status(self.model.current)

    async def derain(self, body: bytes, form: str) -> Answer:
        """Derain an image file. The answer holds a file in ``form`` (of ``SUFFIXES``), or an error with its HTTP status."""
        current = self.model.current
        try:
            async with self.room:
                photo = await asyncio.to_thread(read_photo, body)
                derained, current, seconds, together = await self._together(photo.pixels)
            if isinstance(derained, CheckpointError):
                raise derained
            data = await asyncio.to_thread(photo.encoded, derained, form)
        except RdmcError as error:
            return Answer(str(error).encode(), 500 if isinstance(error, CheckpointError) else 422, self._status(current))
        return Answer(data, 200, self._status(current), seconds, together, photo.pixels.size // 3)

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _together(self, images: list[NDArray[Any]]) -> list[Any]:
        current, started = self.model.current, time.perf_counter()
        derained = await asyncio.to_thread(derain_each, current.network, images, self.config.tile, self.device)
        seconds = time.perf_counter() - started
        return [(image, current, seconds, len(images)) for image in derained]

    def _status(self, current: Any) -> ModelStatus:
        return ModelStatus(current.name, current.version, self.model.problem)


def derain_each(
    network: nn.Module, images: Sequence[NDArray[Any]], tile: int, device: str
) -> list[NDArray[Any] | CheckpointError]:
    """``derain_images``, or each image alone if the network fails on one of them: the other images still succeed."""
    try:
        return list(derain_images(network, images, tile, device))
    except CheckpointError as error:
        if len(images) == 1:
            return [error]
    return [derain_each(network, [image], tile, device)[0] for image in images]
