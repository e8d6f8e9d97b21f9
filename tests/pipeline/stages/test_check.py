"""``check``: what a stage would refuse is refused first, and with real DVC nothing is deleted then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.stages import check
from pipeline.versioning.dvc import folder_files, folder_md5
from rdmc.data.images import write_png
from rdmc.errors import CheckpointError, ConfigError, DataError, RdmcError
from rdmc.files import file_digest
from tests.support.data import scene, tiny_params
from tests.support.imports import ROOT
from tests.support.project import make_project, run

ONE = Settings(workers=1, gpu=False)
GLOBS = {"rainy": "mine/rainy/*.png", "clean": "mine/clean/*.png"}
MINE = {"source": "folders", "train": GLOBS, "validation_share": 0.2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the architecture that params.yaml names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    shutil.copytree(ROOT / "architectures", tmp_path / "architectures")
    return tmp_path


def checked(changes: dict[str, Any] | None = None, settings: Settings = ONE) -> None:
    check.run(Project(tiny_params(changes), settings, Paths()))


def test_a_good_project_passes_with_the_same_bytes_whatever_its_params() -> None:
    checked()
    first = Paths().checked.read_bytes()
    checked({"train.lr": 1e-4})
    assert Paths().checked.read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "settings", "error", "message"),
    [
        ({"architecture": "architectures/non"}, ONE, ConfigError, "architectures/non"),
        ({"train.global_batch_size": 5}, Settings(workers=2, gpu=False), ConfigError, "does not divide among 2 workers"),
        ({"train.global_batch_size": 5}, Settings(gpu=False), ConfigError, "does not divide among 2 workers"),
        (
            {"datasets": {"rain": {"source": "benchmark", "name": "rain100", "path": "raw"}}},
            ONE,
            ConfigError,
            "'rain100': no such benchmark",
        ),
        (
            {"datasets": {"rain": {"source": "benchmark", "name": "rain100l", "path": "raw/x"}}},
            ONE,
            DataError,
            "raw/x: no such folder; unpack a copy there",
        ),
        ({"datasets": {"mine": MINE}}, ONE, DataError, "mine/rainy/*.png: matches no file"),
        (
            {"datasets": {"mine": {"source": "folders", "test": {"images": "both/*.png", "left": "clean"}}}},
            ONE,
            DataError,
            "both/*.png: matches no file",
        ),
        ({"loss.features": "vgg19", "loss.vgg19_weights": "/none/vgg19.pth"}, ONE, CheckpointError, "/none/vgg19.pth"),
    ],
)
def test_what_a_stage_would_refuse_is_refused(
    changes: dict[str, Any], settings: Settings, error: type[RdmcError], message: str
) -> None:
    with pytest.raises(error) as caught:
        checked(changes, settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Paths().checked.exists()


def test_a_cluster_decides_how_many_workers_there_are() -> None:
    checked({"train.global_batch_size": 5}, Settings(gpu=False, ray_address="127.0.0.1:1"))
    assert Paths().checked.is_file()


def test_a_prepared_dataset_needs_its_files_only_where_its_params_change(folder: Path) -> None:
    changes: dict[str, Any] = {"datasets": {"mine": MINE}}
    rules = tiny_params(changes).model_dump(mode="json")["prepare"]
    stage = {"params": {"params.yaml": {"seed": 0, "datasets.mine": MINE, "prepare": rules}}}
    (folder / "dvc.lock").write_text(json.dumps({"stages": {"prepare@mine": stage}}))
    checked(changes)
    with pytest.raises(DataError, match="matches no file"):
        checked({**changes, "seed": 1})
    stage["params"]["params.yaml"]["datasets.mine"] = {"source": "of an older version"}
    (folder / "dvc.lock").write_text(json.dumps({"stages": {"prepare@mine": stage}}))
    with pytest.raises(DataError, match="matches no file"):
        checked(changes)
    for side in ("rainy", "clean"):
        write_png(folder / f"mine/{side}/1.png", scene(1))
    checked(changes)


def test_a_prepared_dataset_needs_its_files_again_where_dvc_would_prepare_it_again(folder: Path) -> None:
    """That is after a change of code, and of the keys of a section of params."""
    changes: dict[str, Any] = {"datasets": {"mine": MINE}}
    rules = tiny_params(changes).model_dump(mode="json")["prepare"]
    (folder / "code").mkdir()
    (folder / "code/a.py").write_text("1")
    (folder / "b.py").write_text("2")
    deps = [
        {"path": "code", "md5": folder_md5(folder_files(folder / "code"))},
        {"path": "b.py", "md5": file_digest(folder / "b.py", "md5")},
    ]

    def lock(section: dict[str, Any]) -> None:
        params = {"seed": 0, "datasets.mine": MINE, "prepare": section}
        stage = {"deps": deps, "params": {"params.yaml": params}}
        (folder / "dvc.lock").write_text(json.dumps({"stages": {"prepare@mine": stage}}))

    lock(rules)
    checked(changes)
    lock({key: value for key, value in rules.items() if key != "convert"})
    with pytest.raises(DataError, match="matches no file"):
        checked(changes)
    lock(rules)
    for file in ("code/a.py", "b.py"):
        before = (folder / file).read_text()
        (folder / file).write_text("changed")
        with pytest.raises(DataError, match="matches no file"):
            checked(changes)
        (folder / file).write_text(before)
    checked(changes)


@pytest.mark.slow
def test_dvc_deletes_nothing_for_params_that_cannot_be_used(folder: Path) -> None:
    root = make_project(folder / "project")
    first = run(root, "dvc", "repro", "pack").stdout
    assert first.index("Running stage 'check'") < first.index("Running stage 'prepare@light'")
    params = (root / "params.yaml").read_text()
    index = (root / "data/pairs/light/index.json").read_bytes()
    shards = sorted(path.name for path in (root / "data/shards/light").iterdir())
    assert params.count("shard_mb: 0.02") == params.count("variants: 1") == 1
    for typo in (params.replace("shard_mb: 0.02", "shard_mb: many"), params.replace("variants: 1", "variant: 1")):
        (root / "params.yaml").write_text(typo)
        refused = run(root, "dvc", "repro", code=255)
        assert "failed to reproduce 'check'" in refused.stderr
        assert sum(line.startswith("error: params.yaml: ") for line in refused.stderr.splitlines()) == 1
        assert (root / "data/pairs/light/index.json").read_bytes() == index
        assert sorted(path.name for path in (root / "data/shards/light").iterdir()) == shards
        only = run(root, "python", "-m", "pipeline", "check", code=2)
        assert (only.stdout, only.stderr.count("\n")) == ("", 1)
    (root / "params.yaml").write_text(params.replace("lr: 2e-3", "lr: 1e-3"))
    again = run(root, "dvc", "repro", "pack").stdout
    assert [line for line in again.splitlines() if line.startswith("Running stage")] == ["Running stage 'check':"]
