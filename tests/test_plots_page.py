"""``dvc plots show`` with the plots of dvc.yaml and the page of .dvc: everything is drawn, and without a network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline.stages.train import HISTORY
from rdmc.data.images import write_png
from tests.support.browser import chromium, page
from tests.support.imports import ROOT
from tests.support.project import run

IMAGES = "dataset,image,rainy_psnr_y,derained_psnr_y,gain_psnr_y"
DECLARED = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page for three validations, three test images and one picture, in a folder of its own."""
    root = tmp_path_factory.mktemp("plots") / "project"
    (root / "plots/pictures").mkdir(parents=True)
    rows = [f"{step},1,{1 / step},0.001,{20 + step / 100},0.9" for step in (100, 200, 300)]
    (root / "plots/history.csv").write_text("\n".join([",".join(HISTORY), *rows]) + "\n")
    images = ["light,a,20,23,3", "light,b,22,21,-1", "heavy,<c>,15,20,5"]
    (root / "plots/images.csv").write_text("\n".join([IMAGES, *images]) + "\n")
    write_png(root / "plots/pictures/light-a.png", np.zeros((20, 30, 3), np.uint8))
    YAML().dump({"plots": DECLARED["plots"]}, root / "dvc.yaml")
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    for name in ("config", "plots.html"):
        shutil.copy(ROOT / ".dvc" / name, root / ".dvc" / name)
    run(root, "dvc", "plots", "show")
    return root / "dvc_plots/index.html"


def test_only_plots_with_a_meaning_are_declared() -> None:
    """A CSV that a stage declares as a plot would be drawn whole, one more time, with whatever its last column is."""
    assert not [name for name, stage in DECLARED["stages"].items() if "plots" in stage.get("do", stage)]
    columns = {
        column
        for plot in DECLARED["plots"]
        if isinstance(plot, dict)
        for rule in plot.values()
        for column in rule["y"].values()
    }
    assert columns == {"psnr_y", "loss", "gain_psnr_y"}


def test_the_page_asks_the_network_for_nothing(shown: Path) -> None:
    text = shown.read_text()
    assert "cdn" not in text
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]+)", text) == [
        "static/workspace_plots_pictures_light-a.png"
    ]
    assert (shown.parent / "static/workspace_plots_pictures_light-a.png").is_file()


@pytest.mark.skipif(not chromium(), reason="needs Chromium")
def test_a_browser_draws_every_plot_and_picture(shown: Path, tmp_path: Path) -> None:
    with page(shown.as_uri(), tmp_path) as found:
        titles = found.value("[...document.querySelectorAll('h2')].map(title => title.textContent)")
        assert titles == [next(iter(plot)) for plot in DECLARED["plots"] if isinstance(plot, dict)]
        count = "[...document.querySelectorAll('svg')].map(svg => svg.querySelectorAll('{}').length)"
        assert found.value(count.format("circle")) == [3, 3, 3]
        assert found.value(count.format("polyline")) == [1, 1, 0], "curves over the steps, a point for each image"
        assert found.value("document.querySelector('polyline').getAttribute('points').includes('NaN')") is False
        tips = found.value("[...document.querySelectorAll('circle title')].map(title => title.textContent)")
        assert sum("image: <c>" in tip for tip in tips) == 1, "a point says which image it is"
        text = found.value("document.body.innerText")
        assert all(name in text for name in ("● light", "● heavy", "PSNR-Y (dB)", "plots/pictures/light-a.png"))
        assert found.value("document.images[0].naturalWidth") == 30
        assert found.value("performance.getEntriesByType('resource').filter(one => !one.name.startsWith('file:')).length") == 0
