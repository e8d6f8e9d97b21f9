"""``leaks``: the report on prepared datasets, plain folders, and what ``pack`` leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config.data import Layout, Leaks, Pack
from pipeline.config.paths import Paths
from pipeline.data.leak_report import draw_sheets, read_excluded
from pipeline.stages import leaks, pack
from rdmc.data.images import Image, as_png, encode_png, read_rgb
from rdmc.data.pairs import write_index, write_pair
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.datasets.leakage import Scene, Twin
from rdmc.errors import ConfigError, DataError
from tests.pipeline.cli.test_command_line import act

RULES = Leaks(exclude=True, score=0.4)


def scene(seed: int) -> Image:
    """An image with structure at every scale, (120, 160, 3)."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(0, 1, (n, n, 3)), (160, 120), interpolation=cv2.INTER_CUBIC) for n in (3, 6, 12, 48)]
    return np.asarray(128 + 30 * np.sum(layers, 0)).clip(0, 255).astype(np.uint8)


def mirrored(seed: int) -> Image:
    return np.ascontiguousarray(scene(seed)[2:-3, ::-1])


def prepared(paths: Paths, name: str, pictures: dict[str, Image], scenes: dict[str, str] | None = None) -> None:
    """Write pairs as ``prepare`` does. A picture's key is split/name; its scene is its name unless ``scenes`` has another."""
    folder, entries = paths.pairs(name), []
    for key, clean in pictures.items():
        split, pair = key.split("/")
        entries.append(write_pair(folder, split, pair, (scenes or {}).get(key, pair), as_png(255 - clean), as_png(clean)))
    write_index(folder, name, entries, len(entries), [])


