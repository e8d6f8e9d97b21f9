"""``compare`` as a whole: on a folder without a project, and on a project's dataset; targets that cannot be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.comparison.run import Targets, run
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from rdmc.errors import CheckpointError, ConfigError
from rdmc.metrics import psnr_y
from rdmc.quality.perceptual import PerceptualFiles, load_measures
from tests.support.comparison import pair_folder
from tests.support.imports import ROOT
from tests.support.perceptual import weight_files

RAIN100L = ROOT.parent / "shared/data/rain100l"
RAIN800 = ROOT.parent / "shared/data/rain800"
needs_data = pytest.mark.skipif(not RAIN800.is_dir(), reason="needs ../shared/data")


def test_a_folder_and_a_dataset_are_compared(
    tmp_path: Path,
    params: Params,
    make_workspace: Callable[..., Paths],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = Project(params, Settings(data=str(tmp_path), gpu=False), make_workspace(tmp_path, tests=(2, 0)))
    folder = pair_folder(tmp_path / "own", 2)
    monkeypatch.setattr("pipeline.comparison.run.peak_mb", lambda *_: 12.0)  # test_memory.py measures it
    targets = Targets(tmp_path / "a.json", tmp_path / "a.md", tmp_path / "a.html")
    found = run([str(tmp_path)], ["light", str(folder)], targets, project.settings, project)
    assert [board.data.name for board in found.boards] == ["light", "own"]
    content = json.loads(targets.json.read_text()) if targets.json else {}
    rainy = next(one for one in content["data"][1]["models"] if one["model"] == "rainy")
    pair = found.boards[1].data.pairs[0]
    assert rainy["images"]["0"]["y"]["psnr"] == pytest.approx(psnr_y(pair.rainy, pair.clean))
    assert all(path.is_file() for path in targets.written())
    assert "own: 2 pairs" in capsys.readouterr().out
    assert list((tmp_path / ".cache/measured").iterdir())


def test_lpips_by_weights_of_a_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = weight_files(tmp_path)
    given = PerceptualFiles(files.alex, alexnet=files.alexnet)
    folder, settings = str(pair_folder(tmp_path / "own", 2)), Settings(data=str(tmp_path), gpu=False)
    found = run(["rainy"], [folder], Targets(), settings, weights=given)
    pair = found.boards[0].data.pairs[1]
    (lpips,) = load_measures(given)
    (rainy,) = found.boards[0].standings
    assert rainy.outcomes[1].perceptual["LPIPS-alex"] == pytest.approx(lpips.measure(pair.rainy, pair.clean))
    assert set(rainy.perceptual) == set(found.measures) == {"LPIPS-alex"}
    assert "LPIPS-alex by weights" in capsys.readouterr().out
    monkeypatch.setattr("pipeline.comparison.run.pair_sets", lambda *_: pytest.fail("work began"))
    with pytest.raises(CheckpointError, match="alexnet.pth: its channel weights are missing"):
        run(["rainy"], [folder], Targets(), settings, weights=PerceptualFiles(files.alexnet, alexnet=files.alexnet))


def test_a_target_that_cannot_be_written_is_refused_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.comparison.run.outcomes", lambda *_: pytest.fail("work began"))
    (tmp_path / "page.md").write_text("no markers")
    for targets, message in (
        (Targets(html=tmp_path), "is a folder; name a file"),
        (Targets(markdown=tmp_path / "page.md"), "needs the lines"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(["rainy"], [str(pair_folder(tmp_path / "set"))], targets, Settings(data=str(tmp_path)))


@needs_data
@pytest.mark.slow
def test_rainy_inputs_have_the_published_fingerprints(tmp_path: Path) -> None:
    """tests/rdmc/models/test_published.py has the figures of PReNet's outputs."""
    found = run(["rainy"], [str(RAIN100L), str(RAIN800)], Targets(), Settings(data=str(tmp_path)))
    half, whole = found.boards
    assert (half.data.name, len(half.images), half.data.whole) == ("rain100l", 50, False)
    assert (whole.data.name, len(whole.images), whole.data.whole) == ("rain800", 100, True)
    (rainy,) = half.standings
    assert rainy.means["y"].psnr == pytest.approx(27.38, abs=0.005)
    assert rainy.means["y"].ssim == pytest.approx(0.8425, abs=0.0001)
    (rainy,) = whole.standings
    assert rainy.means["y"].psnr == pytest.approx(22.59, abs=0.01)
    assert rainy.means["rgb"].psnr == pytest.approx(21.15, abs=0.01)
