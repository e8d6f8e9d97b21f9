"""The figures of the reference model: known ones of a network that shifts levels, and those that the card states."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from pipeline.config.data import Dataset
from pipeline.config.paths import Paths
from pipeline.config.recipe import Evaluate
from pipeline.reference.figures import reference_figures
from pipeline.stages.prepare import plan
from rdmc.data.loader import PairStore
from rdmc.data.shards import write_shards
from rdmc.datasets.embedded import Shower
from rdmc.metrics import psnr_y, ssim_y
from rdmc.models.base import Restorer
from rdmc.models.rdmc import RDMCConfig
from rdmc.reference import load_reference, reference_card
from tests.support.data import make_dataset

RULES, CPU = Evaluate(tile=1024, pictures=0), torch.device("cpu")
CLOSE = 0.02
"""dB by which figures may differ between machines."""


class Darker(Restorer):
    """Takes one of 255 levels from every pixel, and counts the images."""

    images = 0

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        self.images += len(rainy)
        return [rainy - 1 / 255]


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, PairStore]:
    paths = Paths(tmp_path)
    for name in ("light", "heavy"):
        make_dataset(paths, name, {"train": 1, "test": 3})
    return {name: PairStore([paths.shards(name)], "test") for name in ("light", "heavy")}


def test_figures_are_means_and_worst_cases_over_the_images(stores: dict[str, PairStore]) -> None:
    found = reference_figures(Darker(RDMCConfig(width=2)), stores, RULES, CPU)
    pairs = {name: [store[index] for index in range(3)] for name, store in stores.items()}
    pairs["overall"] = [*pairs["light"], *pairs["heavy"]]
    assert list(found) == ["light", "heavy", "overall"]
    for name, group in pairs.items():
        darker = [np.maximum(pair.rainy.astype(int) - 1, 0).astype(np.uint8) for pair in group]
        clean = [psnr_y(np.maximum(pair.clean.astype(int) - 1, 0).astype(np.uint8), pair.clean) for pair in group]
        rainy = [psnr_y(pair.rainy, pair.clean) for pair in group]
        derained = [psnr_y(image, pair.clean) for image, pair in zip(darker, group, strict=True)]
        expected = {
            "images": len(group),
            "rainy_psnr_y": np.mean(rainy),
            "rainy_ssim_y": np.mean([ssim_y(pair.rainy, pair.clean) for pair in group]),
            "derained_psnr_y": np.mean(derained),
            "derained_ssim_y": np.mean([ssim_y(image, pair.clean) for image, pair in zip(darker, group, strict=True)]),
            "worst_gain_psnr_y": min(after - before for after, before in zip(derained, rainy, strict=True)),
            "clean_psnr_y": min(clean),
        }
        assert asdict(found[name]) == pytest.approx(expected, abs=1e-4)


def test_a_clean_image_that_datasets_share_is_derained_once(stores: dict[str, PairStore]) -> None:
    network = Darker(RDMCConfig(width=2))
    reference_figures(network, stores, RULES, CPU)
    assert network.images == 3 + 3 + 3, "the rainy images of both datasets, and the clean ones once"


@pytest.mark.slow
def test_the_card_states_the_figures_of_the_model_on_the_embedded_test_images(tmp_path: Path) -> None:
    card = reference_card()
    stores: dict[str, PairStore] = {}
    for name, rule in card.facts.training.datasets.items():
        dataset: Dataset = TypeAdapter(Dataset).validate_json(json.dumps(rule))
        jobs = plan(dataset, card.facts.training.seed).jobs
        folder = tmp_path / name
        entries = [job.make(folder) for job in jobs if isinstance(job, Shower) and job.photo.split == "test"]
        write_shards(entries, folder, tmp_path / "shards" / name, name, 10**8)
        stores[name] = PairStore([tmp_path / "shards" / name], "test")
    found = reference_figures(load_reference(), stores, RULES, CPU)
    assert {name: asdict(group) for name, group in found.items()} == {
        name: pytest.approx(asdict(group), abs=CLOSE) for name, group in card.facts.figures.items()
    }
