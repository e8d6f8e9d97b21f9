"""The files of a comparison: JSON, Markdown with and without markers, HTML that loads nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.comparison.entrants import Entrant
from pipeline.comparison.leaderboard import board
from pipeline.comparison.measure import Outcome
from pipeline.comparison.report import Comparison, check_markdown, html, markdown, plain, show, write_json, write_markdown
from pipeline.comparison.sets import pair_sets
from rdmc.errors import ConfigError
from rdmc.quality.conventions import NAMES, Fidelity
from tests.support.comparison import CPU, pair_folder, small_network

MARKED = "# Page\n\n<!-- leaderboard: begin -->\nold\n<!-- leaderboard: end -->\n\nAfter.\n"


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    data = pair_sets([str(pair_folder(tmp_path / "set", 3))], None)[0]
    models = [Entrant("a|<b>", "here", "1", small_network()), Entrant("rainy", "the input", "")]
    psnr = {"a|<b>": [30.0, 31.0, math.inf], "rainy": [20.0, 21.0, 22.0]}
    every = {
        label: [Outcome(dict.fromkeys(NAMES, Fidelity(one, 0.9)), 0.1) for one in values] for label, values in psnr.items()
    }
    return Comparison(models, [board(data, models, every)], {"a|<b>": 50.0}, 1024, CPU)


def test_json_has_every_image_and_no_number_that_is_not_finite(found: Comparison, tmp_path: Path) -> None:
    write_json(found, tmp_path / "out/found.json")
    content = json.loads((tmp_path / "out/found.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content == json.loads(json.dumps(plain(found)))
    (data,) = content["data"]
    assert [model["model"] for model in data["models"]] == ["a|<b>", "rainy"]
    first = data["models"][0]
    assert first["means"]["y-cut"] == {"psnr": 30.5, "ssim": pytest.approx(0.9), "images": 3, "identical": 1}
    assert first["images"]["2"]["rgb"] == {"psnr": None, "ssim": 0.9}
    assert content["models"][0]["parameters"] > 0
    assert data["pairs"] == 3


def test_perceptual_measures_are_in_every_form(found: Comparison) -> None:
    assert "DISTS" not in markdown(found)
    label = found.models[0].label
    outcomes = {one.label: list(one.outcomes) for one in found.boards[0].standings}
    outcomes[label] = [replace(one, perceptual={"DISTS": 0.25}) for one in outcomes[label]]
    seen = replace(
        found, boards=[board(found.boards[0].data, found.models, outcomes)], measures={"DISTS": f"{'a' * 64} {'b' * 64}"}
    )
    for text in (markdown(seen), html(seen)):
        assert "lower is better" in text
        assert "0.2500" in text
        assert "DISTS by weights aaaaaaaaaaaa and bbbbbbbbbbbb" in text
    (data,) = plain(seen)["data"]
    first = next(one for one in data["models"] if one["model"] == label)
    assert first["perceptual"]["DISTS"]["mean"]["mean"] == 0.25
    assert first["perceptual"]["DISTS"]["images"] == 3
    assert first["images"]["0"]["DISTS"] == 0.25
    assert plain(seen)["conditions"]["perceptual measures, SHA-256 of their weights"]["DISTS"].startswith("aaa")


def test_markdown_is_a_page_or_fills_one(found: Comparison, tmp_path: Path) -> None:
    write_markdown(found, tmp_path / "new.md")
    assert (tmp_path / "new.md").read_text() == markdown(found)
    assert "| a\\|<b> | 30.50 |" in markdown(found)
    page = tmp_path / "page.md"
    page.write_text(MARKED)
    write_markdown(found, page)
    text = page.read_text()
    assert text.startswith("# Page\n\n<!-- leaderboard: begin -->\nMeasured on ")
    assert text.endswith("<!-- leaderboard: end -->\n\nAfter.\n")
    assert "old" not in text
    page.write_text("# No markers\n")
    with pytest.raises(ConfigError, match="needs the lines <!-- leaderboard: begin -->"):
        check_markdown(page)
    check_markdown(tmp_path / "none.md")


def test_html_escapes_and_loads_nothing(found: Comparison) -> None:
    text = html(found)
    assert "a|&lt;b&gt;" in text
    assert "<b>" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert " src=" not in text
    assert "default-src 'none'" in text


def test_the_leaderboard_is_shown(found: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    show(found)
    shown = capsys.readouterr().out
    assert "set: 3 pairs" in shown
    assert "GFLOP" in shown
    assert "measured on CPU" in shown
