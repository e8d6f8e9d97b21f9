"""What the parts of benchmarks.gpu share: the network and recipe of params.yaml, and steps of a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing

import torch

from rdmc.data.batches import Batch, batches
from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling
from rdmc.data.transfer import on_device
from rdmc.models.rdmc import CONNECTIONS, RDMCConfig
from rdmc.training.config import LossConfig, TrainConfig
from rdmc.training.loop import Run
from rdmc.training.speed import Speed

LONG = 10**6
"""Steps of a training that is stopped."""
DEFAULT = RDMCConfig(form="mixed", width=24, depth=4, passes=2, refine=1, stem=2, connections=CONNECTIONS[:3])
LOSS = LossConfig(pixel="psnr", ssim=0.0, contrastive=0.01, levels=1)
RECIPE = TrainConfig(steps=LONG, global_batch_size=16, crop=64, optimiser="muon", lr=2e-3, validate_every=LONG)
"""Those of params.yaml, which needs packages that this file does without; a test compares them."""
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
EAGER, RECORDED, COMPILED = Speed(record=False), Speed(), Speed(compile=True)


def stepping(run: Run, store: PairStore, steps: int) -> Generator[Callable[[], float], None, None]:
    """Yield a function that takes ``steps`` steps of ``run`` and returns the seconds of one."""
    with closing(on_device(stream_of(run, store), run.device)) as stream:

        def take() -> float:
            started = time.perf_counter()
            for _ in range(steps):
                run._step(next(stream))
                run.step += 1
            wait()
            return (time.perf_counter() - started) / steps

        yield take


def stream_of(run: Run, store: PairStore) -> Generator[Batch, None, None]:
    """Yield the batches of a run, as its own loop gets them, from the first one on."""
    config = run.config
    sampling = Sampling(run.seed, store.parts(), config.global_batch_size, config.crops_per_decode, config.shuffle_shards)
    return batches(store, sampling, crop=config.crop, start=0, steps=LONG)


def wait() -> None:
    """Wait until the GPU has done what is queued."""
    if ON_GPU:
        torch.cuda.synchronize()
