"""``prepare``: pairs from photographs, folders and benchmarks, the checks, and datasets that are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import TypeAdapter

from pipeline.config.data import Dataset, Embedded, Folders, Prepare, Published
from pipeline.stages import prepare
from rdmc.data.images import encode_png, read_rgb
from rdmc.data.pairs import read_index
from rdmc.datasets import embedded
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.errors import ConfigError, DataError
from rdmc.metrics import psnr_y
from tests.support.data import FEW

STRICT, LENIENT = Prepare(max_quarantined=0.0), Prepare(max_quarantined=1.0)


def folders(**splits: Any) -> Dataset:
    parsed: Dataset = TypeAdapter(Dataset).validate_json(json.dumps({"source": "folders", **splits}))
    return parsed


def noise(seed: int, height: int = 20, width: int = 24) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_pairs(folder: Path, count: int, seed: int = 0) -> dict[str, str]:
    """Write ``count`` good pairs below ``folder`` and return their globs."""
    for half in ("rain", "clean"):
        (folder / half).mkdir(parents=True)
        for i in range(count):
            (folder / half / f"{half}-{i:02d}.png").write_bytes(encode_png(noise(seed + i + 100 * (half == "rain"))))
    return {"rainy": f"{folder}/rain/*", "clean": f"{folder}/clean/*"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    return tmp_path / "mine", write_pairs(tmp_path / "mine", 10)


def quarantined(out: Path) -> dict[str, str]:
    return {
        Path(fault["file"]).name: fault["reason"] for fault in json.loads((out / "quarantine.json").read_text())["quarantined"]
    }


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few embedded photographs. Jobs carry their photograph, so this holds for other processes too."""
    monkeypatch.setattr(embedded, "PHOTOS", tuple(photo for photo in PHOTOS if photo.name in FEW))


