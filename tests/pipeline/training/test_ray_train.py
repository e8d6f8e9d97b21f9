"""Training on a real local Ray: the same result as in one process, resumed runs, errors in one line."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import ray.train
import torch
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from pipeline.cluster import cluster
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.experiments.search import searching
from pipeline.training import ray_train
from pipeline.training.checkpoints import bring_home, forget, opened, read_reports
from pipeline.training.controller import is_final
from pipeline.training.ray_train import _readable, _wait_for_uploads, launch
from pipeline.training.worker import Row
from rdmc.checkpoint import load_model, load_tensors
from rdmc.data.loader import PairStore
from rdmc.data.shards import read_manifest
from rdmc.errors import CheckpointError, ConfigError, DataError, ServiceError, TrainingError
from rdmc.training.loop import Run
from tests.pipeline.training.conftest import SETTINGS
from tests.support.data import LIGHT, make_dataset, tiny_params, toy_project
from tests.support.dying import dying

pytestmark = pytest.mark.usefixtures("running_ray")


@pytest.mark.slow
def test_two_workers_learn_the_same_weights_as_one_process(params: Params, paths: Paths, tmp_path: Path) -> None:
    rows: list[Row] = []
    result = launch(Project(params, SETTINGS, paths), "same", rows.append, validates=True)
    home = replace(paths, root=tmp_path)
    bring_home(result, home)
    folder = [paths.shards("light")]
    alone = Run(params.network, params.loss, params.train, params.seed)
    reports = list(alone.reports(PairStore(folder, "train"), PairStore(folder, "validation")))
    assert [row["step"] for row in rows] == [report.step for report in reports]
    for row, report in zip(rows, reports, strict=True):
        assert row["loss"] == pytest.approx(report.loss, rel=1e-4)
        assert row["psnr_y"] == pytest.approx((report.validation or {})["psnr_y"], abs=0.02)
    state = load_tensors(home.last / "training.safetensors")
    for name, weight in alone.network.state_dict().items():
        assert torch.allclose(state[f"network/{name}"], weight, atol=1e-4), name
    with opened(result.last) as last:
        assert read_reports(last) == rows
    facts = load_model(home.best)[1]
    assert facts["validation"]["psnr_y"] == result.metrics["psnr_y"] == max(row["psnr_y"] for row in rows)
    assert facts["data"] == PairStore(folder, "train").digest


@pytest.mark.slow
def test_loader_processes_of_a_worker_change_nothing(params: Params, paths: Paths) -> None:
    losses: list[list[float]] = []
    for loaders in (0, 2):
        rows: list[Row] = []
        launch(
            Project(params, SETTINGS.model_copy(update={"loaders": loaders}), paths),
            f"loaders-{loaders}",
            rows.append,
            validates=True,
        )
        losses.append([row["loss"] for row in rows])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_stopped_run_resumes_says_from_where_and_is_deleted_when_finished(
    params: Params, paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 500)
    half = tiny_params({**LIGHT, "train.steps": 3})
    first: list[Row] = []
    launch(Project(half, SETTINGS, paths), "again", first.append, validates=True)
    assert "resumes" not in capsys.readouterr().out
    second: list[Row] = []
    launch(Project(params, SETTINGS, paths), "again", second.append, validates=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if "resumes" in line)
    assert line.startswith(f"resumes from step 3 of 6: {paths.runs.resolve()}/again/checkpoint_")
    assert [row["step"] for row in first] == [3]
    assert [row["step"] for row in second] == [6]
    forget(toy_project(SETTINGS, paths), "again")
    assert not (paths.runs / "again").exists()


@pytest.mark.slow
def test_a_stopped_search_resumes_from_its_checkpoint(paths: Paths) -> None:
    for steps, done in ((2, [2]), (4, [4])):
        params = tiny_params({**LIGHT, "search.steps": steps, "train.validate_every": 2})
        rows: list[Row] = []
        result = launch(Project(params, SETTINGS, paths), "searched", rows.append, validates=True, make=searching)
        assert [row["step"] for row in rows] == done
    with opened(result.last) as folder:
        state = load_tensors(folder / "training.safetensors")
    assert {"exp_avg/strength.enc1->dec2", "exp_avg/upsample.mix", "exp_avg/head.weight"} <= state.keys()
    assert rows[-1]["strength/enc1-to-dec2"] != 0


def test_a_damaged_shard_is_an_error_of_one_line(params: Params, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "light")
    shard = read_manifest(paths.shards("light") / "manifest.json").samples("train")[0][0]
    path = paths.shards("light") / shard.name
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(DataError, match=shard.name) as error:
        launch(Project(params, SETTINGS, paths), "damaged", lambda row: None, validates=True)
    assert "\n" not in str(error.value)


def test_a_worker_that_is_killed_is_called_that_with_the_params_that_help(
    params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_train, "RETRIES", 0)
    with pytest.raises(TrainingError) as caught:
        launch(Project(params, Settings(workers=1, gpu=False), paths), "killed", print, validates=True, make=dying)
    said = str(caught.value)
    assert said.startswith("a worker was killed, most often because memory ran out (")
    assert "lower train.global_batch_size or train.crop in params.yaml" in said
    assert "\n" not in said
    forget(toy_project(SETTINGS, paths), "killed")


def test_the_cause_of_a_failure_is_its_head_and_not_what_follows_from_it() -> None:
    lost = RuntimeError("Connection closed by peer [127.0.0.1]:7 " + "and a long log " * 100)
    killed = WorkerHealthCheckFailedError("A worker health check failed.", ActorDiedError())
    for failures, said in (
        ({0: lost, 1: killed}, "a worker was killed"),
        ({0: lost, 1: RuntimeError("CUDA out of memory. Tried to allocate")}, "memory ran out (CUDA out of memory"),
        ({0: lost}, "training failed: Connection closed by peer"),
        ({0: lost, 1: DataError("light-0.tar: damaged")}, "light-0.tar: damaged"),
    ):
        shown = str(_readable(ray.train.WorkerGroupError("x", failures)))
        assert shown.startswith(said)
        assert len(shown) < 600
        assert "\n" not in shown


def test_refused_before_any_worker_starts(params: Params, paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3") as error:
        launch(Project(params, Settings(workers=3, gpu=False), paths), "refused", print, validates=True)
    assert "4" in str(error.value)
    with pytest.raises(ConfigError, match="64 workers need 64 CPUs"):
        launch(
            Project(tiny_params({**LIGHT, "train.global_batch_size": 64}), Settings(workers=64, gpu=False), paths),
            "x",
            print,
            validates=True,
        )
    vgg19 = tiny_params({**LIGHT, "loss.vgg19_weights": str(tmp_path / "vgg19.pth"), "loss.features": "vgg19"})
    with pytest.raises(CheckpointError, match=r"^loss\.vgg19_weights: .*vgg19\.pth: No such file"):
        launch(Project(vgg19, SETTINGS, paths), "refused", print, validates=True)
    assert not (paths.runs / "refused").exists()


def test_missing_gpus_are_refused(params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    if ray.cluster_resources().get("GPU"):
        pytest.skip("there are GPUs here")
    with pytest.raises(ConfigError, match="set RDMC_GPU=false"):
        launch(Project(params, Settings(gpu=True), paths), "x", print, validates=True)
    with pytest.raises(ConfigError, match="set RDMC_GPU=false"):
        launch(Project(params, Settings(gpu=True, workers=2), paths), "x", print, validates=True)


def test_checkpoints_that_are_never_stored_end_the_training_with_an_error_of_one_line(tmp_path: Path) -> None:
    for step in (900, 1200):
        (tmp_path / str(step)).mkdir()
    _wait_for_uploads(tmp_path, 2, 0.0)
    with pytest.raises(TrainingError, match=r"^the checkpoint of step 900 was not stored within 0 s .*: it resumes$") as caught:
        _wait_for_uploads(tmp_path, 1, 0.0)
    assert "\n" not in str(caught.value)
    assert is_final(caught.value), "Ray would start the workers again otherwise"


def test_the_limit_counts_from_the_last_upload_that_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(time, "sleep", lambda seconds: min(tmp_path.iterdir()).rmdir())
    for step in range(5):
        (tmp_path / str(step)).mkdir()
    _wait_for_uploads(tmp_path, 0, 25.0)
    assert not list(tmp_path.iterdir())


def test_the_local_cluster_requires_a_token() -> None:
    """With this setting Ray refuses callers without the token, also those on this machine."""
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_cluster_that_cannot_be_reached_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ServiceError, match=r"Ray at '127.0.0.1:1' cannot be reached") as error, cluster(SETTINGS):
        pass
    assert "\n" not in str(error.value)
