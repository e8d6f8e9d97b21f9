from pathlib import Path

import numpy as np
import pytest

from rdmc.data.images import encode_png
from rdmc.datasets.benchmarks.registry import benchmark
from rdmc.datasets.layouts import Found, Hints, clean_side, find_pairs
from rdmc.datasets.rain import render
from rdmc.errors import DataError
from tests.support.data import scene

TEST = Hints(split="test")
PLAIN = Hints()


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(found: Found, root: Path) -> set[tuple[str, str, str]]:
    return {
        (match.split, match.rainy.relative_to(root).as_posix(), match.clean.relative_to(root).as_posix())
        for match in found.matches
    }


@pytest.mark.parametrize(
    ("rainy", "clean", "split"),
    [
        ("rainy/rain-002.png", "norain-002.png", ""),
        ("train/small/rain/norain-1.png", "train/small/norain/norain-1.png", "train"),
        ("rain-001.png", "norain-001.png", ""),
        ("Rain13K/train/input/5.jpg", "Rain13K/train/target/5.jpg", "train"),
        ("rain_heavy_test/rain/7.png", "rain_heavy_test/norain/7.png", "test"),
        ("train_set/data/3_rain.png", "train_set/gt/3_clean.png", "train"),
        ("val/rgb_reconstruction/rain/rain-0.png", "val/rgb_reconstruction/norain/norain-0.png", "validation"),
    ],
)
def test_common_names_of_folders_and_files_are_recognised(rainy: str, clean: str, split: str, tmp_path: Path) -> None:
    found = find_pairs(touch(tmp_path, rainy, clean), TEST)
    assert pairs(found, tmp_path) == {(split or "test", rainy, clean)}
    assert (found.layout, list(found.faults), str(found)) == ("folder", [], f"folder: 1 {split or 'test'} pairs")


def test_rain_layers_beside_the_pictures_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "rain-001.png", "norain-001.png", "rainstreak-001.png", "rainregion-001.png", "__MACOSX/rain-1.png")
    found = find_pairs(tmp_path, TEST)
    assert (len(found.matches), list(found.faults)) == (1, [])
    assert list(found.notes) == [f"{tmp_path}: 2 pictures show the rain alone and are not used (first: rainregion-001.png)"]


def test_a_picture_that_is_neither_rainy_nor_clean_is_a_fault(tmp_path: Path) -> None:
    found = find_pairs(touch(tmp_path, "rain/1.png", "norain/1.png", "teaser.png"), TEST)
    assert [(Path(fault.file).name, fault.kind) for fault in found.faults] == [("teaser.png", "unmatched")]


def test_rain1400_is_split_by_the_number_of_its_scenes(tmp_path: Path) -> None:
    names = [f"rainy_image/{scene}_{k}.jpg" for scene in (900, 901) for k in (1, 14)]
    touch(tmp_path, *names, "ground_truth/900.jpg", "ground_truth/901.jpg")
    found = find_pairs(tmp_path, benchmark("rain1400").hints)
    assert (found.layout, found.counts()) == ("one-clean-many-rainy", {"train": 2, "test": 2})
    assert {(match.split, match.clean.stem) for match in found.matches} == {("train", "900"), ("test", "901")}


def test_scenes_of_gt_rain_are_not_mixed(tmp_path: Path) -> None:
    for place in ("GT-RAIN_train/A_0-0/A_0-0", "GT-RAIN_train/B_1-0/B_1-0", "GT-RAIN_test/C_0-0/C_0-0"):
        touch(tmp_path, f"{place}-Webcam-C-000.png", f"{place}-Webcam-R-000.png", f"{place}-Webcam-R-001.png")
    each = "GT-RAIN_val/Gurutto_1-2/Gurutto_1-2-Webcam"
    touch(tmp_path, *(f"{each}-{half}-{k:03d}.png" for half in "CR" for k in range(3)))
    found = find_pairs(tmp_path, benchmark("gt-rain").hints)
    assert (found.layout, found.counts(), list(found.faults)) == (
        "one-clean-many-rainy",
        {"train": 4, "validation": 3, "test": 2},
        [],
    )
    assert all(match.rainy.parent == match.clean.parent for match in found.matches)
    assert len({match.scene for match in found.matches if match.split == "train"}) == 2
    frames = [match for match in found.matches if match.split == "validation"]
    assert [match.rainy.name.replace("-R-", "-C-") for match in frames] == [match.clean.name for match in frames]


