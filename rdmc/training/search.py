"""Architecture search: which connections and which upsampling an RDMC needs, found while it trains.

First-order bilevel optimisation as in differentiable architecture search (Liu et al., ICLR 2019, arXiv 1806.09055, with
xi = 0). At each step the *architecture* parameters, the strengths of the connections and the mix of the upsampling, take a
step of Adam on pairs that are held out from the weights; then the *weights*, everything else, take one of AdamW on the other
pairs. Both see another batch at every step. ``rdmc.models.genotype.derive`` cuts the result down.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, distributed, nn

from rdmc.data.batches import Batch
from rdmc.data.loader import PairStore
from rdmc.data.pairs import validation_scenes
from rdmc.errors import ConfigError, DataError
from rdmc.models.factory import NetworkConfig
from rdmc.models.genotype import learned
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.config import LossConfig, SearchConfig, TrainConfig, adamw
from rdmc.training.loop import Report, Run

MIX = "upsample.mix"
OTHER_CROPS = 2**32
"""Added to the seed of the held-out pairs' stream: no seed of params is as large, so that no two streams are alike."""


@dataclass(frozen=True)
class SearchReport(Report):
    """A report of the weights' training, and where the architecture stands."""

    architecture: dict[str, float]
    """``strength/<connection>`` and ``mix/<upsampling>`` (parts that add up to 1), of the averaged network."""

    def flat(self) -> dict[str, float]:
        """Plain numbers, as trackers and tables take them."""
        return {**super().flat(), **self.architecture}


def split(pairs: PairStore, config: SearchConfig, seed: int) -> tuple[PairStore, PairStore]:
    """The pairs of the weights and those of the architecture: disjoint, together all, fixed by ``seed``.

    A scene of one name in two datasets is one scene. Raises DataError where there are not two to share out.
    """
    units = {key: scene if config.by == "scene" else key for key, scene in pairs.labels()}
    chosen = validation_scenes(units.values(), config.held_out, seed)
    if not chosen:
        raise DataError(
            f"search: the training pairs are of one {config.by}, two are needed; add pairs or set search.by: sample"
        )
    held_out = {key for key, unit in units.items() if unit in chosen}
    return pairs.select(units.keys() - held_out), pairs.select(held_out)


def is_architecture(name: str) -> bool:
    """Whether an RDMC's parameter belongs to the architecture and not to the weights."""
    return name.startswith("strength.") or name == MIX


def require_searchable(network: NetworkConfig, config: SearchConfig) -> None:
    """Raise ConfigError for a network in which there is nothing to search, or less than is to be kept."""
    if not isinstance(network, RDMCConfig):
        raise ConfigError(f"network.kind: {network.kind} has no architecture to search; choose rdmc")
    if config.keep > len(network.connections):
        raise ConfigError(
            f"search.keep: {config.keep} exceeds the {len(network.connections)} connections that the network has; lower it"
        )
    if not network.connections and network.upsample != "mix":
        raise ConfigError("network.connections: none, and no mix of upsamplings either: nothing to search; name some")


class SearchRun(Run):
    """A training that searches: its loop, schedule, clipping, average, checks, reports and files are those of ``Run``."""

    def __init__(
        self,
        network: NetworkConfig,
        loss: LossConfig,
        train: TrainConfig,
        search: SearchConfig,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        require_searchable(network, search)
        short = replace(train, steps=search.steps, warmup_steps=min(train.warmup_steps, search.steps))
        super().__init__(network, loss, short, seed, device)
        self.search = search
        named = self._learnt()
        self.architecture = [parameter for name, parameter in named.items() if is_architecture(name)]
        self.optimiser = adamw([parameter for name, parameter in named.items() if not is_architecture(name)], short)
        self.architect = torch.optim.Adam(
            self.architecture, lr=search.lr, betas=search.betas, weight_decay=search.weight_decay, fused=True
        )
        self.optimisers = {p: self.architect if is_architecture(name) else self.optimiser for name, p in named.items()}
        self._held_out: Iterator[Batch] = iter(())

    def reports(self, train: PairStore, validation: PairStore | None, loaders: int = 0) -> Generator[Report, None, None]:
        """Search from the step reached to the last, on ``train`` split in two; a report as often as a training's.

        Raises DataError where ``train`` cannot be split, TrainingError where a loss or a gradient is not finite.
        """
        weights, held_out = split(train, self.search, self.seed)
        self._held_out = stream = self._stream(held_out, self.seed + OTHER_CROPS, loaders)
        with closing(stream), closing(super().reports(weights, validation, loaders)) as reports:
            for report in reports:
                yield SearchReport(**vars(report), architecture=figures(self.average))

    def _step(self, batch: Batch) -> dict[str, float]:
        """A step of the architecture, then one of the weights; returns this rank's loss and its terms of the latter."""
        self._architecture_step(next(self._held_out))
        return super()._step(batch)

    def _architecture_step(self, batch: Batch) -> None:
        """One step of Adam on a held-out batch, its gradient the mean over all ranks; the weights stay as they are."""
        objective: nn.Module = getattr(self.objective, "module", self.objective)  # DDP would wait for the weights' gradients
        with _buffers_kept(self.network):
            loss = self._terms(objective, batch)["loss"]
            self._require_finite("held-out loss", loss.item(), batch)
            flat = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, self.architecture)])
        if self.world > 1:
            distributed.all_reduce(flat)
            flat /= self.world
        self._require_finite("gradient norm of the architecture", flat.norm().item(), batch)
        parts: tuple[Tensor, ...] = torch.split(flat, [parameter.numel() for parameter in self.architecture])
        for parameter, gradient in zip(self.architecture, parts, strict=True):
            parameter.grad = gradient.view_as(parameter)
        self.architect.step()
        self.architect.zero_grad(set_to_none=True)


def figures(network: nn.Module) -> dict[str, float]:
    """Strengths and mix of an RDMC as figures, under names that MLflow accepts."""
    strengths, mix = learned(cast("RDMC", network))  # require_searchable saw to that
    named = {f"strength/{name.replace('->', '-to-')}": value for name, value in strengths.items()}
    return named | {f"mix/{name}": share for name, share in mix.items()}


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Running statistics of batch norm are the weights' pairs' alone."""
    kept: list[Tensor] = [buffer.clone() for buffer in network.buffers()]
    yield  # until the gradient is there: it needs the statistics as they are
    with torch.no_grad():
        for buffer, old in zip(network.buffers(), kept, strict=True):
            buffer.copy_(old)
