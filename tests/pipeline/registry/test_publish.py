"""Writing a version: runs, figures, datasets and files in a real store."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.config.settings import Settings
from pipeline.registry import publish
from pipeline.registry.client import registry
from pipeline.registry.publish import (
    PackedDataset,
    add_checks,
    add_datasets,
    add_evaluation,
    add_history,
    attach_files,
    open_run,
    signature,
)
from rdmc.data.pairs import QUARANTINE
from rdmc.errors import ServiceError


@pytest.fixture
def client(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    return MlflowClient(store, store)


@pytest.fixture
def run(client: MlflowClient, tmp_path: Path) -> str:
    experiment = client.create_experiment("publish", artifact_location=(tmp_path / "artifacts").as_uri())
    return str(client.create_run(experiment).info.run_id)


def steps(client: MlflowClient, run: str, name: str) -> list[tuple[int, float]]:
    return [(figure.step, figure.value) for figure in client.get_metric_history(run, name)]


def test_a_known_run_is_used_and_an_unknown_one_is_made_once(client: MlflowClient, run: str) -> None:
    with registry(Settings()) as own:
        assert open_run(own, Settings(), run, "train", "abc") == run
        made = open_run(own, Settings(), "0" * 32, "train", "abc")
        assert made not in (run, "0" * 32)
        assert open_run(own, Settings(), None, "train", "abc") == made, "found by the digest of the weights"
        assert open_run(own, Settings(), None, "train", "other") != made
    assert client.get_run(made).info.status == "FINISHED"
    assert client.get_run(run).info.status == "FINISHED", "its training has ended, but could not say so"
    assert client.get_run(made).data.tags["mlflow.source.name"] == "python -m pipeline register"


def test_only_missing_steps_of_the_history_are_logged(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "loss/total", 0.5, step=100)
    rows = [{"step": 100.0, "loss": 0.4, "psnr_y": 20.0}, {"step": 200.0, "loss": 0.25}]
    assert add_history(client, run, rows) == 2
    assert steps(client, run, "loss/total") == [(100, 0.5), (200, 0.25)]
    assert steps(client, run, "validation/psnr_y") == [(100, 20.0)]
    assert add_history(client, run, rows) == 0


def test_means_are_logged_once_and_image_counts_never(client: MlflowClient, run: str) -> None:
    means = {"light": {"derained": {"psnr_y": 30.0}, "gain_psnr_y": 2.0, "images": 5}}
    for _ in range(2):
        add_evaluation(client, run, means, 200)
    assert set(client.get_run(run).data.metrics) == {"test/light/derained/psnr_y", "test/light/gain_psnr_y"}
    assert steps(client, run, "test/light/derained/psnr_y") == [(200, 30.0)]
    add_evaluation(client, run, {"light": {"gain_psnr_y": 3.0}}, 200)
    assert client.get_run(run).data.metrics["test/light/gain_psnr_y"] == 3.0


@pytest.mark.parametrize(
    ("pairs", "context"),
    [
        ({"train": 2, "validation": 1, "test": 3}, "training"),
        ({"train": 0, "validation": 1, "test": 3}, "validation"),
        ({"test": 3}, "test"),
        ({}, "test"),
    ],
)
def test_the_context_of_a_dataset_is_the_first_split_with_pairs(pairs: dict[str, int], context: str) -> None:
    assert PackedDataset("light", "d", "data", pairs).context == context


def test_datasets_are_inputs_of_the_run(client: MlflowClient, run: str) -> None:
    data = [PackedDataset("light", "ab" * 32, "s3://bucket/light", {"train": 2}), PackedDataset("heavy", "cd" * 32, "data", {})]
    for _ in range(2):
        add_datasets(client, run, data)
    inputs = client.get_run(run).inputs
    assert inputs
    found = {given.dataset.name: given.dataset for given in inputs.dataset_inputs}
    assert len(inputs.dataset_inputs) == 2, "logging them again adds none"
    assert (found["light"].source_type, found["heavy"].source_type) == ("s3", "local")
    assert found["light"].digest == ("ab" * 32)[:36]
    assert json.loads(str(found["light"].profile)) == {"train pairs": 2, "digest": "ab" * 32}


def test_reports_of_checks_are_logged_if_they_exist(client: MlflowClient, run: str, tmp_path: Path) -> None:
    for name in ("light", "heavy"):
        (tmp_path / name).mkdir()
    (tmp_path / "light" / QUARANTINE).write_text("[]")
    add_checks(client, run, {name: tmp_path / name for name in ("light", "heavy")})
    assert [item.path for item in client.list_artifacts(run, "data")] == ["data/light"]


def test_the_signature_takes_batches_of_images_and_a_tile() -> None:
    made = signature()
    assert made.inputs.inputs[0].shape == (-1, -1, -1, 3)
    assert made.inputs.inputs[0].type == np.dtype(np.uint8)
    assert [(param.name, param.default) for param in made.params.params] == [("tile", 1024)]


def test_bytecode_is_written_again_after_an_error() -> None:
    before = sys.dont_write_bytecode
    inside = []
    with suppress(ZeroDivisionError), publish._no_bytecode():
        inside.append(sys.dont_write_bytecode)
        raise ZeroDivisionError
    assert inside == [True]
    assert sys.dont_write_bytecode == before


def test_attaching_skips_missing_files_and_only_warns_of_a_failure(
    client: MlflowClient, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("a")
    files = [tmp_path / "a.txt", tmp_path / "none.txt"]
    attach_files(Settings(), run, files)
    assert [item.path for item in client.list_artifacts(run)] == ["a.txt"]

    def away(settings: Settings) -> None:
        raise ServiceError("MLflow is away")

    monkeypatch.setattr(publish, "registry", away)
    attach_files(Settings(), None, files)
    assert capsys.readouterr().out == "", "without a run there is nothing to do"
    attach_files(Settings(), run, files)
    assert "warning: MLflow does not have a.txt, none.txt: MLflow is away" in capsys.readouterr().out.replace("\n", " ")