def test_three_rains_of_rainds_share_a_ground_truth(tmp_path: Path) -> None:
    for folder in ("gt", "rainstreak", "raindrop", "rainstreak_raindrop"):
        touch(tmp_path, f"RainDS_real/test_set/{folder}/1.png", f"RainDS_real/test_set/{folder}/2.png")
    found = find_pairs(tmp_path, benchmark("rainds").hints)
    assert (found.counts(), list(found.faults)) == ({"test": 6}, [])
    assert {match.clean.parent.name for match in found.matches} == {"gt"}
    assert len({match.name for match in found.matches}) == 6


def test_sibling_test_sets_are_not_mixed(tmp_path: Path) -> None:
    for name in ("Test100", "Rain100H"):
        touch(tmp_path, f"test/{name}/input/1.png", f"test/{name}/target/1.png")
    found = find_pairs(tmp_path, PLAIN)
    assert all(match.rainy.parents[1] == match.clean.parents[1] for match in found.matches)
    assert {match.name for match in found.matches} == {"test100-1", "rain100h-1"}
    assert len({match.scene for match in found.matches}) == 2


def test_a_list_names_the_pairs(tmp_path: Path) -> None:
    touch(tmp_path, "real_world/000/000-1/000-1_0_0.png", "real_world_gt/000/000_0_0.png")
    (tmp_path / "real_world.txt").write_text("/real_world/000/000-1/000-1_0_0.png /real_world_gt/000/000_0_0.png\n")
    (tmp_path / "real_test_1000.txt").write_text("./test/rain-1.png ./test/norain-1.png\n")
    (tmp_path / "readme.txt").write_text("Files: real_world.zip\n")
    found = find_pairs(tmp_path, benchmark("spa-data").hints)
    assert (found.layout, found.counts()) == ("list", {"train": 1, "test": 1})
    assert ("train", "real_world/000/000-1/000-1_0_0.png", "real_world_gt/000/000_0_0.png") in pairs(found, tmp_path)
    (tmp_path / "real_world.txt").write_text("../../etc/a.png b.png\n")
    with pytest.raises(DataError, match=r"real_world\.txt: line 1: .* is outside"):
        find_pairs(tmp_path, PLAIN)


@pytest.mark.parametrize("left", ["clean", "rainy"])
def test_halves_of_one_file_are_detected(left: str, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for number in range(4):
        clean = scene(number, 96, 128)
        halves = [clean, render(clean, "heavy", (number,))]
        whole = np.concatenate(halves if left == "clean" else halves[::-1], axis=1)
        (tmp_path / f"train/{number}.png").write_bytes(encode_png(whole))
    found = find_pairs(tmp_path, PLAIN)
    assert (found.layout, found.left, found.counts()) == ("side-by-side", left, {"train": 4})
    assert {match.left for match in found.matches} == {left}
    assert (clean_side(tmp_path / "train/0.png") or 0.0) * (1 if left == "clean" else -1) > 0


def test_photographs_without_a_partner_are_unpaired(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encode_png(scene(number, 96, 130)))
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    found = find_pairs(tmp_path, TEST)
    assert (found.layout, list(found.matches), str(found)) == ("unpaired", [], "unpaired: no pairs")


def test_a_folder_without_pictures_or_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pictures .*; name the folder of an unpacked copy"):
        find_pairs(tmp_path, PLAIN)
    with pytest.raises(DataError, match=r"no folder name gives the split; set `split: train` or `split: test`"):
        find_pairs(touch(tmp_path / "mine", "rain/1.png", "norain/1.png"), PLAIN)


def test_the_name_of_the_given_folder_may_give_the_split(tmp_path: Path) -> None:
    touch(tmp_path / "RainTrainL", "rain-1.png", "norain-1.png")
    assert find_pairs(tmp_path / "RainTrainL", TEST).counts() == {"train": 1}


def test_the_split_is_a_whole_word_of_the_nearest_folder(tmp_path: Path) -> None:
    for outer in ("GTRain", "LightRain", "latest", "gtrain"):
        for split in ("train", "test"):
            touch(tmp_path / outer, f"{split}/input/{split}-1.png", f"{split}/target/{split}-1.png")
        for root in (tmp_path / outer, tmp_path):
            found = find_pairs(root, PLAIN)
            assert all(match.rainy.stem.startswith(match.split) for match in found.matches)
    assert find_pairs(tmp_path, PLAIN).counts() == {"train": 4, "test": 4}
    assert list(find_pairs(tmp_path, PLAIN).notes) == []


def test_folders_that_name_different_splits_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "train_set/test/rain/1.png", "train_set/test/norain/1.png")
    found = find_pairs(tmp_path, PLAIN)
    assert found.counts() == {"test": 1}
    assert list(found.notes) == [f"{tmp_path}: 2 pictures are below train_set (train) and test (test); the nearer one counts"]


