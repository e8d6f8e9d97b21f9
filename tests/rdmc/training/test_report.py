"""Where the time of a training goes: each wait is counted once, under its own name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from pipeline.config.paths import Paths
from rdmc.data.batches import Batch
from rdmc.data.loader import PairStore
from rdmc.models.rdmc import RDMCConfig
from rdmc.training import report as module
from rdmc.training.config import LossConfig, TrainConfig
from rdmc.training.loop import Run
from rdmc.training.report import OWN, Clock, Report
from tests.support.data import make_dataset


class Time:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(module, "time", fake)
    return fake


def slow(time: Time, count: int, seconds: float) -> Iterator[Batch]:
    for step in range(count):
        time.now += seconds
        yield Batch(step, torch.zeros(0), torch.zeros(0), [])


def test_each_wait_has_its_name(time: Time) -> None:
    clock = Clock()
    clock.start()
    for _ in clock.waits(slow(time, 3, 2.0)):
        time.now += 5.0
    clock.stop()
    with clock.validating():
        time.now += 11.0
    assert clock.seconds() == {"step_seconds": 21.0, "data_seconds": 6.0, "validation_seconds": 11.0, "pause_seconds": 0.0}
    with clock.pausing():
        time.now += 7.0
    clock.start()
    for _ in clock.waits(slow(time, 1, 1.0)):
        time.now += 1.0
    clock.stop()
    assert clock.seconds() == {"step_seconds": 2.0, "data_seconds": 1.0, "validation_seconds": 0.0, "pause_seconds": 7.0}


def test_a_training_says_where_its_time_went(tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Paths(tmp_path)
    make_dataset(workspace, "light")
    train, validation = (PairStore([workspace.shards("light")], split) for split in ("train", "validation"))
    recipe = TrainConfig(steps=4, global_batch_size=2, crop=32, warmup_steps=1, validate_every=2)
    run = Run(RDMCConfig(width=2, passes=1), LossConfig(ssim=0.0, levels=1), recipe, 0)
    step, validate = run._step, run.validate

    def stepping(batch: Batch) -> None:
        time.now += 3.0
        step(batch)

    def validating(pairs: PairStore) -> dict[str, float]:
        time.now += 4.0
        return validate(pairs)

    monkeypatch.setattr(run, "_step", stepping)
    monkeypatch.setattr(run, "validate", validating)
    rows = []
    for report in run.reports(train, validation):
        rows.append(report.flat())
        time.now += 10.0
    assert [row["step_seconds"] for row in rows] == [6.0, 6.0]
    assert [row["validation_seconds"] for row in rows] == [4.0, 4.0]
    assert [row["pause_seconds"] for row in rows] == [0.0, 10.0]
    assert [row["data_seconds"] for row in rows] == [0.0, 0.0]
    assert [row["images_per_second"] for row in rows] == [pytest.approx(4 / 6)] * 2


def test_every_figure_of_a_report_is_in_its_row() -> None:
    numbers = {field.name for field in fields(Report)} - {"step", "terms", "saves", "validation"}
    assert numbers == set(OWN)
