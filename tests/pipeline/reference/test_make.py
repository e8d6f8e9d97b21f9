"""``reference`` as a user runs it: killed and resumed, skipped where nothing changed, and apart from the user's own files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.reference import make
from rdmc.errors import ConfigError
from rdmc.reference import CARD, WEIGHTS, load_reference, reference_card
from tests.support.data import LIGHT, tiny_params, write_tiny_params
from tests.support.imports import ROOT

PATIENCE = 600
"""Seconds that a command may take."""
STEPS, EVERY = 120, 20
SKIPPED = "nothing has changed, skipped"
PAGE = "# Reference\n\n<!-- reference: begin -->\n<!-- reference: end -->\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A project's folder with params, a profile, and files of the user's own run."""
    write_tiny_params(tmp_path / "params.yaml", {**LIGHT, "train.validate_every": EVERY})
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/reference.yaml").write_text(f"train: {{steps: {STEPS}}}\n")
    (tmp_path / "page.md").write_text(PAGE)
    for name in ("data/pairs/light/mine.txt", "checkpoints/best/mine.txt", "metrics/mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("mine")
    return tmp_path


def start(home: Path, store: str, data: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the command with the project's params; its files are below ``data``."""
    own = {"RDMC_DATA": str(data), "RDMC_GPU": "false", "RDMC_WORKERS": "1", "MLFLOW_TRACKING_URI": store, "COLUMNS": "300"}
    command = [sys.executable, "-m", "pipeline", "reference", "--params", str(home / "params.yaml"), *options]
    with (data / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True)


def finish(home: Path, store: str, data: Path, *options: str) -> str:
    """Run the command to its end. Returns what it printed."""
    process = start(home, store, data, *options)
    try:
        assert process.wait(PATIENCE) == 0, (data / "log").read_text()
    finally:
        process.kill()
    return (data / "log").read_text()


def kill_after_validation(process: subprocess.Popen[bytes], data: Path) -> None:
    """Kill the driver once its journal has a validation."""
    end = time.monotonic() + PATIENCE
    while not any('"psnr_y"' in path.read_text() for path in (data / "runs/reference/runs").glob("*.jsonl")):
        assert process.poll() is None, (data / "log").read_text()
        assert time.monotonic() < end, (data / "log").read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
def test_it_resumes_after_a_kill_and_skips_what_is_finished(home: Path, store: str, tmp_path: Path) -> None:
    killed, straight = tmp_path, tmp_path / "straight"
    straight.mkdir()
    process = start(home, store, killed, "--out", str(killed / "out"))
    try:
        kill_after_validation(process, killed)
    finally:
        process.kill()
    assert not (killed / "out").exists()
    shown = finish(home, store, killed, "--out", str(killed / "out"), "--write", str(home / "page.md"))
    assert [f"{step}: {SKIPPED}" in shown for step in ("prepare light", "leaks", "pack light", "train", "evaluate")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert f"step {EVERY}/{STEPS}" not in shown, "it did not start from the first step"
    assert f"step {STEPS}/{STEPS}" in shown
    for name in ("data/pairs/light", "checkpoints/best", "metrics"):
        assert [path.name for path in (killed / name).iterdir()] == ["mine.txt"]

    card = reference_card(killed / "out")
    load_reference(killed / "out")
    assert (card.facts.training.steps, card.facts.training.params["train.steps"]) == (STEPS, STEPS)
    assert list(card.facts.training.datasets) == list(card.facts.data) == ["light"]
    manifest = json.loads((killed / "runs/reference/data/shards/light/manifest.json").read_text())
    assert manifest["dataset"] == "light"
    evaluated = json.loads((killed / "runs/reference/metrics/evaluate.json").read_text())["light"]
    assert card.facts.figures["light"].rainy_psnr_y == pytest.approx(evaluated["rainy"]["psnr_y"], abs=1e-4)
    assert card.facts.figures["light"].derained_psnr_y == pytest.approx(evaluated["derained"]["psnr_y"], abs=0.05)
    assert f"Version `{card.version}`" in (home / "page.md").read_text()

    before = {name: (killed / "out" / name).read_bytes() for name in (WEIGHTS, CARD)}
    shown = finish(home, store, killed, "--out", str(killed / "out"))
    assert shown.count(SKIPPED) == 5
    assert {name: (killed / "out" / name).read_bytes() for name in (WEIGHTS, CARD)} == before

    finish(home, store, straight, "--out", str(straight / "out"))
    assert reference_card(straight / "out").sha256 == card.sha256, "a resumed training gives the same weights"


@pytest.mark.parametrize(
    ("changes", "page", "message"),
    [
        ({"network.width": 40}, None, r"network: weights of .* bytes in float16 exceed 3,000,000"),
        ({}, "no markers", "page.md: needs the lines <!-- reference: begin -->"),
    ],
)
def test_what_cannot_end_well_is_refused_before_anything_starts(
    changes: dict[str, int], page: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "run_stages", lambda *_: pytest.fail("it was started"))
    params = tiny_params({**LIGHT, **changes, "architecture": str(ROOT / "architectures/full")})
    project = Project(params, Settings(), Paths(tmp_path / "project"))
    if page:
        (tmp_path / "page.md").write_text(page)
    with pytest.raises(ConfigError, match=message) as error:
        make.run(project, tmp_path / "out", tmp_path / "page.md" if page else None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "project").exists()
    assert not (tmp_path / "out").exists()
