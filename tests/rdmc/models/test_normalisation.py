"""Batch norm over several workers: one, two and four give the same results, gradients, statistics and validations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from pipeline.config.paths import Paths
from rdmc.models.normalisation import BatchNorm
from tests.support.data import make_dataset
from tests.support.ranks import batch_norm_of_a_part, batch_norm_training, in_ranks


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/alone", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_alone_it_is_torchs_own() -> None:
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for training in (True, False):
        x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
        assert torch.equal(ours.train(training)(x), theirs.train(training)(x))
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("world", [2, 4])
def test_workers_normalise_by_the_whole_batch(tmp_path: Path, world: int) -> None:
    whole, parts = batch_norm_of_a_part(), in_ranks(world, batch_norm_of_a_part, tmp_path)
    assert torch.allclose(torch.cat([part["out"] for part in parts]), whole["out"], atol=1e-5)
    # a rank's loss is the mean over its own images, and data-parallel training takes the mean of the ranks' gradients
    assert torch.allclose(torch.cat([part["gradient"] for part in parts]) / world, whole["gradient"], atol=1e-6)
    assert torch.allclose(sum(part["weight"] for part in parts) / world, whole["weight"], rtol=1e-4)
    assert whole["gradient"].abs().max() > 1e-4
    for part in parts:
        for name, value in whole["state"].items():
            assert torch.allclose(part["state"][name], value, rtol=1e-5, atol=1e-6), name
            assert torch.equal(part["state"][name], parts[0]["state"][name]), name


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("recompute", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_learn_and_validate_alike(tmp_path: Path, recompute: bool) -> None:
    workspace = Paths(tmp_path / "data")
    make_dataset(workspace, "light")
    folder = str(workspace.shards("light"))
    alone = batch_norm_training(folder, recompute)
    for world in (2, 4):
        parts = in_ranks(world, batch_norm_training, tmp_path, folder, recompute)
        for part in parts:
            for found, expected in zip(part["figures"], alone["figures"], strict=True):
                assert found == {name: pytest.approx(value, abs=0.02) for name, value in expected.items()}
            assert part["own"] == parts[0]["own"], "each rank has the same network"
            assert part["own"] == {name: pytest.approx(value, abs=1e-6) for name, value in part["figures"][-1].items()}
            for name, value in parts[0]["state"].items():
                assert torch.equal(part["state"][name], value), name
        for name, value in alone["state"].items():
            assert torch.allclose(parts[0]["state"][name], value, atol=2e-3, rtol=1e-2), name