@pytest.mark.usefixtures("few")
def test_the_embedded_dataset_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    dataset = Embedded(source="embedded", rain="light", variants=2)
    prepare.run("light", dataset, STRICT, 0, tmp_path / "one", processes=1)
    prepare.run("light", dataset, STRICT, 0, tmp_path / "two", processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    entries = read_index(tmp_path / "one")
    assert [sum(entry.split == split for entry in entries) for split in ("train", "validation", "test")] == [8, 2, 2]
    scenes = [{entry.scene for entry in entries if entry.split == split} for split in ("train", "validation", "test")]
    assert not scenes[0] & scenes[1] | scenes[0] & scenes[2] | scenes[1] & scenes[2]
    assert len({entry.sha256_rainy for entry in entries}) == len(entries)


@pytest.mark.usefixtures("few")
def test_without_variants_the_embedded_dataset_only_validates_and_tests(tmp_path: Path) -> None:
    prepare.run("light", Embedded(source="embedded", rain="light", variants=0), STRICT, 0, tmp_path / "out", processes=1)
    found = [(entry.name, entry.split) for entry in read_index(tmp_path / "out")]
    held_out = {"test": ("china-000", "street-78-000"), "validation": ("chelsea-000", "street-70-000")}
    assert found == [(name, split) for split, names in held_out.items() for name in names]
    assert not (tmp_path / "out/train").exists()
    splits = json.loads((tmp_path / "out/quarantine.json").read_text())["splits"]
    assert {split: figures["kept"] for split, figures in splits.items()} == {"validation": 2, "test": 2}


def test_pairs_in_folders_keep_their_bytes(
    tmp_path: Path, tree: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, globs = tree
    prepare.run("mine", folders(train=globs, validation_share=0.2), STRICT, 0, tmp_path / "out", processes=2)
    entries = read_index(tmp_path / "out")
    assert [entry.split for entry in entries] == ["train"] * 8 + ["validation"] * 2
    for entry in entries:
        number = entry.name.removeprefix("rain-")
        assert (tmp_path / "out" / entry.rainy).read_bytes() == (folder / f"rain/rain-{number}.png").read_bytes()
        assert (tmp_path / "out" / entry.clean).read_bytes() == (folder / f"clean/clean-{number}.png").read_bytes()
    report = json.loads((tmp_path / "out/quarantine.json").read_text())
    assert (report["examined"], report["quarantined"]) == (10, [])
    assert report["splits"]["train"]["read"] == report["splits"]["train"]["kept"] == 10
    assert "dvc repro -f prepare@mine" in capsys.readouterr().out


def test_given_splits_are_kept(tmp_path: Path) -> None:
    counts = {"train": 4, "validation": 2, "test": 3}
    given = {split: write_pairs(tmp_path / split, count, 1000 * count) for split, count in counts.items()}
    prepare.run("mine", folders(**given), STRICT, 0, tmp_path / "out", processes=1)
    entries = read_index(tmp_path / "out")
    assert [entry.split for entry in entries] == ["test"] * 3 + ["train"] * 4 + ["validation"] * 2
    assert len({entry.scene for entry in entries}) == 9  # rain-00 of train is not that of test


def test_pairs_side_by_side_are_cut_apart(tmp_path: Path) -> None:
    Pillow.fromarray(noise(0, 32, 64)).save(tmp_path / "1.jpg", quality=90)
    dataset = folders(test={"images": f"{tmp_path}/*.jpg", "left": "clean"})
    prepare.run("mine", dataset, STRICT, 0, tmp_path / "out", processes=1)
    (entry,) = read_index(tmp_path / "out")
    whole = read_rgb(tmp_path / "1.jpg")
    assert np.array_equal(read_rgb(tmp_path / "out" / entry.clean), whole[:, :32])
    assert np.array_equal(read_rgb(tmp_path / "out" / entry.rainy), whole[:, 32:])


def test_every_bad_pair_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    folder, globs = tmp_path / "mine", write_pairs(tmp_path / "mine", 14)
    rain, clean = folder / "rain", folder / "clean"
    picture = Pillow.fromarray(noise(0))
    (rain / "rain-00.png").write_bytes(b"")
    (rain / "rain-01.png").write_text("not a picture")
    (clean / "clean-02.png").write_bytes((clean / "clean-02.png").read_bytes()[:700])
    (rain / "rain-03.png").write_bytes(encode_png(noise(3, 21, 24)))
    picture.convert("L").save(rain / "rain-04.png")
    picture.convert("P").save(rain / "rain-05.png")
    picture.convert("RGBA").save(clean / "clean-06.png")
    for half in (rain / "rain-07.png", clean / "clean-07.png"):
        half.write_bytes(encode_png(noise(7, 12, 40)))
    (clean / "clean-08.png").unlink()
    (rain / "rain-09.png").unlink()
    (rain / "rain-10.png").unlink()
    (rain / "rain-10.png").symlink_to(tmp_path / "nowhere.png")
    picture.save(rain / "rain-11.jpg")
    (rain / "rain-11.png").unlink()
    (rain / "rain-11.jpg").write_bytes((rain / "rain-11.jpg").read_bytes()[:-200])
    prepare.run("mine", folders(train=globs), LENIENT, 0, tmp_path / "out", processes=2)
    expected = {
        "rain-00.png": "zero bytes",
        "rain-01.png": "not an image",
        "clean-02.png": "damaged or cut short",
        "rain-03.png": "rainy is 24x21 and clean 24x20, the rule is one size",
        "rain-04.png": "is grey, the rule is 8-bit RGB; save it as 8-bit RGB",
        "rain-05.png": "is palette",
        "clean-06.png": "is RGB with alpha",
        "rain-07.png": "40x12 is smaller than 16 pixels a side",
        "rain-08.png": "has no clean image",
        "clean-09.png": "has no rainy image",
        "rain-10.png": "a broken link",
        "rain-11.jpg": "damaged or cut short",
    }
    found = quarantined(tmp_path / "out")
    assert set(found) == set(expected)
    assert [name for name, reason in expected.items() if not found[name].startswith(reason)] == []
    assert [entry.name for entry in sorted(read_index(tmp_path / "out"), key=lambda e: e.name)] == ["rain-12", "rain-13"]
    assert len([path for path in content(tmp_path / "out") if path.endswith(".png")]) == 4


def test_too_many_bad_pairs_are_refused_and_older_pairs_stay(tmp_path: Path, tree: tuple[Path, dict[str, str]]) -> None:
    folder, globs = tree
    prepare.run("mine", folders(train=globs), STRICT, 0, tmp_path / "out", processes=1)
    before = content(tmp_path / "out")
    (folder / "rain/rain-05.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"mine: 1 of 10 pairs are bad, the rule is at most 5% .*rain-05\.png zero bytes.*raise prep"
    ) as caught:
        prepare.run("mine", folders(train=globs), Prepare(max_quarantined=0.05), 0, tmp_path / "out", processes=1)
    assert "\n" not in str(caught.value)
    assert content(tmp_path / "out") == before
    report = tmp_path / "out.quarantine.json"
    assert f"fix those in {report} or" in str(caught.value)
    (fault,) = json.loads(report.read_text())["quarantined"]
    assert (Path(fault["file"]).name, fault["reason"][:10]) == ("rain-05.png", "zero bytes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out", "out.quarantine.json"]
    prepare.run("mine", folders(train=globs), Prepare(max_quarantined=0.1), 0, tmp_path / "out", processes=1)
    assert len(read_index(tmp_path / "out")) == 9
    assert not report.exists()


def test_a_dataset_with_only_bad_pairs_is_refused_under_any_rule(tmp_path: Path) -> None:
    globs = write_pairs(tmp_path / "mine", 1)
    (tmp_path / "mine/rain/rain-00.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 1 pairs are bad"):
        prepare.run("mine", folders(train=globs), LENIENT, 0, tmp_path / "out", processes=1)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"/none/\*\.png: matches no file, a dataset needs at least one; correct the glob in params"
    ):
        prepare.run("mine", folders(test={"images": f"{tmp_path}/none/*.png", "left": "clean"}), STRICT, 0, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_two_splits_is_refused(tmp_path: Path, tree: tuple[Path, dict[str, str]]) -> None:
    with pytest.raises(DataError, match=r"rain-00\.png: is in train and test, the rule is one split; narrow a glob"):
        prepare.run("mine", folders(train=tree[1], test=tree[1]), STRICT, 0, tmp_path / "out", processes=1)


def test_one_ground_truth_in_two_splits_is_refused(tmp_path: Path, tree: tuple[Path, dict[str, str]]) -> None:
    other = write_pairs(tmp_path / "other", 10)
    given = {"train": tree[1], "test": {**tree[1], "rainy": other["rainy"]}}
    with pytest.raises(DataError, match=r"mine/clean/clean-00\.png: is in train and test, the rule is one split"):
        prepare.run("mine", folders(**given), STRICT, 0, tmp_path / "out", processes=1)


def test_the_validation_share_is_chosen_by_scene_and_seed(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "c").mkdir()
    for scene in range(4):
        (tmp_path / f"c/{scene}.png").write_bytes(encode_png(noise(scene)))
        for k in range(3):
            (tmp_path / f"r/{scene}_{k}.png").write_bytes(encode_png(noise(10 + scene * 3 + k)))
    dataset = folders(train={"rainy": f"{tmp_path}/r/*.png", "clean": f"{tmp_path}/c/*.png"})
    chosen = set()
    for seed in range(6):
        prepare.run("mine", dataset, STRICT, seed, tmp_path / "out", processes=1)
        held = {entry.scene for entry in read_index(tmp_path / "out") if entry.split == "validation"}
        assert len(held) == 1
        assert sum(entry.scene in held for entry in read_index(tmp_path / "out")) == 3
        chosen |= held
    assert len(chosen) > 1
    assert isinstance(dataset, Folders)


def photographs(folder: Path, count: int) -> dict[str, str]:
    """Write ``count`` good pairs of 96x128 pixels below ``folder`` and return their globs."""
    astronaut = photograph(PHOTOS[0]).pixels
    for half in ("rain", "clean"):
        (folder / half).mkdir(parents=True)
    for i in range(count):
        clean = astronaut[30 * i : 30 * i + 96, 20 * i : 20 * i + 128]
        (folder / f"clean/clean-{i:02d}.png").write_bytes(encode_png(clean))
        (folder / f"rain/rain-{i:02d}.png").write_bytes(encode_png(render(clean, "light", (i,))))
    return {"rainy": f"{folder}/rain/*", "clean": f"{folder}/clean/*"}


def test_odd_pairs_are_set_aside_by_their_content(tmp_path: Path) -> None:
    globs = photographs(tmp_path / "mine", 12)
    rain, clean = tmp_path / "mine/rain", tmp_path / "mine/clean"
    shutil.copyfile(rain / "rain-00.png", rain / "rain-11.png")
    shutil.copyfile(clean / "clean-00.png", clean / "clean-11.png")
    shutil.copyfile(clean / "clean-01.png", rain / "rain-01.png")
    shifted = np.roll(read_rgb(clean / "clean-09.png"), (5, 9), (0, 1))
    (clean / "clean-09.png").write_bytes(encode_png(shifted))
    kept = (rain / "rain-03.png").read_bytes()
    (rain / "rain-03.png").write_bytes((clean / "clean-03.png").read_bytes())
    (clean / "clean-03.png").write_bytes(kept)
    prepare.run("mine", folders(train=globs), LENIENT, 0, tmp_path / "out", processes=1)
    report = json.loads((tmp_path / "out/quarantine.json").read_text())
    found = {Path(fault["file"]).name: fault["kind"] for fault in report["quarantined"]}
    odd = {"rain-01.png": "identical", "rain-09.png": "misaligned", "rain-03.png": "swapped"}
    assert found in ({**odd, "rain-00.png": "duplicate"}, {**odd, "rain-11.png": "duplicate"})
    assert report["examined"] == 12
    assert (report["splits"]["train"]["read"], report["splits"]["train"]["kept"]) == (12, 8)
    assert len([path for path in content(tmp_path / "out") if path.endswith(".png")]) == 16
    figures = [psnr_y(read_rgb(rain / f"rain-{i:02d}.png"), read_rgb(clean / f"clean-{i:02d}.png")) for i in range(12)]
    assert report["splits"]["train"]["psnr_y"] == pytest.approx(np.mean(figures), abs=1e-3)


def test_a_training_pair_that_is_in_the_test_split_leaves_training(tmp_path: Path) -> None:
    train, test = photographs(tmp_path / "a", 6), photographs(tmp_path / "b", 1)
    prepare.run("mine", folders(train=train, test=test), LENIENT, 0, tmp_path / "out", processes=1)
    assert quarantined(tmp_path / "out") == {
        "rain-00.png": "has the same rainy pixels as test pair rain-00; remove one of them"
    }
    assert {entry.name for entry in read_index(tmp_path / "out") if entry.split == "test"} == {"rain-00"}


def test_exchanged_globs_are_refused(tmp_path: Path) -> None:
    globs = photographs(tmp_path / "mine", 6)
    wrong = {"rainy": globs["clean"], "clean": globs["rainy"]}
    with pytest.raises(
        DataError,
        match="in 6 of 6 pairs the clean picture has the rain, .*; exchange the globs or `left`, or set prepare.judge_sides",
    ):
        prepare.run("mine", folders(train=wrong), LENIENT, 0, tmp_path / "out", processes=1)
    assert (tmp_path / "out.quarantine.json").is_file()
    unjudged = Prepare(max_quarantined=1.0, judge_sides=False)
    prepare.run("mine", folders(train=wrong), unjudged, 0, tmp_path / "out", processes=1)
    report = json.loads((tmp_path / "out/quarantine.json").read_text())
    assert (report["quarantined"], {fault["kind"] for fault in report["warnings"]}) == ([], {"swapped"})


def test_an_unknown_benchmark_or_a_missing_copy_is_refused(tmp_path: Path) -> None:
    given = {"source": "benchmark", "path": str(tmp_path / "raw")}
    with pytest.raises(ConfigError, match="'rain99': no such benchmark"):
        prepare.run("x", Published.model_validate({**given, "name": "rain99"}), STRICT, 0, tmp_path / "out")
    with pytest.raises(DataError, match="raw: no such folder; unpack a copy there with `python -m pipeline fetch SOURCE"):
        prepare.run("x", Published.model_validate({**given, "name": "rain12"}), STRICT, 0, tmp_path / "out")
