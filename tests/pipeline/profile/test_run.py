"""``profile``: where it writes, and what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.profile import run as command
from tests.support.data import tiny_params

SIDE = {"psnr_y": 20.0, "ssim_y": 0.5}
METRICS = {"light": {"images": 3, "rainy": SIDE, "derained": {"psnr_y": 22.5, "ssim_y": 0.75}, "gain_psnr_y": 2.5}}


def test_the_stages_run_in_a_folder_of_the_profile_and_the_gains_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_stages(project: Project[Params]) -> None:
        assert project.paths.root == tmp_path / "runs/quick"
        project.paths.evaluate_metrics.parent.mkdir(parents=True)
        project.paths.evaluate_metrics.write_text(json.dumps(METRICS))

    monkeypatch.setattr(command, "run_stages", run_stages)
    command.run(Project(tiny_params(), Settings(), Paths(tmp_path)), "quick")
    shown = " ".join(capsys.readouterr().out.split())
    assert "profile quick: mean over test images" in shown
    assert "+2.50" in shown
    assert str(tmp_path / "runs/quick/plots/pictures") in shown
    assert command.rows(METRICS) == [["light", "3", "20.00", "22.50", "+2.50", "0.5000", "0.7500"]]
