"""The results of trainings in a bucket of a real S3 server: whole at all times, verified, and those of the weights here."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.storage.results import EVALUATED, FOLDER, TRAINED, fetch, files_of, keep, kept_runs
from pipeline.storage.runs import RunFiles
from pipeline.storage.s3 import bucket_of
from rdmc.errors import ConfigError, DataError, ServiceError
from rdmc.files import write_text
from tests.support.data import toy_project
from tests.support.s3 import S3Server

RUN = "train-0123456789ab"


def filled(project: Project[Params], content: str) -> Project[Params]:
    """Write results with this content into the project."""
    paths = project.paths
    for path in (paths.best / "model.safetensors", paths.best / "model.json", paths.last / "training.safetensors"):
        write_text(path, f"{path.name} {content}")
    for path in (
        paths.run,
        paths.train_metrics,
        paths.history,
        paths.evaluate_metrics,
        paths.images,
        paths.report,
        paths.pictures / "1.png",
    ):
        write_text(path, f"{path.name} {content}")
    return project


def fails(*_: object) -> None:
    raise ServiceError("gone")


def contents(paths: Paths, part: str) -> dict[str, str]:
    tops = files_of(paths, part)
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*"))]
    return {file.relative_to(paths.root).as_posix(): file.read_text() for file in files if file.is_file()}


def test_results_come_home_whole(settings: Settings, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = (toy_project(settings, Paths(tmp_path / name)) for name in ("there", "here"))
    assert not fetch(here, RUN)
    assert keep(filled(there, "one"), RUN, TRAINED) == f"{settings.bucket}/{FOLDER}/{RUN}"
    assert kept_runs(here) == [RUN]
    assert fetch(here, RUN)
    assert contents(here.paths, TRAINED) == contents(there.paths, TRAINED)
    assert len(contents(here.paths, TRAINED)) == 6
    assert not here.paths.evaluate_metrics.exists()

    write_text(here.paths.best / "of-an-older-model", "")
    filled(there, "two")
    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "write", fails)
        with pytest.raises(ServiceError, match="gone"):
            keep(there, RUN, TRAINED)
    assert fetch(here, RUN), "the earlier results are still whole"
    assert contents(here.paths, TRAINED)["checkpoints/best/model.json"] == "model.json one"
    assert not (here.paths.best / "of-an-older-model").exists(), "a folder is replaced as a whole"

    keep(there, RUN, TRAINED)
    assert fetch(here, RUN)
    assert contents(here.paths, TRAINED) == contents(there.paths, TRAINED)
    bucket = bucket_of(settings)
    assert bucket
    keys = [item.key for item in s3.bucket(bucket.name).objects.all()]
    assert len(keys) == 7, f"the index and one copy: {keys}"


def test_an_evaluation_is_only_that_of_the_weights_here(settings: Settings, tmp_path: Path) -> None:
    there, here = (toy_project(settings, Paths(tmp_path / name)) for name in ("there", "here"))
    keep(filled(there, "one"), RUN, EVALUATED)
    assert not fetch(here, RUN, EVALUATED), "there are no weights"
    write_text(here.paths.best / "model.safetensors", "others")
    assert not fetch(here, RUN, EVALUATED)
    write_text(here.paths.best / "model.safetensors", "model.safetensors one")
    assert fetch(here, RUN, EVALUATED)
    assert contents(here.paths, EVALUATED) == contents(there.paths, EVALUATED)


def test_damaged_results_replace_nothing(settings: Settings, s3: S3Server, tmp_path: Path) -> None:
    there, here = (toy_project(settings, Paths(tmp_path / name)) for name in ("there", "here"))
    keep(filled(there, "one"), RUN, TRAINED)
    filled(here, "own")
    bucket = bucket_of(settings)
    assert bucket
    (key,) = [item.key for item in s3.bucket(bucket.name).objects.all() if item.key.endswith("history.csv")]
    s3.bucket(bucket.name).put_object(Key=key, Body=b"damaged")
    with pytest.raises(DataError, match=r"plots/history.csv: missing or damaged; run `submit train` again"):
        fetch(here, RUN)
    assert contents(here.paths, TRAINED)["checkpoints/best/model.json"] == "model.json own"


def test_without_a_bucket_nothing_is_kept(tmp_path: Path) -> None:
    project = filled(toy_project(Settings(bucket=""), Paths(tmp_path)), "one")
    assert keep(project, RUN, TRAINED) == ""
    with pytest.raises(ConfigError, match="RDMC_BUCKET"):
        fetch(project, RUN)
