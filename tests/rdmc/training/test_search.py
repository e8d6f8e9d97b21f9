"""The search: its two kinds of step, its two sets of pairs, and resuming like any training."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from pipeline.config.paths import Paths
from rdmc.data.batches import Batch, make_batch
from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling, rank_slots
from rdmc.data.transforms import to_unit
from rdmc.errors import CheckpointError, ConfigError, DataError, TrainingError
from rdmc.models.baselines import UNetConfig
from rdmc.models.rdmc import CONNECTIONS, RDMC, RDMCConfig
from rdmc.training.config import LossConfig, SearchConfig, TrainConfig
from rdmc.training.loop import Run
from rdmc.training.losses import Objective
from rdmc.training.optimiser import learning_rate
from rdmc.training.search import OTHER_CROPS, SearchReport, SearchRun, is_architecture, split
from tests.support.data import make_dataset

NETWORK = RDMCConfig(width=2, passes=2)
TRAIN = TrainConfig(
    global_batch_size=4, crop=32, lr=2e-3, warmup_steps=2, validate_every=4, ema_decay=0.5, weight_decay=0.01, clip_norm=1e-3
)
SEARCH = SearchConfig(steps=6, lr=1e-2, keep=3)
LOSS = LossConfig(pixel="mse", ssim=0.0, contrastive=0.0)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairStore, PairStore]:
    workspace = Paths(tmp_path_factory.mktemp("data"))
    for rain in ("light", "heavy"):  # the same scenes in both
        make_dataset(workspace, rain, {"train": 6, "validation": 2})
    folders = [workspace.shards(rain) for rain in ("light", "heavy")]
    return PairStore(folders, "train"), PairStore(folders, "validation")


def make_run(network: RDMCConfig = NETWORK, search: SearchConfig = SEARCH, seed: int = 0) -> SearchRun:
    return SearchRun(network, LOSS, TRAIN, search, seed)


def state(run: Run, architecture: bool) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in run.network.named_parameters() if is_architecture(n) == architecture}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def random_batch(seed: int) -> Batch:
    rainy, clean = torch.randint(0, 256, (2, 4, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Batch(0, rainy, clean, ["a"])


@pytest.mark.parametrize("by", ["scene", "sample"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_split_is_disjoint_and_covers(stores: tuple[PairStore, PairStore], by: str, share: float) -> None:
    pairs = stores[0]
    config = replace(SEARCH, by=by, held_out=share)
    sides = split(pairs, config, 0)
    keys = [[key for key, _ in side.labels()] for side in sides]
    assert sorted(keys[0] + keys[1]) == sorted(pairs[index].key for index in range(len(pairs)))
    assert [[side[index].key for index in range(len(side))] for side in sides] == keys
    scenes = [{scene for _, scene in side.labels()} for side in sides]
    if by == "scene":
        assert not scenes[0] & scenes[1]
        assert len(scenes[1]) == round(share * 6)
    else:
        assert len(sides[1]) == round(share * 12)
    assert [side.labels() for side in split(pairs, config, 0)] == [side.labels() for side in sides]
    others = [split(pairs, config, seed)[1].labels() for seed in (1, 2, 3)]
    assert any(other != sides[1].labels() for other in others), "the seed has no effect"


def test_one_scene_cannot_be_split(tmp_path: Path) -> None:
    make_dataset(Paths(tmp_path), "light", {"train": 1})
    pairs = PairStore([Paths(tmp_path).shards("light")], "train")
    with pytest.raises(DataError, match="of one scene, two are needed"):
        list(make_run().reports(pairs, None))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_each_kind_of_step_moves_its_own_parameters_only(norm: str) -> None:
    run = make_run(replace(NETWORK, norm=norm))
    with torch.no_grad():  # gradients that must be clipped and that depend on the strengths
        run.network.get_parameter("head.weight").normal_(generator=torch.Generator().manual_seed(0))
    weights, architecture = state(run, False), state(run, True)
    assert len(architecture) == 9
    buffers = {name: buffer.clone() for name, buffer in run.network.named_buffers()}
    run._architecture_step(random_batch(0))
    assert same(state(run, False), weights)
    assert same(dict(run.network.named_buffers()), buffers), "held-out pairs changed the running statistics"
    moved = state(run, True)
    assert all(not torch.equal(moved[name], architecture[name]) for name in architecture)
    Run._step(run, random_batch(1))
    assert same(state(run, True), moved)
    assert not any(torch.equal(after, weights[name]) for name, after in state(run, False).items() if "weight" in name)
    own = [p.grad.flatten() for n, p in run.network.named_parameters() if p.grad is not None and not is_architecture(n)]
    assert torch.cat(own).norm().item() == pytest.approx(TRAIN.clip_norm, rel=2e-5), "clipped by the norm of other gradients"


def reference(stores: tuple[PairStore, PairStore], steps: int) -> dict[str, Tensor]:
    """The search on plain tensors: Adam for the architecture by its formula, torch's AdamW and clipping by hand for weights."""
    start = make_run()
    objective = Objective(start.network, LOSS)
    tensors = {f"network.{n}": p.detach().clone().requires_grad_() for n, p in start.network.named_parameters()}
    names = [name for name in tensors if ".strength." in name or name.endswith("upsample.mix")]
    weights = [tensor for name, tensor in tensors.items() if name not in names]
    adamw = torch.optim.AdamW(weights, lr=1.0, weight_decay=TRAIN.weight_decay, foreach=False)
    first, second = ({name: torch.zeros_like(tensors[name]) for name in names} for _ in range(2))
    sides = split(stores[0], SEARCH, 0)

    def loss(side: PairStore, seed: int, step: int) -> Tensor:
        batch = make_batch(side, Sampling(seed, side.parts(), 4), step, rank_slots(4), 32)
        found: Tensor = functional_call(objective, tensors, (to_unit(batch.rainy), to_unit(batch.clean)))["loss"]
        return found

    for step in range(steps):
        gradients = torch.autograd.grad(loss(sides[1], OTHER_CROPS, step), [tensors[name] for name in names])
        with torch.no_grad():
            for name, gradient in zip(names, gradients, strict=True):
                penalised = gradient + SEARCH.weight_decay * tensors[name]
                first[name] = 0.5 * first[name] + 0.5 * penalised
                second[name] = 0.999 * second[name] + 0.001 * penalised**2
                up, down = first[name] / (1 - 0.5 ** (step + 1)), (second[name] / (1 - 0.999 ** (step + 1))).sqrt()
                tensors[name] -= SEARCH.lr * up / (down + 1e-8)
        gradients = torch.autograd.grad(loss(sides[0], 0, step), weights)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        for tensor, gradient in zip(weights, gradients, strict=True):
            tensor.grad = gradient * min(1.0, TRAIN.clip_norm / (norm.item() + 1e-6))
        adamw.param_groups[0]["lr"] = learning_rate(start.config, step)
        adamw.step()
    return {name.removeprefix("network."): tensor.detach() for name, tensor in tensors.items()}