def report(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Two datasets. Training pairs of one show, mirrored and cut, a test scene of the other and its own validation."""
    made = Paths(tmp_path)
    light = {"train/a": scene(1), "train/b-1": mirrored(2), "train/b-2": mirrored(2), "test/c": scene(3), "test/d": scene(3)}
    prepared(made, "light", light, {"train/b-1": "b", "train/b-2": "b"})
    heavy = {
        "train/a": scene(1),
        "train/e": scene(5),
        "validation/v": mirrored(5),
        "test/t": scene(2),
        "validation/w": scene(2),
    }
    prepared(made, "heavy", heavy)
    return made


def test_the_report_of_prepared_datasets(paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaks.run(["heavy", "light"], RULES, paths, tmp_path / "sheets")
    found = report(paths.leaks)
    pairs = {
        (leak["first"]["dataset"], leak["first"]["name"], leak["second"]["dataset"], leak["second"]["name"])
        for leak in found["leaks"]
    }
    assert pairs == {
        ("heavy", "e", "heavy", "v"),
        ("heavy", "w", "heavy", "t"),
        ("light", "b", "heavy", "t"),
        ("light", "b", "heavy", "w"),
    }
    b = next(leak for leak in found["leaks"] if leak["first"]["name"] == "b")
    assert (b["first"]["pairs"], b["view"]) == (["b-1", "b-2"], "mirrored")
    (duplicate,) = found["duplicates"]
    assert [duplicate[side]["name"] for side in ("first", "second")] == ["c", "d"]
    counted = {(row["dataset"], row["split"]): (row["images"], row["scenes"], row["leaking"]) for row in found["splits"]}
    assert counted == {
        ("heavy", "train"): (2, 2, 1),
        ("heavy", "validation"): (2, 2, 1),
        ("heavy", "test"): (1, 1, 0),
        ("light", "train"): (2, 2, 1),
        ("light", "test"): (2, 1, 0),
    }
    assert found["set_aside"] == []
    shown = capsys.readouterr().out
    assert all(
        text in shown for text in ("leaks: 4 in two splits", "leaks: 1 twice in one", "light/b", "mirrored", "sheet-000.png")
    )
    assert read_rgb(tmp_path / "sheets/sheet-000.png").std() > 20


def test_leaking_pairs_are_not_packed(paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaks.run(["heavy", "light"], RULES, paths)
    for name in ("heavy", "light"):
        pack.run(name, paths.pairs(name), Pack(shard_mb=1, pixels="original"), paths.shards(name), paths.leaks)
    heavy, light = (read_manifest(paths.shards(name) / MANIFEST) for name in ("heavy", "light"))
    kept = {split: [sample.key for _, sample in heavy.samples(split)] for split in ("train", "validation", "test")}
    assert kept == {"train": ["a"], "validation": ["v"], "test": ["t"]}
    assert [sample.key for _, sample in light.samples("train")] == ["a"]
    assert len(light.samples("test")) == 2  # a duplicate is reported, but kept
    assert set(heavy.excluded) == {"train/e", "validation/w"}
    assert set(light.excluded) == {"train/b-1", "train/b-2"}
    assert heavy.excluded["train/e"].startswith("shows v, validation of heavy (score ")
    assert f"light: left out 2 of 5 pairs that leak; {paths.leaks}" in capsys.readouterr().out.replace("\n", "")
    pack.run("light", paths.pairs("light"), Pack(shard_mb=1, pixels="original"), tmp_path / "all")
    everything = read_manifest(tmp_path / "all" / MANIFEST)
    assert len(everything.samples("train")) == 3
    assert everything.excluded == {}
    assert everything.digest != light.digest


def test_a_dataset_whose_training_pairs_all_leak_is_refused(paths: Paths) -> None:
    prepared(paths, "mine", {"train/x": scene(2), "validation/w": scene(8)})
    leaks.run(["heavy", "mine"], RULES, paths)
    with pytest.raises(
        DataError, match=r"mine: every training pair shows a scene of a validation or test .*leaks\.exclude: false"
    ):
        pack.run("mine", paths.pairs("mine"), Pack(shard_mb=1, pixels="original"), paths.shards("mine"), paths.leaks)


def test_a_missing_or_damaged_report_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; run `dvc repro leaks` or set leaks\.exclude: false"):
        read_excluded(tmp_path / "none.json", "light")
    for text in ("", "[]", '{"version": 2}', '{"version": 1, "leaks": [{}]}', '{"version": 1, "leaks": 3}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match=r"bad\.json: damaged .*; run `dvc repro -f leaks`") as caught:
            read_excluded(tmp_path / "bad.json", "light")
        assert "\n" not in str(caught.value)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Plain folders: pairs side by side; clean images that share a scene with them; images that do not."""
    pictures = {
        "both": {f"{i}.png": np.hstack([scene(i), scene(i + 100)]) for i in range(3)},
        "one": {"x.png": mirrored(1), "y.png": scene(7)},
        "none": {"z.png": scene(9), "rain-z.png": scene(0)},
    }
    for name, images in pictures.items():
        (tmp_path / name).mkdir()
        for file, pixels in images.items():
            (tmp_path / name / file).write_bytes(encode_png(pixels))
    return {name: str(tmp_path / name) for name in pictures}


def test_plain_folders_are_compared(places: dict[str, str], tmp_path: Path) -> None:
    (Path(places["one"]) / "notes.txt").write_text("rain")
    assert leaks.check([places["both"]], [places["one"]], [Layout.CLEAN_LEFT, Layout.CLEAN], 0.4, tmp_path / "r.json")
    found = report(tmp_path / "r.json")
    assert [(leak["first"]["file"], leak["second"]["name"]) for leak in found["leaks"]] == [
        (f"{places['both']}/1.png", "x.png")
    ]
    assert [Path(fault["file"]).name for fault in found["set_aside"]] == ["notes.txt"]
    assert not leaks.check([places["both"]], [places["one"]], [Layout.CLEAN_RIGHT, Layout.CLEAN], 0.4)
    assert not leaks.check([places["both"]], [f"{places['none']}/z*"], [Layout.CLEAN_LEFT, Layout.CLEAN], 0.4)
    assert leaks.check([places["none"]], [places["none"]], [Layout.CLEAN], 0.4)
    assert not leaks.check([], [places["none"], places["none"]], [Layout.CLEAN], 0.4)  # two tests may share scenes


def test_wrong_arguments_are_errors_of_one_line(places: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--layout: given 2 times for 3 folders"):
        leaks.check([places["both"]], [places["one"], places["none"]], [Layout.CLEAN] * 2, 0.4)
    with pytest.raises(DataError, match="nowhere: no files"):
        leaks.check([str(tmp_path / "nowhere")], [places["one"]], [Layout.CLEAN], 0.4)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"bad: no image of test can be read \(first: a\.png zero bytes"):
        leaks.check([places["both"]], [str(tmp_path / "bad")], [Layout.CLEAN], 0.4)
    with pytest.raises(DataError, match=r"index\.json: no such file; run `dvc repro prepare`"):
        leaks.run(["light"], RULES, Paths(tmp_path / "w"))


def test_exit_codes_of_the_command(places: dict[str, str], tmp_path: Path) -> None:
    both, one, none = (places[name] for name in ("both", "one", "none"))
    layout = ["--layout", "clean-left", "--layout", "clean"]
    done = act("leaks", "--train", both, "--test", one, *layout, "--json", f"{tmp_path}/r.json", "--pictures", f"{tmp_path}/p")
    assert (done.returncode, done.stderr) == (3, "")
    assert "leaks: 1 in two splits" in done.stdout
    assert len(report(tmp_path / "r.json")["leaks"]) == len(list((tmp_path / "p").iterdir())) == 1
    done = act("leaks", "--train", both, "--test", f"{none}/z*", *layout)
    assert (done.returncode, done.stderr) == (0, "")
    done = act("leaks", "--train", both, "--test", f"{tmp_path}/nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_sheets_hold_twelve_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(scene(0)))
    a = Scene("mine", "train", "a", tmp_path / "a.png")
    drawn = draw_sheets(tmp_path / "sheets", [Twin(a, a, "leak", "as it is", 1.0)] * 13)
    assert [path.name for path in drawn] == ["sheet-000.png", "sheet-001.png"]
    whole, rest = (read_rgb(path) for path in drawn)
    assert whole.shape[0] == 6 * rest.shape[0]
