"""Two models on the same images: their figures, identities of images, and scenes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.evaluation import abreast, paired
from pipeline.evaluation.paired import RAINY, _spread, compared
from rdmc.checkpoint import load_model
from rdmc.data.loader import PairStore
from rdmc.errors import CheckpointError
from rdmc.inference import derain_image
from rdmc.metrics import psnr_y, ssim_y
from rdmc.models.cost import cost

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Paths]) -> Paths:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def stores(workspace: Paths) -> dict[str, PairStore]:
    """Three test images of ``light``, two of ``heavy``."""
    return {name: PairStore([workspace.shards(name)], "test", 16) for name in ("light", "heavy")}


def test_the_figures_are_those_of_each_model_on_each_image(
    workspace: Paths, stores: dict[str, PairStore], params: Params
) -> None:
    network = load_model(workspace.best)[0]
    model, rainy = compared({"version 1": network, RAINY: None}, stores, params.evaluate, 0.5, CPU)
    pairs = [store[index] for store in stores.values() for index in range(len(store))]
    derained = [derain_image(network, pair.rainy, params.evaluate.tile, CPU) for pair in pairs]
    assert (model.label, rainy.label) == ("version 1", RAINY)
    assert model.images == rainy.images
    assert [f"{image.dataset}/{image.name}" for image in model.images] == [pair.key for pair in pairs]
    assert model.psnr_y == tuple(psnr_y(out, pair.clean) for out, pair in zip(derained, pairs, strict=True))
    assert model.ssim_y == tuple(ssim_y(out, pair.clean) for out, pair in zip(derained, pairs, strict=True))
    assert rainy.psnr_y == tuple(psnr_y(pair.rainy, pair.clean) for pair in pairs)
    assert (len(model.seconds), rainy.seconds) == (5, ())
    assert (model.gflop, rainy.gflop) == (cost(network.config).gflop, None)
    assert rainy.clean == {}
    assert len(model.clean) == 2, "half of three and of two images, rounded down"
    for key, value in model.clean.items():
        clean = next(pair.clean for pair in pairs if pair.key == key)
        assert value == psnr_y(derain_image(network, clean, params.evaluate.tile, CPU), clean)


def test_an_output_that_is_not_finite_is_nan(
    workspace: Paths, stores: dict[str, PairStore], params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise CheckpointError("not finite")

    monkeypatch.setattr(abreast, "derain_image", fails)
    (model,) = compared({"version 1": load_model(workspace.best)[0]}, stores, params.evaluate, 0.5, CPU)
    assert all(math.isnan(value) for value in (*model.psnr_y, *model.ssim_y, *model.clean.values()))
    assert len(model.psnr_y) == 5
    assert all(math.isfinite(value) for value in model.seconds)


def test_the_digest_depends_on_both_images(stores: dict[str, PairStore]) -> None:
    pair = stores["light"][0]
    digests = set()
    for rainy, clean in ((pair.rainy, pair.clean), (pair.clean, pair.clean), (pair.clean, pair.rainy)):
        other = type(pair)(pair.key, pair.dataset, rainy, clean)
        digests.add(paired._identity(other, "scene")[0].digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("scenes", "share", "count"), [("abcdef", 0.5, 3), ("aabbcc", 0.5, 3), ("aaaaaa", 0.5, 1), ("abc", 0.01, 1)]
)
def test_clean_images_are_spread_over_the_scenes(scenes: str, share: float, count: int) -> None:
    chosen = _spread(list(scenes), share)
    assert len(chosen) == count
    assert len({scenes[index] for index in chosen}) == count, "each of another scene"
    assert np.all(np.array(sorted(chosen)) < len(scenes))
