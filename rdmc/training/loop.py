"""The one training loop, an iterator of reports. The caller shows them, saves checkpoints and prunes old ones.

The same code serves a plain process and every Ray worker: if ``torch.distributed`` is initialised, the gradients and the
figures cover all ranks. The data of a step depends on (seed, step) alone, so a run may stop anywhere and resume with another
number of workers. On CPUs a run with the same number of workers is bit-identical, resumed or not. Some GPU kernels sum in no
fixed order, so on a GPU it repeats up to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from rdmc.checkpoint import WEIGHTS, load_tensors, load_weights, read_json, save_tensors, write_model
from rdmc.data.batches import Batch, batches
from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling, local_batch_size, rank_slots
from rdmc.data.transfer import on_device
from rdmc.data.transforms import to_unit
from rdmc.errors import CheckpointError, ConfigError, TrainingError
from rdmc.files import write_text
from rdmc.models.base import layout, place
from rdmc.models.factory import NetworkConfig, build
from rdmc.training.config import LossConfig, TrainConfig
from rdmc.training.losses import Objective
from rdmc.training.meter import Meter, first_fault
from rdmc.training.optimiser import learning_rate, moments, optimisers, set_rate
from rdmc.training.recorded import Recorded
from rdmc.training.report import Clock, Report
from rdmc.training.speed import USUAL, Speed, prepare
from rdmc.training.validation import FIGURES, validate

REPORT_EVERY = 20
"""Steps between reports: often enough to watch a run, rarely enough to cost nothing."""
STATE, PLACE = "training.safetensors", "training.json"


class Run:
    """One training in one process: the network, its average, the optimisers and the current step."""

    def __init__(
        self,
        network: NetworkConfig,
        loss: LossConfig,
        config: TrainConfig,
        seed: int,
        device: torch.device | None = None,
        speed: Speed = USUAL,
    ) -> None:
        self.config, self.seed, self.step = config, seed, 0
        self.device = device or torch.device("cpu")
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.world = distributed.get_world_size() if distributed.is_initialized() else 1
        local_batch_size(config.global_batch_size, self.world)
        self.arithmetic = {**prepare(self.device), **({"compiled": "yes"} if speed.compile else {})}
        """How the device computes, by name; ``save`` writes it beside the weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network, self.average = build(network), build(network).eval()
            place(self.network, self.device)
            place(self.average, self.device)
            objective = Objective(self.network, loss, seed).to(self.device)
        self.network.recompute = config.recompute
        self.average.load_state_dict(self.network.state_dict())
        self.heads: nn.Module = objective.heads
        self._repeats = objective.repeats
        if speed.compile:
            self._require_repeats()
            objective.compile(dynamic=False)
        self.objective: nn.Module = self._parallel(objective) if self.world > 1 else objective
        self.meter = Meter(self.device)
        self.optimisers = optimisers(self._learnt(), config, self.meter.found_inf)
        """Those that take a step on every batch."""
        self._towards = torch.zeros((), device=self.device)
        """How far the averaged weights move towards the new ones."""
        recorded = speed.record and self.device.type == "cuda" and self.world == 1 and self._repeats
        self._recorded = Recorded() if recorded else None

    def reports(self, train: PairStore, validation: PairStore | None, loaders: int = 0) -> Generator[Report, None, None]:
        """Train from the current step to the last. Yield a report every few steps and at every validation.

        ``loaders`` processes make the batches, or, for 0, a thread of this process.

        Raises TrainingError at the report after a step whose loss or gradient is not finite. From that step on no weight has
        changed. (Batch norm's running statistics have, so the run must not be saved then.)
        """
        config, clock = self.config, Clock()
        with closing(on_device(self._stream(train, self.seed, loaders), self.device)) as stream:
            clock.start()
            for batch in clock.waits(stream):
                self._step(batch)
                self.step += 1
                saves = self.step % config.validate_every == 0 or self.step == config.steps
                if saves or self.step % REPORT_EVERY == 0:
                    sums, count = self._read()
                    clock.stop()
                    with clock.validating():
                        measured = self.validate(validation) if saves and validation is not None and len(validation) else None
                    means = {name: total / count for name, total in sums.items()}
                    report = Report(
                        step=self.step,
                        epoch=self.step * config.global_batch_size / len(train),
                        loss=means.pop("loss"),
                        terms=means,
                        lr=learning_rate(config, self.step - 1),
                        images_per_second=count / self.world * config.global_batch_size / max(clock.step, 1e-9),
                        **clock.seconds(),
                        saves=saves,
                        validation=measured,
                    )
                    with clock.pausing():
                        yield report
                    clock.start()

    def _read(self) -> tuple[dict[str, float], float]:
        """Return the sums of the terms since the last report over all ranks, and of how many steps. Raise TrainingError."""
        sums, count, fault = self.meter.read()
        *totals, steps, faults = self._sum([*sums.values(), float(count), float(fault is not None)])
        if faults:
            raise TrainingError(str(first_fault(fault, self.world)))
        return dict(zip(sums, totals, strict=True)), steps

    def _stream(self, pairs: PairStore, seed: int, loaders: int) -> Generator[Batch, None, None]:
        """Return this rank's batches, from the current step to the last."""
        config = self.config
        sampling = Sampling(
            seed=seed,
            parts=pairs.parts(config.weights),
            global_batch_size=config.global_batch_size,
            crops_per_decode=config.crops_per_decode,
            shuffle_shards=config.shuffle_shards,
        )
        return batches(
            pairs, sampling, crop=config.crop, start=self.step, steps=config.steps, rank=self.rank, world=self.world,
            loaders=loaders,
        )  # fmt: skip

    def _step(self, batch: Batch) -> None:
        """Queue one step of the optimisers on the device."""
        for optimiser in self.optimisers:
            set_rate(optimiser, learning_rate(self.config, self.step))
        self._towards.fill_(1 - min(self.config.ema_decay, (1 + self.step) / (10 + self.step)))
        self.meter.begin(self.step, batch.keys)
        if self._recorded is not None:
            self._recorded(self._compute, batch.rainy, batch.clean)
        else:
            self._compute(batch.rainy, batch.clean)

    def _compute(self, rainy: Tensor, clean: Tensor) -> None:
        """Do a step's work on the device, from uint8 images to the averaged weights, without a wait for any result.

        A loss or gradient that is not finite stops all weights there; the next report raises the error.
        """
        terms = self._terms(self.objective, rainy, clean)
        self.meter.check("loss", terms["loss"])
        self._drop_gradients()
        torch.autograd.backward(terms["loss"])
        groups = [group for optimiser in self.optimisers for group in optimiser.param_groups]
        moved = [parameter for group in groups for parameter in group["params"]]
        self.meter.check("gradient norm", nn.utils.clip_grad_norm_(moved, self.config.clip_norm))
        for optimiser in self.optimisers:
            optimiser.step()
        self._update_average()
        self.meter.add(terms)

    def _drop_gradients(self) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def _require_repeats(self) -> None:
        if not self._repeats:
            raise ConfigError(
                "RDMC_COMPILE: true, and loss.prior is infonce or loss.recursion truncated, whose steps differ and would be "
                "compiled one by one; unset it"
            )

    def _parallel(self, objective: nn.Module) -> nn.Module:
        """Wrap the objective so that its gradients are means over all ranks."""
        return DistributedDataParallel(objective, gradient_as_bucket_view=True, static_graph=True)

    def _learnt(self) -> dict[str, nn.Parameter]:
        """Return every trained parameter by its name in the training state: the network's and those of the prior's heads."""
        heads = {f"prior/{name}": parameter for name, parameter in self.heads.named_parameters()}
        return dict(self.network.named_parameters()) | heads

    def _every_optimiser(self) -> list[torch.optim.Optimizer]:
        return self.optimisers

    def _optimised(self) -> list[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
        """Return every trained parameter with its name in the training state and its optimiser."""
        owners = {p: each for each in self._every_optimiser() for group in each.param_groups for p in group["params"]}
        return [(name, parameter, owners[parameter]) for name, parameter in self._learnt().items()]

    def _terms(self, objective: nn.Module, rainy: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Return the loss of this step's batch (uint8 images) and its terms, scalars, in the precision of the recipe."""
        batch_size = self.config.global_batch_size
        first = 0 if self._repeats else self.step * batch_size + rank_slots(batch_size, self.rank, self.world).start
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            terms: dict[str, Tensor] = objective(_unit(rainy), _unit(clean), first)
        return terms

    def _update_average(self) -> None:
        """Move the averaged weights towards the new ones; faster at first, so that the initial weights soon stop counting."""
        weight = self._towards * (1 - self.meter.found_inf)
        averaged: list[Tensor] = list(self.average.parameters())
        learnt: list[Tensor] = list(self.network.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averaged, learnt, [weight] * len(averaged))
            for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(new)

    def validate(self, pairs: PairStore) -> dict[str, float]:
        """Return mean figures of the averaged weights over whole images, each measured by exactly one rank."""
        means = validate(self.average, pairs, self.device, self.rank, self.world)
        sums = self._sum([float(means.sums.get(name, 0.0)) for name in FIGURES] + [float(means.count)])
        return {name: total / sums[-1] for name, total in zip(FIGURES, sums, strict=False)}

    def _sum(self, values: list[float]) -> list[float]:
        """Return element-wise sums over all ranks."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(v) for v in tensor.tolist()]

    def save(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write a model (the averaged weights) and the training state into an existing folder. One rank has to do it."""
        write_model(
            folder, self.network.config, self.average.state_dict(), {"step": self.step, "arithmetic": self.arithmetic, **facts}
        )
        state = {f"network/{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= {f"prior/{name}": tensor for name, tensor in self.heads.state_dict().items()}
        for name, parameter, optimiser in self._optimised():
            kept = optimiser.state.get(parameter, {})
            state |= {f"{moment}/{name}": kept[moment] for moment in moments(optimiser) if kept}
        save_tensors(folder / STATE, state)
        write_text(folder / PLACE, json.dumps({"step": self.step, "seed": self.seed}) + "\n")

    def resume(self, folder: Path) -> None:
        """Load what ``save`` wrote. Raises CheckpointError if it is damaged or from another network or seed."""
        place, state = read_json(folder / PLACE), load_tensors(folder / STATE)
        try:
            seed, step = int(place["seed"]), int(place["step"])
            if seed != self.seed:
                raise CheckpointError(f"{folder}: trained with seed {seed}, not {self.seed}; start a new run instead")
            load_weights(self.network, _under("network/", state), folder / STATE)
            load_weights(self.heads, _under("prior/", state), folder / STATE, "check `loss` in params.yaml")
            load_weights(self.average, load_tensors(folder / WEIGHTS), folder / WEIGHTS)
            for name, parameter, optimiser in self._optimised():
                kept = {moment: state[f"{moment}/{name}"].to(self.device) for moment in moments(optimiser)}
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(step), device=self.device),
                    **{key: moment.contiguous(memory_format=layout(parameter)) for key, moment in kept.items()},
                }
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}: not a whole training state ({error!r}); start a new run instead") from None
        self.step = step


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def _unit(images: Tensor) -> Tensor:
    """Return uint8 images as floats, 0 to 1, in the channels-last layout of training."""
    return to_unit(images).contiguous(memory_format=torch.channels_last)
