"""Validation counts each pair once over all ranks, whether images are derained alone or together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config.paths import Paths
from rdmc.data.loader import PairStore
from rdmc.metrics import psnr_y, ssim_y
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.validation import validate
from tests.support.data import make_dataset

CPU = torch.device("cpu")


@pytest.fixture
def pairs(tmp_path: Path) -> PairStore:
    workspace = Paths(tmp_path)
    make_dataset(workspace, "heavy")
    return PairStore([workspace.shards("heavy")], "train")


class Unchanged(torch.nn.Module):
    """A network that returns its input."""

    def forward(self, rainy: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> the same."""
        return rainy


def test_figures_are_those_of_the_images(pairs: PairStore) -> None:
    found = validate(Unchanged(), pairs, CPU).mean()
    own = [pairs[index] for index in range(len(pairs))]
    for name, measure in (("psnr_y", psnr_y), ("ssim_y", ssim_y)):
        assert found[name] == pytest.approx(sum(measure(pair.rainy, pair.clean) for pair in own) / len(own))


def test_ranks_share_the_pairs(pairs: PairStore) -> None:
    network = RDMC(RDMCConfig(width=2, passes=1)).eval()
    whole = validate(network, pairs, CPU)
    parts = [validate(network, pairs, CPU, rank, 2) for rank in range(2)]
    assert [part.count for part in parts] == [3, 2]
    assert sum(part.sums["psnr_y"] for part in parts) == pytest.approx(whole.sums["psnr_y"])
