"""benchmarks.equal_time with tiny networks and a few steps: what it trains, what it resumes, and what its tables say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import equal_time
from benchmarks.equal_runs import entry, parse_overrides, step_seconds, train_and_test
from benchmarks.equal_table import markdown, mean_and_spread
from pipeline.config.paths import Paths
from rdmc.data.loader import PairStore
from rdmc.datasets.rain import render
from rdmc.errors import ConfigError
from tests.support.data import make_dataset, scene, tiny_params, write_tiny_params
from tests.support.imports import ROOT

SMALL = {"network.width": 3, "network.depth": 2, "network.refine": 0, "network.unet.width": 4, "train.lr": 3e-3}


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    """A params file of tiny networks."""
    path = tmp_path / "params.yaml"
    write_tiny_params(path, {**SMALL, "architecture": str(ROOT / "architectures/full")})
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder like Rain800's: files with the clean image left of the rainy one."""
    for split, numbers in (("train", range(4)), ("test", range(10, 12))):
        (tmp_path / "pairs" / split).mkdir(parents=True)
        for number in numbers:
            clean = scene(number, 64, 64)
            both = np.concatenate([clean, render(clean, "light", (number,))], 1)
            cv2.imwrite(str(tmp_path / "pairs" / split / f"{number}.jpg"), both[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    return tmp_path / "pairs"


def run(tmp_path: Path, *options: str) -> dict[str, Any]:
    """Run the command on the small pairs. Returns the JSON that it wrote."""
    fixed = ["--data", "rain800", "--pairs", str(tmp_path / "pairs"), "--work", str(tmp_path / "work")]
    equal_time.main([*fixed, "--params", str(tmp_path / "params.yaml"), "--json", str(tmp_path / "made.json"), *options])
    found: dict[str, Any] = json.loads((tmp_path / "made.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.soak
def test_a_later_run_adds_seeds_and_networks(
    tmp_path: Path, params_file: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first training is in a fresh process; the others are in this one, which is faster."""
    first = run(tmp_path, "--steps", "3", "--kinds", "rdmc")
    monkeypatch.setattr(equal_time, "in_fresh_process", train_and_test)
    options = ("--steps", "3", "--kinds", "rdmc", "unet", "--variant", "one-pass", "network.passes=1", "--seeds", "0", "1")
    second = run(tmp_path, *options)
    assert second["results"]["rdmc"]["0"] == first["results"]["rdmc"]["0"], "it was not trained again"
    assert {name: sorted(found) for name, found in second["results"].items()} == {
        "rdmc": ["0", "1"],
        "unet": ["0", "1"],
        "one-pass": ["0", "1"],
    }
    results = second["results"]
    assert [results[name]["0"]["lr"] for name in ("rdmc", "unet", "one-pass")] == [3e-3, 2e-3, 3e-3]
    assert [results[name]["0"]["steps"] for name in results] == [3, 3, 3]
    assert results["one-pass"]["0"]["network"]["passes"] == 1
    assert results["rdmc"]["0"]["loss"] != results["rdmc"]["1"]["loss"], "another seed is another training"
    figures = results["rdmc"]["0"]["datasets"]["rain800"]
    assert sorted(figures["gains"]) == ["rain800/10", "rain800/11"]
    mean = sum(figures["gains"].values()) / 2
    assert figures["derained"]["psnr_y"] - figures["rainy"]["psnr_y"] == pytest.approx(mean)
    shown = capsys.readouterr().out
    assert "rain800 (2)" in shown
    assert "rdmc minus" in shown
    run(tmp_path, *options)
    assert "steps\n" not in capsys.readouterr().out.replace(shown, ""), "nothing is left to train"
    with pytest.raises(ConfigError, match="results with other settings; name another file with --json"):
        run(tmp_path, "--steps", "4")
    with pytest.raises(ConfigError, match="has one-pass with other params; rename it"):
        run(tmp_path, "--steps", "3", "--variant", "one-pass", "network.passes=2")


@pytest.mark.slow
def test_minutes_become_steps_by_the_time_of_a_step(
    tmp_path: Path, params_file: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, int] = {}

    def train(params: Any, *_: Any) -> dict[str, Any]:
        taken[params.network.kind] = params.train.steps
        return train_and_test(params, *_)

    monkeypatch.setattr(equal_time, "in_fresh_process", train)
    monkeypatch.setattr(equal_time, "step_seconds", lambda recipes, _: dict(zip(recipes, (0.5, 0.25), strict=False)))
    options = ("--minutes", "0.05", "--split", "validation", "--test", "1")
    found = run(tmp_path, "--kinds", "rdmc", "unet", *options)
    assert taken == {"rdmc": 6, "unet": 12}
    assert len(found["results"]["unet"]["0"]["datasets"]["rain800"]["gains"]) == 1
    monkeypatch.setattr(equal_time, "step_seconds", lambda recipes, _: dict(zip(recipes, (1.0, 0.5, 0.5), strict=True)))
    found = run(tmp_path, "--kinds", "--variant", "wide", "network.width=4", *options)
    assert found["step_seconds"] == {"rdmc": 0.5, "unet": 0.25, "wide": 0.25}, "in the machine's speed of the first timing"


@pytest.mark.slow
def test_steps_are_timed_and_datasets_measured_apart(tmp_path: Path) -> None:
    paths, params = Paths(tmp_path), tiny_params({**SMALL, "train.steps": 30})
    folders = [paths.shards(name) for name in ("light", "heavy")]
    for name in ("light", "heavy"):
        make_dataset(paths, name)
    times = step_seconds({"a": params}, PairStore(folders, "train"))
    assert 0 < times["a"] < 60
    found = train_and_test(params, folders, "test", 0)["datasets"]
    assert {name: len(one["gains"]) for name, one in found.items()} == {"light": 2, "heavy": 2, "overall": 4}
    for side in ("rainy", "derained"):
        both = (found["light"][side]["psnr_y"] + found["heavy"][side]["psnr_y"]) / 2
        assert found["overall"][side]["psnr_y"] == pytest.approx(both)


def test_a_network_has_its_own_rate_unless_another_is_given() -> None:
    params = tiny_params({"train.lr": 3e-3})
    assert entry(params, {"network.kind": "rdmc"}).lr == 3e-3
    assert entry(params, {"network.kind": "prenet"}).lr == 1e-3
    assert entry(params, {"network.kind": "unet"}, 7e-4).lr == 7e-4
    changed = entry(params, parse_overrides("network.kind=unet,train.lr=5e-4"))
    assert (changed.lr, changed.overrides) == (5e-4, {"network.kind": "unet"})


def test_params_of_a_variant() -> None:
    text = "network.passes=1,network.connections=[input->dec1,enc1->dec2],loss.prior=infonce"
    assert parse_overrides(text) == {
        "network.passes": 1,
        "network.connections": ["input->dec1", "enc1->dec2"],
        "loss.prior": "infonce",
    }
    for wrong in ("network.passes", "=1", "network.passes=[1"):
        with pytest.raises(ConfigError, match="key=value|not YAML"):
            parse_overrides(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--variant", "unet", "network.passes=1"], "'unet': is the name of two networks; rename the variant"),
        (["--lr", "vnet=1e-3"], r"--lr vnet: is not one of the networks \(rdmc, unet, prenet\)"),
        (["--variant", "x", "network.pases=1"], "network.pases: no such param"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        equal_time.entries(equal_time.parsed(options), tiny_params())


def _result(gains: list[float], psnr: float) -> dict[str, Any]:
    rainy = {"psnr_y": 20.0, "ssim_y": 0.5, "psnr_rgb": 19.0}
    derained = {"psnr_y": psnr, "ssim_y": 0.75, "psnr_rgb": psnr - 1}
    light = {"rainy": rainy, "derained": derained, "gains": {f"light/{n}": gain for n, gain in enumerate(gains)}}
    facts = {"parameters": 12_000, "gflop": 1.25, "lr": 1e-3, "steps": 9, "seconds": 30.0}
    return {**facts, "datasets": {"light": light}}


def test_the_tables_have_mean_and_spread_over_seeds_and_differences_by_seed() -> None:
    ours = {"0": _result([1.0, 3.0], 22.0), "1": _result([-1.0, 7.0], 23.0)}
    theirs = {"0": _result([2.0, 3.0], 22.5), "1": _result([1.0, 1.0], 21.0), "2": _result([9.0, 9.0], 29.0)}
    shown = markdown({"rdmc": ours, "unet": theirs}, {"rdmc": 0.1}, [0, 1])
    assert "| rdmc | 12 k | 1.25 | 0.001 | 100 | 9 | 30 (30 to 30) |" in shown
    assert "| light (2) | rainy |  |  | 20.00 | 0.5000 | 19.00 |  |" in shown
    assert "| light | rdmc | 2 | +2.50 (+2.00 to +3.00) | 22.50 | 0.7500 (0.7500 to 0.7500) | 21.50 (21.00 to 22.00) |" in shown
    assert "| +0.00 (-1.00 to +1.00) |" in shown, "the worst gain of an image"
    assert "| unet | light | 2 | +0.75 (-0.50 to +2.00) | +0.0000 (+0.0000 to +0.0000) | 1 of 2 |" in shown
    assert "29.00" not in shown, "a seed that was not asked for"


def test_a_single_value_has_no_spread() -> None:
    assert mean_and_spread([1.25], ".1f") == "1.2"
    assert mean_and_spread([-0.001], "+z.2f") == "+0.00"
