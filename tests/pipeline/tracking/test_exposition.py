"""The figures that Prometheus reads from a training, by real HTTP."""

from __future__ import annotations

import math
import socket
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.config.settings import Settings, read_settings
from pipeline.tracking.exposition import TrainingMetrics, exposed
from rdmc.errors import ConfigError
from tests.support.ports import free_port


def row(step: int, steps: int = 20, **more: float) -> dict[str, float]:
    """A report of ``steps`` steps of 16 crops, each of half a second."""
    seconds = {"step_seconds": steps / 2, "data_seconds": 1.0, "validation_seconds": 0.0, "pause_seconds": 0.25}
    return {"step": step, "loss": -0.125, "images_per_second": 32.0, **seconds, **more}


def read(port: int) -> dict[str, float]:
    """The samples by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_prometheus_reads_the_last_report() -> None:
    metrics, port = TrainingMetrics("train-abc", 1200, 16), free_port()
    with exposed(metrics, Settings(metrics=f"127.0.0.1:{port}")):
        before = read(port)
        assert before["rdmc_training_info train-abc"] == 1
        assert (before["rdmc_training_steps"], before["rdmc_training_step"]) == (1200, 0)
        for name in ("loss", "psnr_y", "images_per_second", "step_seconds"):
            assert math.isnan(before[f"rdmc_training_{name}"]), "there is no figure yet"
        metrics(row(20))
        metrics(row(40, validation_seconds=3.0, psnr_y=29.5, ssim_y=0.9))
        found = read(port)
    assert found["rdmc_training_step"] == 40
    assert found["rdmc_training_loss"] == -0.125
    assert found["rdmc_training_psnr_y"] == 29.5
    assert found["rdmc_training_images_per_second"] == 32
    assert found["rdmc_training_step_seconds"] == 0.5
    assert found["rdmc_training_images_total"] == 2 * 20 * 16
    spent = {part: found[f"rdmc_training_seconds_total {part}"] for part in ("step", "data", "validation", "pause")}
    assert spent == {"step": 20, "data": 2, "validation": 3, "pause": 0.5}
    assert found["rdmc_training_repeated_steps_total"] == 0
    with pytest.raises(OSError, match="refused"):
        read(port)


def test_steps_after_a_restart_count_as_repeated() -> None:
    metrics = TrainingMetrics("train-abc", 1200, 16)
    for step in (320, 340, 360, 320, 340, 360, 380):  # a resumed run begins at 300; the workers died after 360
        metrics(row(step))
    assert metrics.repeated._value.get() == 60


def test_restarts_of_workers_are_counted_by_cause() -> None:
    metrics, port = TrainingMetrics("train-abc", 1200, 16), free_port()
    with exposed(metrics, Settings(metrics=f"127.0.0.1:{port}")):
        assert read(port)["rdmc_training_restarts_total failure"] == 0, "a counter exists before it counts"
        metrics.restarted("preemption")
        metrics.restarted("preemption")
        metrics.restarted("failure")
        found = read(port)
    assert found["rdmc_training_restarts_total preemption"] == 2
    assert found["rdmc_training_restarts_total failure"] == 1


def test_a_taken_port_is_said_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with exposed(TrainingMetrics("train-abc", 10, 4), Settings(metrics=address)):
            pass
    said = " ".join(capsys.readouterr().out.split())
    assert f"RDMC_METRICS: {address}: " in said
    assert "the training goes on without it, name a free port" in said


def test_without_the_setting_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr("pipeline.tracking.exposition.start_http_server", never)
    with exposed(TrainingMetrics("train-abc", 10, 4), Settings()):
        pass


@pytest.mark.parametrize("value", ["8001", "localhost", "localhost:http", "http://localhost:80"])
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RDMC_METRICS", value)
    with pytest.raises(ConfigError, match="RDMC_METRICS: .*must be host:port"):
        read_settings()
