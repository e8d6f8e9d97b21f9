"""A real training whose checkpoints go to a bucket, and whose S3 server is gone for a while."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from pipeline.cluster import cluster
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.storage.outage import OutageError
from pipeline.training.checkpoints import bring_home
from pipeline.training.ray_train import launch
from pipeline.training.worker import Row
from rdmc.checkpoint import load_model
from tests.support.data import LIGHT, make_dataset, tiny_params
from tests.support.dying import marked
from tests.support.s3 import Host
from tests.support.waiting import until


@pytest.mark.slow
def test_a_training_goes_on_while_the_bucket_is_gone_and_its_checkpoints_follow(host: Host, tmp_path: Path) -> None:
    paths, marks = Paths(tmp_path), tmp_path / "marks"
    make_dataset(paths, "light")
    marks.mkdir()
    settings = Settings(workers=1, gpu=False, bucket="s3://team/rain", outage=300)
    rows: list[Row] = []
    seen: list[list[float]] = []

    def outage() -> None:
        try:
            until(lambda: (marks / "ready").exists())
            host.stop()
        finally:
            (marks / "begin").touch()
        until(lambda: (marks / "6").exists())
        seen.append([row["step"] for row in rows])
        host.start()

    away = threading.Thread(target=outage)
    away.start()
    with cluster(settings):
        result = launch(
            Project(tiny_params(LIGHT), settings, paths), "out", rows.append, validates=True, make=partial(marked, str(marks))
        )
        away.join()
        bring_home(result, paths)
    assert seen == [[]], "the training reached its last step before any checkpoint was stored"
    assert [row["step"] for row in rows] == [3, 6]
    assert load_model(paths.best)[1]["step"] == result.metrics["step"]


@pytest.mark.slow
def test_a_training_ends_with_the_name_of_the_bucket_after_the_limit(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, marks = Paths(tmp_path), tmp_path / "marks"
    make_dataset(paths, "light")
    marks.mkdir()
    settings = Settings(workers=1, gpu=False, bucket="s3://team/rain", outage=4)

    def outage() -> None:
        try:
            until(lambda: (marks / "ready").exists())
            host.stop()
        finally:
            (marks / "begin").touch()

    away = threading.Thread(target=outage)
    away.start()
    with cluster(settings), pytest.raises(OutageError, match=r"^s3://team at 127\.0\.0\.1:\d+: not reached for \d+ s"):
        launch(Project(tiny_params(LIGHT), settings, paths), "out", print, validates=True, make=partial(marked, str(marks)))
    away.join()
    assert "resumes" not in capsys.readouterr().out, "it has waited already"
