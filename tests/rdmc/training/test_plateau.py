"""No seed of the default network may stay on the plateau where it answers with the rainy image (docs/decisions/0010)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.params import read_params
from rdmc.data.images import as_png
from rdmc.data.loader import PairStore
from rdmc.data.pairs import write_index, write_pair
from rdmc.data.shards import write_shards
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.metrics import psnr_y
from rdmc.training.loop import Run
from tests.support.imports import ROOT

LEARNED_FROM = [f"street-{number:02d}" for number in range(0, 64, 8)]
HELD_OUT = ["street-70", "street-77"]
STEPS = 300
LEAST = 2.0
"""The mean gain in dB on photographs of no training, which a network on the plateau, at 0 dB, is far from."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairStore, PairStore]:
    """Eight training streets and two others, each in light and in heavy rain."""
    root = tmp_path_factory.mktemp("streets")
    photos = {photo.name: photograph(photo).pixels for photo in PHOTOS if photo.name in {*LEARNED_FROM, *HELD_OUT}}
    entries = []
    for number, (name, clean) in enumerate(photos.items()):
        split = "validation" if name in HELD_OUT else "train"
        for kind in ("light", "heavy"):
            rainy = render(clean, kind, (number,))
            entries.append(write_pair(root / "pairs", split, f"{name}-{kind}", name, as_png(rainy), as_png(clean)))
    write_index(root / "pairs", "streets", entries, len(entries), [])
    write_shards(entries, root / "pairs", root / "shards", "streets", 16_000_000)
    return PairStore([root / "shards"], "train"), PairStore([root / "shards"], "validation")


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_every_seed_leaves_the_plateau(stores: tuple[PairStore, PairStore], seed: int) -> None:
    params = read_params(ROOT / "params.yaml")
    short = replace(params.train, steps=STEPS, warmup_steps=30, global_batch_size=8, crop=48, validate_every=STEPS)
    run = Run(params.network, params.loss, short, seed)
    *_, last = run.reports(*stores)
    rainy = np.mean([psnr_y(pair.rainy, pair.clean) for pair in (stores[1][index] for index in range(len(stores[1])))])
    assert last.validation is not None
    assert last.validation["psnr_y"] - rainy > LEAST
