"""The prior on two ranks: each also compares its images with those of the other, so both learn what one process learns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed

from pipeline.config.paths import Paths
from tests.support.data import make_dataset
from tests.support.ranks import in_ranks, infonce_of_a_part, short_training, spoilt_training


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/alone", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
def test_two_ranks_compare_what_one_does(tmp_path: Path) -> None:
    whole, parts = infonce_of_a_part(), in_ranks(2, infonce_of_a_part, tmp_path)
    for name, value in whole["terms"].items():
        assert sum(part["terms"][name] for part in parts) / 2 == pytest.approx(value, rel=1e-5)
    for level, expected in enumerate(whole["gradients"]):
        found = torch.cat([part["gradients"][level] for part in parts]) / 2
        assert torch.allclose(found, expected, atol=1e-7)
        assert expected.abs().max() > 1e-3
    assert [part["others"].tolist() for part in parts] == [[[1.0] * 3] * 2, [[0.0] * 3] * 2]
    assert all(part["constant"] for part in parts)
    assert whole["others"].shape == (0, 3)


@pytest.mark.usefixtures("one_rank")
def test_two_ranks_learn_what_one_does(tmp_path: Path) -> None:
    workspace = Paths(tmp_path / "data")
    make_dataset(workspace, "light")
    folder = str(workspace.shards("light"))
    alone, pair = short_training(folder), in_ranks(2, short_training, tmp_path, folder)
    for part in pair:
        for found, expected in zip(part["reports"], alone["reports"], strict=True):
            assert found == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}
        for name, weight in alone["learnt"].items():
            assert torch.allclose(part["learnt"][name], weight, atol=1e-4), name
            assert torch.equal(part["learnt"][name], pair[0]["learnt"][name]), name


def test_every_rank_names_the_samples_of_the_rank_at_fault(tmp_path: Path) -> None:
    workspace = Paths(tmp_path / "data")
    make_dataset(workspace, "light")
    first, second = in_ranks(2, spoilt_training, tmp_path, str(workspace.shards("light")))
    assert first == second
    assert first.startswith("loss nan at step 1 on light/train-"), "the gradient is not finite on both ranks"
    assert first.count("light/train-") == 2, "a rank has two of the four samples"