@pytest.mark.parametrize(
    ("rainy", "clean", "scenes"),
    [
        (
            [f"rain_data_train_Heavy/rain/X2/norain-{i}x2.png" for i in (1, 2)],
            ["norain/norain-1.png", "norain/norain-2.png"],
            2,
        ),
        ([f"in/im_0001_s{s}_a04.png" for s in (80, 85)], ["gt/im_0001.png"], 1),
        (["rain/rain-1.png", "rain/rain-2.png"], ["norain/norain-001.png", "norain/norain-002.png"], 2),
        (["001_in.png", "002_in.png"], ["001_GT.png", "002_GT.png"], 2),
        (["LQ/1.jfif", "LQ/2.pgm"], ["HQ/1.PNG", "HQ/2.jpe"], 2),
        (["s1/rain.png", "s2/rain.png"], ["s1/clean.png", "s2/clean.png"], 2),
        (["train_rain/1.png"], ["train_clean/1.png"], 1),
    ],
)
def test_names_of_real_datasets_are_matched(rainy: list[str], clean: list[str], scenes: int, tmp_path: Path) -> None:
    base = "rain_data_train_Heavy/" if rainy[0].startswith("rain_data") else ""
    found = find_pairs(touch(tmp_path, *rainy, *(base + name for name in clean)), Hints(split="train"))
    assert (len(found.matches), list(found.faults)) == (len(rainy), [])
    assert len({match.scene for match in found.matches}) == scenes


def test_parts_with_equal_names_keep_their_scenes_apart(tmp_path: Path) -> None:
    for part in ("a/x", "b/x", "公园", "河边"):
        touch(tmp_path, f"train/{part}/rain/1.png", f"train/{part}/norain/1.png")
    found = find_pairs(tmp_path, PLAIN)
    assert len({match.scene for match in found.matches}) == len({match.name for match in found.matches}) == 4


def test_folders_of_one_role_in_one_another_and_two_unicode_forms_are_one_group(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/input/rain/1.png",
        "train/target/1.png",
        "test/e\u0301te\u0301/rain/1.png",
        "test/\u00e9t\u00e9/gt/1.png",
    )
    found = find_pairs(tmp_path, PLAIN)
    assert (found.counts(), list(found.faults)) == ({"train": 1, "test": 1}, [])


def test_a_linked_folder_belongs_to_the_dataset(tmp_path: Path) -> None:
    touch(tmp_path / "set", "train/rain/1.png", "train/norain/1.png")
    touch(tmp_path / "store", "test/rain/1.png", "test/norain/1.png")
    (tmp_path / "set/test").symlink_to("../store/test")
    assert find_pairs(tmp_path / "set", PLAIN).counts() == {"train": 1, "test": 1}


def test_names_that_do_not_agree_are_shown_with_what_was_tried(tmp_path: Path) -> None:
    touch(tmp_path, *(f"rain/street-{word}.png" for word in "abc"), "norain/park-d.png", "norain/park-e.png")
    with pytest.raises(
        DataError,
        match=r"none of 3 rainy pictures \(street-a\.png, street-b\.png, …\) matches one of 2 clean ones \(park-d\.png, park-e",
    ) as caught:
        find_pairs(tmp_path, TEST)
    assert "tried equal names, numbers as numbers" in str(caught.value)
    assert "remove" not in str(caught.value)
