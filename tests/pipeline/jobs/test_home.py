"""From one job to the next, each in an empty folder without git: evaluate, register, and what the gate asks of the version."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.jobs.home import bring_home, evaluate_and_keep, fetch_results, train_once, training_name
from pipeline.registry.provenance import COMMITTED, gaps
from pipeline.stages import register, train
from pipeline.storage.results import EVALUATED, TRAINED, keep
from pipeline.storage.s3 import bucket_of
from pipeline.versioning.lineage import job_lineage
from rdmc.errors import ConfigError, DataError
from rdmc.files import write_text
from tests.support.imports import ROOT
from tests.support.pushed import push_shards
from tests.support.s3 import S3Server

COMMIT = "a" * 40


@pytest.fixture
def trained(
    params: Params, settings: Settings, s3: S3Server, make_workspace: Callable[..., Paths], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Project[Params]:  # fmt: skip
    """What a job leaves in its folder and in the bucket after `train`, with the variables of a job."""
    bucket = bucket_of(settings)
    assert bucket
    for name, value in {"COMMIT": COMMIT, "DIRTY": "false", "CODE": COMMITTED}.items():
        monkeypatch.setenv(f"RDMC_GIT_{name}", value)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    shutil.copytree(ROOT / "architectures/full", tmp_path / "architectures/full")
    monkeypatch.chdir(tmp_path)
    made = make_workspace(tmp_path / "trained")
    own, prefix = s3.bucket(bucket.name), f"{bucket.prefix}/"
    lock = push_shards([made.shards(name) for name in ("light", "heavy")], own, prefix)
    report = json.dumps({"version": 1, "leaks": []}).encode()
    md5 = hashlib.md5(report, usedforsecurity=False).hexdigest()
    own.put_object(Key=bucket.key("dvc/files/md5", md5[:2], md5[2:]), Body=report)
    lock = lock.replace("{outs: [", f"{{outs: [{{path: data/leaks.json, md5: {md5}}}, {{path: checkpoints/best, md5: 9.dir}}, ")
    write_text(tmp_path / "dvc.lock", lock)
    project = Project(params, Settings(bucket=settings.bucket), made)
    write_text(made.last / "training.safetensors", "state")
    facts = {"run_id": None, "name": training_name(project), **job_lineage(project.settings)}
    write_text(made.run, json.dumps(facts))
    keep(project, str(facts["name"]), TRAINED)
    return project


def job(project: Project[Params], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project[Params]:
    """The project as another job has it: in a folder with what goes along besides code, which is the working folder."""
    shutil.copytree(ROOT / "architectures/full", folder / "architectures/full")
    shutil.copy(project.paths.root.parent / "dvc.lock", folder)
    shutil.copy(ROOT / "dvc.yaml", folder)
    monkeypatch.chdir(folder)
    return replace(project, paths=Paths())


def test_jobs_one_after_the_other_make_a_version_with_its_whole_lineage(
    trained: Project[Params], store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job(trained, tmp_path / "evaluates", monkeypatch)
    with pytest.raises(DataError, match=rf"^{training_name(first)}: .* no results of `evaluate` .*; run `evaluate` first"):
        fetch_results(first, "", EVALUATED)
    fetch_results(first, "", TRAINED)
    assert (first.paths.best / "model.json").read_bytes() == (trained.paths.best / "model.json").read_bytes()
    evaluate_and_keep(first)

    second = job(trained, tmp_path / "registers", monkeypatch)
    fetch_results(second, "", TRAINED, EVALUATED)
    register.run(second)
    made = json.loads(second.paths.register_metrics.read_text())
    version = MlflowClient(store).get_model_version("rdmc", str(made["version"]))
    assert gaps(version.tags) == []
    assert (version.tags["registered_commit"], version.tags["git_commit"], version.tags["code"]) == (COMMIT, COMMIT, COMMITTED)
    assert "dvc.checkpoints/best" not in version.tags, "dvc.lock names another model"
    kept = MlflowClient(store).list_artifacts(str(version.run_id), version.tags["rebuild"])
    assert {Path(item.path).name for item in kept} >= {"dvc.lock", "params.yaml", "evaluate.json"}


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"RDMC_GIT_CODE": "rdmc/metrics.py not as in the commit"}, "its code is not in the commit: rdmc/metrics.py"),
        ({"RDMC_GIT_COMMIT": "b" * 40}, "trained at commit aaaaaaaaaaaa, registered at bbbbbbbbbbbb"),
    ],
)
def test_a_gap_in_the_lineage_is_named(
    variables: dict[str, str],
    missing: str,
    trained: Project[Params],
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    project = job(trained, tmp_path / "job", monkeypatch)
    fetch_results(project, "", TRAINED)
    if "RDMC_GIT_CODE" in variables:
        write_text(project.paths.run, json.dumps({"run_id": None, **job_lineage(Settings())}))
    evaluate_and_keep(project)
    register.run(project)
    made = json.loads(project.paths.register_metrics.read_text())
    (gap,) = gaps(MlflowClient(store).get_model_version("rdmc", str(made["version"])).tags)
    assert missing in gap


def test_results_come_home_and_a_training_is_not_repeated(
    trained: Project[Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = training_name(trained)
    home = job(trained, tmp_path / "home", monkeypatch)
    assert not bring_home(home, "train-of-nobody")
    assert bring_home(home, name)
    assert home.paths.history.read_text() == trained.paths.history.read_text()
    again = job(trained, tmp_path / "again", monkeypatch)
    monkeypatch.setattr(train, "run", lambda _: pytest.fail("trained again"))
    train_once(again)
    assert f"nothing has changed since {name}" in capsys.readouterr().out
    assert again.paths.best.is_dir()


def test_a_named_run_replaces_what_is_here_and_a_project_that_has_all_asks_nobody(
    trained: Project[Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = training_name(trained)
    fetch_results(replace(trained, settings=Settings(bucket="s3://nowhere-at-all")), "", TRAINED)
    home = job(trained, tmp_path / "home", monkeypatch)
    write_text(home.paths.best / "old", "")
    fetch_results(home, name, TRAINED)
    assert not (home.paths.best / "old").exists()
    with pytest.raises(ConfigError, match="RDMC_BUCKET"):
        fetch_results(replace(home, settings=Settings(bucket="")), name, TRAINED)
    shutil.rmtree(home.paths.best)
    fetch_results(replace(home, settings=Settings(bucket="")), "", TRAINED)
    assert not home.paths.best.exists(), "the stage itself says what it lacks"
