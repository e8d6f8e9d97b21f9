"""Run a function in several processes that form a gloo group, as Ray's workers do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn


def in_ranks(world: int, function: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """The result of ``function(*arguments)`` on each rank. The function must be importable; the ranks write to ``folder``."""
    with TemporaryDirectory(dir=folder) as name:  # the ranks meet at a file; that of an earlier call may still be there
        spawn(_rank, (world, function, Path(name), arguments), nprocs=world)
        return [torch.load(Path(name, f"rank{rank}.pt"), weights_only=True) for rank in range(world)]


def _rank(rank: int, world: int, function: Callable[..., Any], folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        torch.save(function(*arguments), folder / f"rank{rank}.pt")
    finally:
        distributed.destroy_process_group()


def infonce_of_a_part() -> dict[str, Any]:
    """InfoNCE of this rank's part of four images, and its gradient with respect to the derained features."""
    from rdmc.training.prior import InfoNCE, of_other_ranks

    rank, world = distributed.get_rank(), distributed.get_world_size()
    size = 4 // world
    prior, images = InfoNCE([5, 6], [1.0, 1.0], 0.2, patches=8, projection=4, seed=3), []
    for part in prior.parameters():
        torch.nn.init.normal_(part, generator=torch.Generator().manual_seed(part.numel()))
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        whole = [torch.randn(4, channels, 6, 6, generator=generator) for channels in (5, 6)]
        images.append([level[rank * size : (rank + 1) * size] for level in whole])
    derained = [level.requires_grad_() for level in images[0]]
    terms = prior(derained, *images[1:], first=100 + rank * size)
    terms["contrastive"].backward()
    mine = torch.full((2, 3), float(rank), requires_grad=True)
    others = of_other_ranks(mine)
    return {
        "terms": {name: term.item() for name, term in terms.items()},
        "gradients": [level.grad for level in derained],
        "others": others.detach(),
        "constant": not others.requires_grad,
    }


def short_training(folder: str) -> dict[str, Any]:
    """Four steps of a small network with InfoNCE on the shards of ``folder``: the reports' terms and all learned weights."""
    from rdmc.data.loader import PairStore
    from rdmc.models.rdmc import RDMCConfig
    from rdmc.training.config import LossConfig, TrainConfig
    from rdmc.training.loop import Run

    config = TrainConfig(steps=4, global_batch_size=4, crop=32, warmup_steps=1, validate_every=2)
    loss = LossConfig(prior="infonce", levels=2, patches=8, projection=4)
    run = Run(RDMCConfig(width=2, passes=1), loss, config, seed=0)
    reports = [report.flat() for report in run.reports(PairStore([Path(folder)], "train"), None)]
    learnt = {f"network/{name}": p.detach() for name, p in run.network.named_parameters()}
    learnt |= {f"prior/{name}": p.detach() for name, p in run.heads.named_parameters()}
    names = ("loss", "pixel", "ssim", "contrastive", "mi_bound")
    return {"reports": [{name: report[name] for name in names} for report in reports], "learnt": learnt}


def spoilt_training(folder: str) -> str:
    """The error of a training whose second rank has a loss that is not a number at its second step."""
    from rdmc.data.loader import PairStore
    from rdmc.errors import TrainingError
    from rdmc.models.rdmc import RDMCConfig
    from rdmc.training.config import LossConfig, TrainConfig
    from rdmc.training.loop import Run

    run = Run(
        RDMCConfig(width=2, passes=1), LossConfig(), TrainConfig(steps=4, global_batch_size=4, crop=32, warmup_steps=1), 0
    )
    terms = run._terms

    def spoilt(*given: Any) -> Any:
        found = terms(*given)
        is_here = distributed.get_rank() == 1 and run.step == 1
        return {name: term * float("nan") for name, term in found.items()} if is_here else found

    vars(run)["_terms"] = spoilt
    try:
        for _ in run.reports(PairStore([Path(folder)], "train"), None):
            pass
    except TrainingError as error:
        return str(error)
    return ""


def batch_norm_of_a_part() -> dict[str, Any]:
    """Batch norm of this rank's part of eight images, twice, as in two passes; its gradients and running statistics."""
    from rdmc.models.normalisation import BatchNorm

    rank, world = distributed.get_rank(), distributed.get_world_size()
    size, generator = 8 // world, torch.Generator().manual_seed(5)
    images = 3 * torch.randn(8, 4, 5, 6, generator=generator) + torch.arange(4.0)[:, None, None]
    mine = images[rank * size : (rank + 1) * size].clone().requires_grad_()
    layer = BatchNorm(4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
    out = layer(layer(mine).tanh())
    places = torch.arange(size) + rank * size
    (out.square() * (1 + places)[:, None, None, None]).mean().backward()
    return {
        "out": out.detach(),
        "gradient": mine.grad,
        "weight": layer.weight.grad,
        "state": {name: value.clone() for name, value in layer.state_dict().items()},
    }


def batch_norm_training(folder: str, recompute: bool) -> dict[str, Any]:
    """Three steps of the published form with batch norm: its validations, and all weights and statistics."""
    from rdmc.data.loader import PairStore
    from rdmc.models.rdmc import RDMCConfig
    from rdmc.training.config import LossConfig, TrainConfig
    from rdmc.training.loop import Run

    steps = TrainConfig(steps=3, global_batch_size=8, crop=32, warmup_steps=1, validate_every=1, recompute=recompute)
    run = Run(RDMCConfig(width=2, depth=3, passes=2, norm="batch"), LossConfig(ssim=0.0, levels=1), steps, seed=0)
    train, validation = (PairStore([Path(folder)], split) for split in ("train", "validation"))
    figures = [report.validation for report in run.reports(train, validation)]
    alone = run._sum
    vars(run)["_sum"] = lambda values: values  # measure this rank's network by itself, on all images
    vars(run)["rank"], vars(run)["world"] = 0, 1
    own = run.validate(validation)
    vars(run)["_sum"] = alone
    return {"figures": figures, "own": own, "state": {name: v.clone() for name, v in run.network.state_dict().items()}}


def timed_steps(steps: int) -> dict[str, Any]:
    """Seconds of this rank's own work in each step, and of the step with the wait for the others. Rank 1 has more to do."""
    seconds: dict[str, list[float]] = {"own": [], "whole": []}
    side = 256 + 128 * distributed.get_rank()
    matrix = torch.ones(side, side)
    for _ in range(steps):
        distributed.barrier()
        begun = time.perf_counter()
        for _ in range(8):
            matrix @ matrix
        seconds["own"].append(time.perf_counter() - begun)
        distributed.all_reduce(torch.ones(1))
        seconds["whole"].append(time.perf_counter() - begun)
    return seconds