def test_two_steps_are_those_of_the_reference(stores: tuple[PairStore, PairStore]) -> None:
    expected = reference(stores, 2)
    run = make_run(search=replace(SEARCH, steps=6))
    with closing(_steps(run, stores)) as steps:
        next(islice(steps, 1, None))
    for name, parameter in run.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=2e-6, rtol=1e-4, msg=name)


def _steps(run: SearchRun, stores: tuple[PairStore, PairStore]) -> Any:
    """Yield a report at every step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rdmc.training.loop.REPORT_EVERY", 1)
        yield from run.reports(stores[0], None)


def test_reports_show_the_architecture(stores: tuple[PairStore, PairStore]) -> None:
    run = make_run()
    reports = list(run.reports(*stores))
    assert [(report.step, report.saves) for report in reports] == [(4, True), (6, True)]
    assert all(isinstance(report, SearchReport) for report in reports)
    flat = reports[-1].flat()
    names = {f"strength/{name.replace('->', '-to-')}" for name in CONNECTIONS} | {"mix/bilinear", "mix/bicubic"}
    assert flat.keys() >= names | {"step", "loss", "psnr_y"}
    assert isinstance(run.average, RDMC)
    assert flat["strength/enc1-to-dec2"] == run.average.strength["enc1->dec2"].item()
    assert flat["mix/bilinear"] + flat["mix/bicubic"] == pytest.approx(1)
    assert reports[-1].epoch == 6 * 4 / 6, "an epoch is one of the weights' six pairs"


def test_a_resumed_search_is_bit_identical(stores: tuple[PairStore, PairStore], tmp_path: Path) -> None:
    whole = make_run()
    list(whole.reports(*stores))
    stopped = make_run()
    with closing(stopped.reports(*stores)) as reports:
        assert next(reports).step == 4
        stopped.save(tmp_path, {})
    resumed = make_run()
    resumed.resume(tmp_path)
    assert [report.step for report in resumed.reports(*stores)] == [6]
    for one, other in ((resumed.network, whole.network), (resumed.average, whole.average)):
        assert same(dict(one.state_dict()), dict(other.state_dict()))
    for optimiser, expected in zip(resumed._every_optimiser(), whole._every_optimiser(), strict=True):
        kept = optimiser.state_dict()["state"]
        assert len(kept) == len(optimiser.param_groups[0]["params"])
        for index, moments in expected.state_dict()["state"].items():
            assert same(moments, kept[index])


def test_state_of_another_genotype_is_refused(stores: tuple[PairStore, PairStore], tmp_path: Path) -> None:
    run = make_run(search=replace(SEARCH, steps=1))
    list(run.reports(*stores))
    run.save(tmp_path, {})
    fewer = Run(replace(NETWORK, connections=CONNECTIONS[:3]), LOSS, TRAIN, 0)
    with pytest.raises(CheckpointError, match="unknown tensor .*another network's weights; .*architecture") as error:
        fewer.resume(tmp_path)
    assert "\n" not in str(error.value)


def test_held_out_gradient_that_is_not_finite_stops_before_the_step(stores: tuple[PairStore, PairStore]) -> None:
    run = make_run()
    run.network.get_parameter("strength.enc1->dec2").register_hook(lambda gradient: gradient * torch.nan)
    before = dict(state(run, True), **state(run, False))
    with pytest.raises(TrainingError, match=r"gradient norm of the architecture nan at step 0 on \w+/train-\d"):
        list(run.reports(*stores))
    assert same(dict(state(run, True), **state(run, False)), before)


@pytest.mark.parametrize("planted", ["enc1->output", "enc3->dec2"])
def test_a_connection_that_is_needed_becomes_the_strongest(planted: str) -> None:
    """The targets come from the same weights with only this connection switched on."""
    run = make_run(search=replace(SEARCH, lr=0.03, weight_decay=0.0))
    teacher = RDMC(NETWORK)
    with torch.no_grad():
        run.network.get_parameter("head.weight").normal_(0, 0.3)
        for name, strength in run.network.named_parameters():
            if name.startswith("strength."):
                strength.fill_(0.02)
        teacher.load_state_dict(run.network.state_dict())
        for name, strength in teacher.strength.items():
            strength.fill_(0.5 if name == planted else 0.0)
        for seed in range(30):
            batch = random_batch(seed)
            with torch.enable_grad():
                run._architecture_step(replace(batch, clean=255 * teacher(to_unit(batch.rainy))))
    assert isinstance(run.network, RDMC)
    strengths = {name: abs(strength.item()) for name, strength in run.network.strength.items()}
    assert max(strengths, key=strengths.__getitem__) == planted
    assert strengths[planted] > 2 * sorted(strengths.values())[-2], strengths


@pytest.mark.parametrize(
    "field",
    [
        {"steps": 0},
        {"lr": 0.0},
        {"betas": (0.5, 1.0)},
        {"weight_decay": -1.0},
        {"keep": -1},
        {"held_out": 1.0},
        {"by": "pixel"},
    ],
)
def test_a_wrong_value_is_refused_by_name(field: dict[str, Any]) -> None:
    name, value = next(iter(field.items()))
    shown = list(value) if isinstance(value, tuple) else value
    with pytest.raises(ConfigError, match=rf"^search\.{name}: ") as error:
        replace(SEARCH, **field)
    assert str(shown) in str(error.value)


def test_nothing_to_search_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"search\.keep: 3 exceeds the 1 connections"):
        make_run(replace(NETWORK, connections=CONNECTIONS[:1]))
    with pytest.raises(ConfigError, match="nothing to search"):
        make_run(replace(NETWORK, connections=(), upsample="bicubic"), replace(SEARCH, keep=0))
    with pytest.raises(ConfigError, match=r"network\.kind: unet has no architecture"):
        SearchRun(UNetConfig(), LOSS, TRAIN, SEARCH, 0)
