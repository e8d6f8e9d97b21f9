"""What dvc.lock records, and DVC's refusals as one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.datasets import dataset_folder
from pipeline.storage.dvc_remote import connect
from rdmc.data.shards import MANIFEST
from rdmc.errors import DataError, ServiceError
from tests.support.data import toy_project


def test_fetch_on_a_worker_finds_dvc_lock_beside_the_code(
    pushed: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed)
    folder = dataset_folder(toy_project(settings, Paths(tmp_path / "scratch")), "light")
    assert tmp_path / "scratch" in folder.parents
    assert (folder / MANIFEST).read_bytes() == (pushed / "source" / MANIFEST).read_bytes()


@pytest.mark.parametrize("content", ["<<<<<<< ours\nstages: {\n", "- 1", "stages: {pack: {outs: [1]}}"])
def test_a_damaged_dvc_lock_is_named(content: str, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(DataError, match=r"dvc.lock: not what DVC writes .*; run `git checkout dvc.lock`") as caught:
        dataset_folder(toy_project(settings, Paths(tmp_path)), "light")
    assert "\n" not in str(caught.value)


def test_connect_outside_a_dvc_repository_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"dvc remote add: .*; run it in a folder made by `dvc init`"):
        connect(settings, tmp_path)
