"""``baseline`` in real git repositories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.experiments import baseline
from pipeline.versioning.git import git
from rdmc.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with fresh results, a changed params.yaml and a staged file; none of it is committed."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    for name, value in (("user.name", "ada"), ("user.email", "ada@localhost"), ("user.useConfigOnly", "true")):
        git(root, "config", name, value)
    (root / "params.yaml").write_text("seed: 0\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "before")
    for folder in ("metrics", "plots/pictures"):
        (root / folder).mkdir(parents=True)
    means = {"overall": {"derained": {"psnr_y": 32.297}, "gain_psnr_y": 6.667}}
    (root / "metrics/evaluate.json").write_text(json.dumps(means))
    (root / "plots/history.csv").write_text("step\n1\n")
    (root / "plots/.gitignore").write_text("/pictures\n")
    (root / "plots/pictures/a.png").write_text("not for git")
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    (root / "params.yaml").write_text("seed: 1\n")
    (root / "notes.txt").write_text("mine")
    git(root, "add", "notes.txt")
    return root


def committed(root: Path) -> list[str]:
    return git(root, "show", "--name-only", "--format=", "HEAD").splitlines()


def test_the_results_are_committed_and_nothing_else(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline.run(project)
    assert committed(project) == ["dvc.lock", "metrics/evaluate.json", "plots/.gitignore", "plots/history.csv"]
    assert git(project, "log", "-1", "--format=%s") == "Baseline: 32.30 dB PSNR-Y on the test images, +6.67 dB"
    assert git(project, "status", "--porcelain").splitlines() == ["A  notes.txt", " M params.yaml"], "what is staged stays so"
    shown = capsys.readouterr().out
    assert "baseline: " in shown
    assert "commit it too:  git commit params.yaml" in shown
    with pytest.raises(ConfigError, match=r"nothing to commit as a baseline: equal to commit [0-9a-f]+, Baseline: 32.30 dB"):
        baseline.run(project)


def test_a_changed_metric_is_committed_alone(project: Path) -> None:
    baseline.run(project)
    (project / "metrics/evaluate.json").write_text("not JSON")
    baseline.run(project)
    assert (committed(project), git(project, "log", "-1", "--format=%s")) == (["metrics/evaluate.json"], "Baseline")


def test_without_results_or_outside_of_git_it_is_refused_in_one_line(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="empty: no git checkout, so nothing can be committed; run `git init` here"):
        baseline.run(empty)
    git(empty, "init", "-q")
    with pytest.raises(
        ConfigError, match="dvc.lock, metrics, plots: nothing to commit as a baseline: none is here, run make repro"
    ):
        baseline.run(empty)


def test_a_user_whom_git_does_not_know_is_told_what_to_set(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scope in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{scope}", "/dev/null")
    git(project, "config", "--unset", "user.email")
    with pytest.raises(ConfigError, match="git config user.email"):
        baseline.run(project)


def test_the_hint_names_what_is_not_committed(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline.hint(project)
    shown = capsys.readouterr().out
    assert "not committed: dvc.lock, metrics, plots." in shown
    assert "make baseline" in shown
    baseline.run(project)
    capsys.readouterr()
    baseline.hint(project)
    baseline.hint(tmp_path)
    assert capsys.readouterr().out == "", "nothing to commit, or no git"
