"""Architecture search: find the connections and the upsampling that an RDMC needs while it trains.

This is first-order bilevel optimisation as in differentiable architecture search (Liu et al., ICLR 2019, arXiv 1806.09055,
with xi = 0). At each step the *architecture* parameters (the strengths of the connections and the mix of the upsampling) take
a step of Adam on training scenes that are held out from the weights. Then the *weights* (everything else) take a step of
the training's optimisers on the other scenes. Both get a new batch at every step. ``rdmc.models.genotype.derive`` reduces the
result to a smaller network.
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
from rdmc.data.transfer import on_device
from rdmc.errors import ConfigError, DataError
from rdmc.models.factory import NetworkConfig
from rdmc.models.genotype import learned
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.config import LossConfig, SearchConfig, TrainConfig
from rdmc.training.loop import Run
from rdmc.training.optimiser import optimisers, skip_where
from rdmc.training.report import Report
from rdmc.training.speed import USUAL, Speed

MIX = "upsample.mix"
OTHER_CROPS = 2**32
"""Added to the seed for the stream of held-out pairs. No seed in params is as large, so no two streams are the same."""


@dataclass(frozen=True)
class SearchReport(Report):
    """A report of the weights' training, with the current architecture parameters."""

    architecture: dict[str, float]
    """``strength/<connection>`` and ``mix/<upsampling>`` (shares that add up to 1) of the averaged network."""

    def flat(self) -> dict[str, float]:
        """Return plain numbers by name, for trackers and tables."""
        return {**super().flat(), **self.architecture}


def split(pairs: PairStore, config: SearchConfig, seed: int) -> tuple[PairStore, PairStore]:
    """Split the pairs into those for the weights and those for the architecture, disjoint and fixed by ``seed``.

    A scene name that occurs in two datasets is one scene. Raises DataError if there are fewer than two scenes (or samples).
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
    """Return whether an RDMC's parameter belongs to the architecture and not to the weights."""
    return name.startswith("strength.") or name == MIX


def require_searchable(network: NetworkConfig, config: SearchConfig) -> None:
    """Raise ConfigError for a network that has nothing to search, or fewer connections than are to be kept."""
    if not isinstance(network, RDMCConfig):
        raise ConfigError(f"network.kind: {network.kind} has no architecture to search; choose rdmc")
    if config.keep > len(network.connections):
        raise ConfigError(
            f"search.keep: {config.keep} exceeds the {len(network.connections)} connections that the network has; lower it"
        )
    if not network.connections and network.upsample != "mix":
        raise ConfigError("network.connections: none, and no mix of upsamplings either: nothing to search; name some")


class SearchRun(Run):
    """Training with architecture search. Loop, schedule, clipping, average, checks, reports and files are those of ``Run``."""

    def __init__(
        self,
        network: NetworkConfig,
        loss: LossConfig,
        train: TrainConfig,
        search: SearchConfig,
        seed: int,
        device: torch.device | None = None,
        speed: Speed = USUAL,
    ) -> None:
        require_searchable(network, search)
        short = replace(train, steps=search.steps, warmup_steps=min(train.warmup_steps, search.steps))
        super().__init__(network, loss, short, seed, device, replace(speed, record=False))  # two kinds of step share gradients
        self.search = search
        named = self._learnt()
        self.architecture = [parameter for name, parameter in named.items() if is_architecture(name)]
        weights = {name: parameter for name, parameter in named.items() if not is_architecture(name)}
        self.optimisers = optimisers(weights, short, self.meter.found_inf)
        self.architect = torch.optim.Adam(
            self.architecture, lr=search.lr, betas=search.betas, weight_decay=search.weight_decay, fused=True
        )
        skip_where(self.architect, self.meter.found_inf)
        self._held_out: Iterator[Batch] = iter(())

    def reports(self, train: PairStore, validation: PairStore | None, loaders: int = 0) -> Generator[Report, None, None]:
        """Search from the current step to the last on ``train``, split in two. Reports come as often as in a training.

        Raises DataError if ``train`` cannot be split, TrainingError if a loss or a gradient is not finite.
        """
        weights, held_out = split(train, self.search, self.seed)
        self._held_out = stream = on_device(self._stream(held_out, self.seed + OTHER_CROPS, loaders), self.device)
        with closing(stream), closing(super().reports(weights, validation, loaders)) as reports:
            for report in reports:
                yield SearchReport(**vars(report), architecture=figures(self.average))

    def _step(self, batch: Batch) -> None:
        """Queue a step of the architecture, then one of the weights."""
        held_out = next(self._held_out)
        self.meter.begin(self.step, [*held_out.keys, *batch.keys])
        self._architecture_step(held_out)
        super()._step(replace(batch, keys=[*held_out.keys, *batch.keys]))

    def _every_optimiser(self) -> list[torch.optim.Optimizer]:
        return [*self.optimisers, self.architect]

    def _architecture_step(self, batch: Batch) -> None:
        """Take one step of Adam on a held-out batch with the mean gradient over all ranks. The weights do not change."""
        objective: nn.Module = getattr(self.objective, "module", self.objective)  # DDP would wait for the weights' gradients
        with _buffers_kept(self.network):
            loss = self._terms(objective, batch.rainy, batch.clean)["loss"]
            self.meter.check("held-out loss", loss)
            flat = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, self.architecture)])
        if self.world > 1:
            distributed.all_reduce(flat)
            flat /= self.world
        self.meter.check("gradient norm of the architecture", flat.norm())
        parts: tuple[Tensor, ...] = torch.split(flat, [parameter.numel() for parameter in self.architecture])
        for parameter, gradient in zip(self.architecture, parts, strict=True):
            parameter.grad = gradient.view_as(parameter)
        self.architect.step()
        self.architect.zero_grad(set_to_none=True)


def figures(network: nn.Module) -> dict[str, float]:
    """Return the strengths and mix of an RDMC as figures, under names that MLflow accepts."""
    strengths, mix = learned(cast("RDMC", network))  # require_searchable checked that
    named = {f"strength/{name.replace('->', '-to-')}": value for name, value in strengths.items()}
    return named | {f"mix/{name}": share for name, share in mix.items()}


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Restore batch norm's running statistics, which only the weights' pairs may change."""
    kept: list[Tensor] = [buffer.clone() for buffer in network.buffers()]
    yield  # restored only after the gradient, which needs the current statistics
    with torch.no_grad():
        for buffer, old in zip(network.buffers(), kept, strict=True):
            buffer.copy_(old)
