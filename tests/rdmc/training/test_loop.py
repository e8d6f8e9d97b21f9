"""The training loop in one process: learning, determinism, resuming, averaging, and losses that are not finite."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config.paths import Paths
from rdmc.checkpoint import load_model
from rdmc.data.loader import PairStore
from rdmc.errors import CheckpointError, TrainingError
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import LossConfig, TrainConfig
from rdmc.training.loop import Run
from rdmc.training.report import Report
from tests.support.data import make_dataset

NETWORK = RDMCConfig(width=2, passes=2)
CONFIG = TrainConfig(
    steps=12, global_batch_size=4, crop=32, lr=2e-3, warmup_steps=2, validate_every=4, ema_decay=0.5, weight_decay=0.01
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairStore, PairStore]:
    workspace = Paths(tmp_path_factory.mktemp("data"))
    make_dataset(workspace, "heavy")
    folder = [workspace.shards("heavy")]
    return PairStore(folder, "train"), PairStore(folder, "validation")


RATIO, INFONCE = LossConfig(), LossConfig(prior="infonce", levels=2, patches=16, projection=4)


def make_run(config: TrainConfig = CONFIG, seed: int = 0, loss: LossConfig = RATIO) -> Run:
    return Run(NETWORK, loss, config, seed)


def finish(run: Run, stores: tuple[PairStore, PairStore]) -> list[Report]:
    return list(run.reports(*stores))


def weights(run: Run) -> torch.Tensor:
    """Return all trained parameters as one vector."""
    return torch.cat([p.detach().flatten() for part in (run.network, run.heads) for p in part.parameters()])


def test_reports_cover_every_step_and_validation(stores: tuple[PairStore, PairStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdmc.training.loop.REPORT_EVERY", 10)
    reports = finish(make_run(), stores)
    assert [(r.step, r.saves) for r in reports] == [(4, True), (8, True), (10, False), (12, True)]
    assert [r.validation is not None for r in reports] == [r.saves for r in reports]
    assert reports[-1].epoch == pytest.approx(12 * 4 / 5)
    assert all(r.step_seconds * r.images_per_second == pytest.approx(4 * n) for r, n in zip(reports, (4, 4, 2, 2), strict=True))
    assert reports[0].flat().keys() >= {"step", "loss", "lr", "images_per_second", "psnr_y", "ssim_y"}
    for report in reports:
        assert report.terms.keys() == {"pixel", "ssim", "contrastive"}
        parts = report.terms["pixel"] + RATIO.ssim * report.terms["ssim"] + RATIO.contrastive * report.terms["contrastive"]
        assert report.loss == pytest.approx(parts, rel=1e-5)
        assert report.flat()["pixel"] == report.terms["pixel"]


def test_learning_lowers_the_loss(stores: tuple[PairStore, PairStore]) -> None:
    reports = finish(make_run(replace(CONFIG, steps=60, lr=1e-2, validate_every=60)), stores)
    assert reports[-1].loss < 0.9 * reports[0].loss


def test_same_seed_same_weights(stores: tuple[PairStore, PairStore]) -> None:
    runs = [make_run(), make_run(), make_run(seed=1)]
    reports = [finish(run, stores) for run in runs]
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert [r.loss for r in reports[0]] == [r.loss for r in reports[1]]
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


@pytest.mark.parametrize(("loss", "optimiser"), [(RATIO, "adamw"), (INFONCE, "muon")], ids=["ratio, AdamW", "infonce, Muon"])
def test_a_resumed_run_is_bit_identical(
    stores: tuple[PairStore, PairStore], tmp_path: Path, loss: LossConfig, optimiser: str
) -> None:
    config = replace(CONFIG, optimiser=optimiser)
    whole = make_run(config, loss=loss)
    reports = finish(whole, stores)
    stopped = make_run(config, loss=loss)
    for report in stopped.reports(*stores):
        if report.step == 8:
            stopped.save(tmp_path, {})
            break
    resumed = make_run(config, loss=loss)
    resumed.resume(tmp_path)
    (last,) = finish(resumed, stores)
    assert (last.step, last.loss, last.terms) == (12, reports[-1].loss, reports[-1].terms)
    assert torch.equal(weights(resumed), weights(whole))
    averages = [dict(run.average.state_dict()) for run in (resumed, whole)]
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[1])


def test_saved_model_is_the_average(stores: tuple[PairStore, PairStore], tmp_path: Path) -> None:
    run = make_run()
    finish(run, stores)
    run.save(tmp_path, {"seed": 0})
    network, facts = load_model(tmp_path)
    assert facts["step"] == 12
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), run.average.parameters(), strict=True))
    assert not torch.equal(torch.cat([p.flatten() for p in network.parameters()]), weights(run))


def test_resume_refuses_another_run(stores: tuple[PairStore, PairStore], tmp_path: Path) -> None:
    run = make_run(replace(CONFIG, steps=2))
    finish(run, stores)
    run.save(tmp_path, {})
    with pytest.raises(CheckpointError, match="seed 0, not 1"):
        make_run(seed=1).resume(tmp_path)
    with pytest.raises(CheckpointError, match="network"):
        Run(RDMCConfig(width=3, passes=2), LossConfig(), CONFIG, 0).resume(tmp_path)


def test_heads_of_the_prior_learn_and_are_not_part_of_the_model(stores: tuple[PairStore, PairStore], tmp_path: Path) -> None:
    run = make_run(replace(CONFIG, steps=2, clip_norm=1e-3), loss=INFONCE)
    before = [p.detach().clone() for p in run.heads.parameters()]
    assert len(before) == 2 * 4, "two linear layers for each of two levels"
    (report,) = finish(run, stores)
    assert all(not torch.equal(p, old) for p, old in zip(run.heads.parameters(), before, strict=True))
    gradients = [p.grad for part in (run.network, run.heads) for p in part.parameters() if p.grad is not None]
    assert torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])).item() == pytest.approx(1e-3, rel=1e-3)
    candidates = 2 * 4 * 16  # clean and rainy patches of four crops
    assert report.terms["mi_bound"] == pytest.approx(math.log(candidates) - report.terms["contrastive"], abs=1e-5)
    run.save(tmp_path, {})
    exported, _ = load_model(tmp_path)
    assert dict(exported.state_dict()).keys() == dict(run.network.state_dict()).keys()
    with pytest.raises(CheckpointError, match=r"unknown tensor .*check `loss` in params\.yaml"):
        make_run(loss=RATIO).resume(tmp_path)
    with pytest.raises(CheckpointError, match=r"check `loss` in params\.yaml"):
        make_run(loss=replace(INFONCE, projection=5)).resume(tmp_path)


def test_infonce_trains_stably(stores: tuple[PairStore, PairStore]) -> None:
    config = replace(CONFIG, steps=40, lr=4e-3, validate_every=40)
    loss = LossConfig(pixel="psnr", ssim=0, contrastive=0.01, prior="infonce", levels=1)
    run = Run(RDMCConfig(width=4, passes=1, stem=2), loss, config, seed=0)
    first, last = finish(run, stores)
    assert last.loss < first.loss
    assert last.terms["contrastive"] + 0.3 < first.terms["contrastive"] < math.log(2 * 4 * 64)
    assert last.terms["mi_bound"] > first.terms["mi_bound"] + 0.3


@pytest.mark.parametrize("damage", ["{}", "[]", '{"seed": 0, "step": null}', "{"])
def test_resume_refuses_a_damaged_training_json(tmp_path: Path, damage: str) -> None:
    make_run().save(tmp_path, {})
    (tmp_path / "training.json").write_text(damage)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        make_run().resume(tmp_path)


def test_resume_refuses_missing_moments(tmp_path: Path) -> None:
    make_run().save(tmp_path, {})  # no step was taken, so there are no moments
    with pytest.raises(CheckpointError, match="exp_avg"):
        make_run().resume(tmp_path)


def test_gradient_that_is_not_finite_stops_before_the_step(stores: tuple[PairStore, PairStore]) -> None:
    run = make_run()
    run.network.get_parameter("head.weight").register_hook(lambda gradient: gradient * torch.inf)
    before = weights(run)
    with pytest.raises(TrainingError, match=r"gradient norm (nan|inf) at step 0 on heavy/train-\d"):
        finish(run, stores)
    assert torch.equal(weights(run), before)


def test_loss_that_is_not_finite_stops_before_the_step(stores: tuple[PairStore, PairStore]) -> None:
    run = make_run()
    with torch.no_grad():
        run.network.get_parameter("head.weight").fill_(float("nan"))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    with pytest.raises(TrainingError, match=r"loss nan at step 0 on heavy/train-\d"):
        finish(run, stores)
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items() if "head" not in name)


def test_bf16_trains_too(stores: tuple[PairStore, PairStore]) -> None:
    exact, mixed = make_run(), make_run(replace(CONFIG, precision="bf16"))
    losses = [finish(run, stores)[-1].loss for run in (exact, mixed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
