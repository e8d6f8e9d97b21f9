"""A replica: one process with one model, which decodes, derains and encodes, and follows the alias (pipeline/serving/model_loader.py).

A request ends with the model that it began with.
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
from pipeline.serving.types import Answer, ModelStatus, ServingConfig
from rdmc.data.images import encode_png, read_rgb
from rdmc.errors import CheckpointError, RdmcError
from rdmc.inference import best_device, derain_images


class Derainer:
    """One process with one model.

    Args:
        plan: how to serve.
        settings: of whoever serves.
        tracking_uri: where MLflow is, from anywhere.
        share: replicas that divide the CPUs of this node among them.
        gpu: whether this one has a GPU.
    """

    def __init__(self, plan: ServingConfig, settings: Settings, tracking_uri: str, share: int, gpu: bool) -> None:
        self.ended = threading.Event()
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))
        self.plan, self.device = plan, str(best_device()) if gpu else "cpu"
        self.model = FollowedModel(plan.model, settings, plan.cache)
        self._together.set_max_batch_size(plan.batch)
        self.room = asyncio.Semaphore(plan.batch + 1)  # the next is decoded meanwhile; more would only take memory
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ended.wait(self.plan.poll):
            try:
                self.model.refresh()
            except Exception as error:  # noqa: BLE001  # whatever it is, what is loaded goes on being served
                self.model.problem = f"{type(error).__name__}: {error}"

    def __del__(self) -> None:
        self.ended.set()

    async def state(self) -> ModelStatus:
        """Which model answers now."""
        return self._state(self.model.current)

    async def derain(self, body: bytes) -> Answer:
        """The derained picture as the bytes of a PNG file."""
        current = self.model.current
        try:
            async with self.room:
                pixels = await asyncio.to_thread(read_rgb, body, True)
                derained, current, seconds, together = await self._together(pixels)
            if isinstance(derained, CheckpointError):
                raise derained
            data = await asyncio.to_thread(encode_png, derained)
        except RdmcError as error:
            return Answer(str(error).encode(), 500 if isinstance(error, CheckpointError) else 422, self._state(current))
        return Answer(data, 200, self._state(current), seconds, together, pixels.shape[0] * pixels.shape[1])

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _together(self, images: list[NDArray[Any]]) -> list[Any]:
        current, started = self.model.current, time.perf_counter()
        derained = await asyncio.to_thread(derain_each, current.network, images, self.plan.tile, self.device)
        seconds = time.perf_counter() - started
        return [(image, current, seconds, len(images)) for image in derained]

    def _state(self, current: Any) -> ModelStatus:
        return ModelStatus(current.name, current.version, self.model.problem)


def derain_each(
    network: nn.Module, images: Sequence[NDArray[Any]], tile: int, device: str
) -> list[NDArray[Any] | CheckpointError]:
    """``derain_images``, and where the network fails on one of them, each alone: the others are not to suffer for it."""
    try:
        return list(derain_images(network, images, tile, device))
    except CheckpointError as error:
        if len(images) == 1:
            return [error]
    return [derain_each(network, [image], tile, device)[0] for image in images]
