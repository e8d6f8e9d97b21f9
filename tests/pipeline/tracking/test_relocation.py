"""An embedded MLflow store that is moved, copied, or seen at another path keeps its artifacts in its own project."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from pipeline.config.settings import Settings
from pipeline.registry.client import registry
from pipeline.registry.publish import add_version, log_model, open_run
from pipeline.registry.versions import load_version, named_version
from pipeline.tracking.client import connect
from pipeline.tracking.relocation import relocate
from rdmc.errors import ServiceError
from tests.support.followed import write_small

Use = Callable[[Path], MlflowClient]
MODEL = "models:/rain@champion"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Connect to a project's store as a new command does: MLflow caches artifact places for as long as a process lives."""

    def enter(project: Path) -> MlflowClient:
        _artifact_repos_cache.clear()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
        return connect(Settings())

    return enter


@pytest.fixture
def project(tmp_path: Path, empty_store: Path, use: Use) -> Path:
    """A project whose store has a run with a text and a registered model, in a folder whose name needs quoting."""
    root = tmp_path / "my project"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    use(root)
    with registry(Settings()) as client:
        run_id = open_run(client, Settings(), None, "train", "a")
        client.log_text(run_id, "first", "note.txt")
        add_version(client, "rain", run_id, log_model(client, run_id, "rain", write_small(tmp_path / "small", 1), 0), {}, "")
        client.set_registered_model_alias("rain", "champion", "1")
    return root


def run_of(client: MlflowClient) -> str:
    return str(client.get_model_version("rain", "1").run_id)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in (root / "mlartifacts").rglob("*") if path.is_file()}


def test_a_moved_project_has_its_model_and_its_files(
    project: Path, tmp_path: Path, use: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    project.rename(moved)
    client = use(moved)
    shown = capfd.readouterr()
    assert f"moved from {project}" in shown.err
    assert shown.out == "", "a program that reads a command's output does not get it"
    load_version(named_version(MODEL, Settings()), Settings())
    assert Path(client.download_artifacts(run_of(client), "note.txt")).read_text() == "first"
    client.log_text(run_of(client), "second", "later.txt")
    assert any(name.endswith("later.txt") for name in files(moved))
    assert not project.exists(), "nothing is written to the old place"
    use(moved)
    assert "moved" not in capfd.readouterr().err, "it is said once"


def test_a_copy_never_touches_the_original(project: Path, tmp_path: Path, use: Use, capfd: pytest.CaptureFixture[str]) -> None:
    copy, before = tmp_path / "copy", files(project)
    subprocess.run(["cp", "-a", str(project), str(copy)], check=True)
    client = use(copy)
    assert f"copied from {project}" in capfd.readouterr().err
    client.log_text(run_of(client), "of the copy", "copy.txt")
    with registry(Settings()) as client:
        new = open_run(client, Settings(), None, "train", "b")
        client.log_text(new, "of the copy", "new.txt")
    assert files(project) == before
    assert len(files(copy)) == len(before) + 2
    shutil.rmtree(project / "mlartifacts")
    load_version(named_version(MODEL, Settings()), Settings())


def test_the_original_keeps_its_own_artifacts_after_a_copy(
    project: Path, tmp_path: Path, use: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project, tmp_path / "copy")
    use(tmp_path / "copy")
    capfd.readouterr()
    client = use(project)
    assert capfd.readouterr().err == ""
    client.log_text(run_of(client), "of the original", "original.txt")
    assert any(name.endswith("original.txt") for name in files(project))
    assert not any(name.endswith("original.txt") for name in files(tmp_path / "copy"))


def test_a_project_that_is_also_seen_at_another_path_is_left_alone(project: Path, tmp_path: Path, use: Use) -> None:
    other = tmp_path / "mounted"
    other.mkdir()
    shutil.copy(project / "mlflow.db", other / "mlflow.db")
    (other / "mlartifacts").symlink_to(project / "mlartifacts")  # the same folder by another path, as in a bind mount
    assert relocate(other / "mlflow.db") == ""
    client = use(other)
    assert Path(client.download_artifacts(run_of(client), "note.txt")).read_text() == "first"


def test_a_database_without_its_artifacts_names_the_folder_to_copy(project: Path, tmp_path: Path, use: Use) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(project / "mlflow.db", other / "mlflow.db")
    with pytest.raises(ServiceError, match=r"not beside it; copy that folder here too: cp -a .*my project/mlartifacts"):
        use(other)
    shutil.copytree(project / "mlartifacts", other / "mlartifacts")
    use(other)
    load_version(named_version(MODEL, Settings()), Settings())


def test_artifacts_in_a_bucket_and_a_linked_database_are_left_alone(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "linked"
    other.mkdir()
    (other / "mlflow.db").symlink_to(project / "mlflow.db")
    assert relocate(other / "mlflow.db") == ""
    with sqlite3.connect(project / "mlflow.db") as store:
        store.execute("UPDATE experiments SET artifact_location = 's3://rain/mlflow/mlartifacts'")
    store.close()
    assert relocate(project / "mlflow.db") == ""


def test_a_damaged_or_foreign_database_is_an_error_of_one_line_or_nothing(tmp_path: Path) -> None:
    assert relocate(tmp_path / "absent.db") == ""
    sqlite3.connect(tmp_path / "other.db").close()
    assert relocate(tmp_path / "other.db") == ""
    (tmp_path / "bad.db").write_bytes(b"not a database, whatever its name says" * 50)
    with pytest.raises(ServiceError, match=r"bad\.db: file is not a database; make it readable"):
        relocate(tmp_path / "bad.db")
