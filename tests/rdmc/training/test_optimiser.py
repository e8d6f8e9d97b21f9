"""Muon against torch's own, which parameters it gets, and the learning rate."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch
from torch import nn

from rdmc.models.baselines import PReNetConfig, UNetConfig
from rdmc.models.factory import NetworkConfig, build
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import TrainConfig
from rdmc.training.optimiser import RMS, Muon, learning_rate, moments, optimisers, orthogonalised

CONFIG = TrainConfig(optimiser="muon", lr=1e-2, weight_decay=0.1)
MIXED = RDMCConfig(form="mixed", width=6, depth=3, passes=2, refine=1, stem=2)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 90), (90, 8), (16, 16)])
def test_an_orthogonalised_matrix_keeps_its_directions(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    found = orthogonalised(matrix)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() <= values.max() < 1.25
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    mixed = u.T @ found @ v.T
    assert (mixed - torch.diag(mixed.diagonal())).abs().max() < 1e-3, "the singular vectors changed"


def test_zeros_stay_zeros() -> None:
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize("shape", [(8, 12, 3, 3), (40, 2, 3, 3)])
def test_steps_are_those_of_torch(shape: tuple[int, ...]) -> None:
    ours = nn.Parameter(random(*shape).contiguous(memory_format=torch.channels_last))
    theirs = nn.Parameter(ours.detach().flatten(1).clone())
    optimiser = Muon([ours], lr=CONFIG.lr, weight_decay=CONFIG.weight_decay)
    reference = torch.optim.Muon(
        [theirs], lr=CONFIG.lr, weight_decay=CONFIG.weight_decay, adjust_lr_fn="match_rms_adamw", momentum=0.95
    )
    start = theirs.detach().clone()
    for step in range(3):
        gradient = random(*shape, seed=step + 1)
        ours.grad, theirs.grad = gradient, gradient.flatten(1)
        optimiser.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours.flatten(1) - theirs).norm() < 0.02 * moved, "torch iterates in bfloat16"
    assert moved > 0.5 * CONFIG.lr * RMS * theirs.numel() ** 0.5, "too little to compare"


@pytest.mark.parametrize("network", [MIXED, RDMCConfig(width=3), UNetConfig(width=4), PReNetConfig()], ids=lambda n: n.kind)
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_every_parameter_has_one_optimiser(network: NetworkConfig, kind: str) -> None:
    learnt = dict(build(network).named_parameters())
    found = optimisers(learnt, replace(CONFIG, optimiser=kind))
    own = [[id(p) for group in each.param_groups for p in group["params"]] for each in found]
    assert sorted(chain.from_iterable(own)) == sorted(map(id, learnt.values()))
    assert [type(each) for each in found] == ([Muon, torch.optim.AdamW] if kind == "muon" else [torch.optim.AdamW])
    kernels = {name for name, p in learnt.items() if kind == "muon" and id(p) in own[0]}
    assert kernels == {name for name, p in learnt.items() if kind == "muon" and p.ndim == 4 and max(p.shape[2:]) > 1}
    assert [moments(each) for each in found][-1] == ("exp_avg", "exp_avg_sq")


def test_only_biases_need_no_muon() -> None:
    (only,) = optimisers({"bias": nn.Parameter(torch.zeros(3))}, CONFIG)
    assert isinstance(only, torch.optim.AdamW)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, lr=1.0)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert all(a >= b for a, b in pairwise(rates[10:]))
