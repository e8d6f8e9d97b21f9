"""The view of DVC's experiments: its rows from DVC's output, and from a real project without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.console import console
from pipeline.experiments import compare
from pipeline.experiments.compare import experiments
from rdmc.errors import ServiceError
from tests.support.project import run


def revision(rev: str, name: str | None, lr: float, psnr: float | None, error: str = "", **more: Any) -> dict[str, Any]:
    """A revision as ``dvc exp show --json`` has it."""
    overall = {"derained": {"psnr_y": psnr, "ssim_y": 0.9}, "gain_psnr_y": 2.5}
    metrics = {"metrics/evaluate.json": {"data": {"overall": overall}}} if psnr else {}
    params = {"params.yaml": {"data": {"seed": 0, "train": {"lr": lr}, "tune": {"space": {}}}}}
    data = None if error else {"params": params, "metrics": metrics, "deps": {"rdmc": {"hash": "1"}}}
    return {"rev": rev, "name": name, "data": data, "error": {"msg": error} if error else None, **more}


def started(*revisions: dict[str, Any], state: str | None = None) -> dict[str, Any]:
    return {"revs": list(revisions), "executor": {"state": state} if state else None}


SHOWN = [
    revision("workspace", None, 0.002, 31.0),
    revision("a" * 40, "main", 0.001, 30.0, experiments=[
        started(revision("b" * 40, "brave-seed", 0.004, 32.0)),
        started(revision("c" * 40, None, 0.001, None), state="Queued"),
        started(revision("d" * 40, "bad-luck", 0.001, None, error="it broke")),
    ]),
    revision("e" * 40, "eeeeeee", 0.5, 20.0),
    revision("f" * 40, "fffffff", 0.5, 20.0, experiments=[started(revision("0" * 40, "old-one", 0.25, 21.0))]),
]  # fmt: skip


def test_the_rows_are_the_files_here_the_commit_and_experiments_with_what_changed() -> None:
    rows = list(experiments(SHOWN))
    assert [(row.name, row.kind, row.state, row.changed) for row in rows] == [
        ("workspace", "workspace", "workspace", {"train.lr": 0.002}),
        ("main", "commit", "commit", {}),
        ("brave-seed", "experiment", "done", {"train.lr": 0.004}),
        ("ccccccc", "experiment", "queued", {}),
        ("bad-luck", "experiment", "failed", {}),
        ("fffffff", "commit", "commit", {}),
        ("old-one", "experiment", "done", {"train.lr": 0.25}),
    ]
    assert rows[2].figures == {"test PSNR-Y": 32.0, "gain": 2.5, "test SSIM-Y": 0.9, "validation PSNR-Y": None}
    assert set(rows[3].figures.values()) == {None}


def test_the_table_is_narrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(compare, "shown_by_dvc", lambda _: SHOWN)
    monkeypatch.setattr(console, "width", 110)
    compare.run()
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "brave-seed" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["brave-seed", "done", "32.00", "+2.50", "0.9000", "-", "train.lr=0.004"]
    assert "dvc exp apply NAME" in shown
    compare.run(as_json=True)
    assert [row["name"] for row in json.loads(capsys.readouterr().out)][:3] == ["workspace", "main", "brave-seed"]


def test_a_real_project_without_experiments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ServiceError, match="^dvc exp show: .*; run this in a git checkout of the project$"):
        compare.run(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/evaluate.json").write_text('{"overall": {"derained": {"psnr_y": 25.5, "ssim_y": 0.9}}}')
    (tmp_path / "dvc.yaml").write_text("metrics: [metrics/evaluate.json]\n")
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    run(tmp_path, "git", "add", "-A")
    run(tmp_path, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "first")
    (tmp_path / "params.yaml").write_text("seed: 2\n")
    compare.run(tmp_path)
    shown = capsys.readouterr().out
    assert "25.50" in shown
    assert "seed=2" in shown
    assert "no experiment yet; make one:  dvc exp run -S train.lr=1e-3" in shown
