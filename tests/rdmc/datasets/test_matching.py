from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rdmc.data.images import Image, encode_png, read_rgb
from rdmc.data.pairs import Fault
from rdmc.datasets.matching import Match, find, match_files, match_halves
from rdmc.errors import DataError

Picture = Callable[..., Image]


def paths(folder: str, *names: str) -> list[Path]:
    return [Path(folder) / name for name in names]


@pytest.mark.parametrize(
    ("rainy", "clean"),
    [
        (["12.png", "13.png"], ["12.jpg", "13.jpg"]),
        (["rain-002.png", "rain-004.png"], ["norain-002.png", "norain-004.png"]),
        (["rain-street.png", "rain-park.png"], ["norain-street.png", "norain-park.png"]),
        (["rain7.png", "rain8.png"], ["clean7.png", "clean8.png"]),
        (["rain_img_5.png", "rain_img_6.png"], ["img_5.png", "img_6.png"]),
        (["1_rain.png", "1.png"], ["1_rain.png", "1.png"]),
        (["7_rain.png", "8_rain.png"], ["7_clean.png", "8_clean.png"]),
        (["pie-rd-rain-5.png", "rd-rain-5.png"], ["pie-norain-5.png", "norain-5.png"]),
        (["A_0-0-Webcam-R-001.png"], ["A_0-0-Webcam-C-000.png"]),
    ],
)
def test_common_names_are_matched(rainy: list[str], clean: list[str]) -> None:
    matches, faults = match_files("train", paths("rainy", *rainy), paths("clean", *clean))
    assert [(match.rainy.name, match.clean.name) for match in matches] == list(zip(rainy, clean, strict=True))
    assert faults == []
    assert len({match.scene for match in matches}) == len({match.name for match in matches}) == len(rainy)


@pytest.mark.parametrize("word", ["", "rain-"])
def test_one_clean_image_may_have_many_rainy_ones(word: str) -> None:
    rainy = [Path(f"rainy/{word}{scene}_{k}.jpg") for scene in (901, 902) for k in range(1, 15)]
    matches, faults = match_files("test", rainy, paths("clean", "901.jpg", "902.jpg"))
    assert (len(matches), faults) == (28, [])
    assert all(match.clean.stem in match.rainy.stem for match in matches)
    assert {match.scene for match in matches} == {"test-901", "test-902"}


def test_rainy_images_of_one_name_get_distinct_names() -> None:
    rainy = [*paths("heavy", "1.png", "1-2.png"), *paths("light", "1.png")]
    matches, _ = match_files("train", rainy, paths("clean", "1.png", "1-2.png"))
    assert [(match.name, match.scene) for match in matches] == [("1", "train-1"), ("1-2", "train-1-2"), ("1-3", "train-1")]


def test_files_without_a_partner_are_faults() -> None:
    matches, faults = match_files("train", paths("r", "1.png", "2.png", "3.png"), paths("c", "2.png", "3.png", "4.png"))
    assert [match.name for match in matches] == ["2", "3"]
    assert faults == [
        Fault("r/1.png", "has no clean image of its name; add it, or make the names agree", "unmatched"),
        Fault("c/4.png", "has no rainy image of its name; add it, or make the names agree", "unmatched"),
    ]


def test_two_clean_images_of_one_name_are_a_fault() -> None:
    matches, faults = match_files("train", paths("r", "1.png", "2.png"), paths("c", "1.png", "1.jpg", "2.png"))
    assert [match.name for match in matches] == ["2"]
    assert faults == [
        Fault("r/1.png", "has two clean images, c/1.png and c/1.jpg; rename one, or narrow the globs", "unmatched")
    ]


def test_folders_below_the_roles_tell_equal_names_apart() -> None:
    rainy = [Path(f"rain/{scene}/{i}.png") for scene in "ab" for i in range(3)]
    matches, faults = match_files("train", rainy, [Path(f"norain/{path.parent.name}/{path.name}") for path in rainy])
    assert faults == []
    assert all(match.rainy.parent.name == match.clean.parent.name for match in matches)
    assert len({match.scene for match in matches}) == 6


def test_a_lost_clean_folder_is_a_fault_and_no_other_scene() -> None:
    rainy = [Path(f"rain/{scene}/{i}.png") for scene in "ab" for i in range(3)]
    matches, faults = match_files("train", rainy, [Path(f"norain/a/{i}.png") for i in range(3)])
    assert {match.rainy.parent.name for match in matches} == {"a"}
    assert sorted(fault.file for fault in faults) == [f"rain/b/{i}.png" for i in range(3)]


def test_folders_that_each_side_has_alone_make_no_pairs() -> None:
    rainy = [Path(f"rain/{scene}/1.png") for scene in ("a", "b")]
    matches, faults = match_files("train", rainy, [Path("norain/a/1.png"), Path("norain/c/1.png")])
    assert [match.clean for match in matches] == [Path("norain/a/1.png")]
    assert [fault.file for fault in faults] == ["rain/b/1.png", "norain/c/1.png"]
    rainy = [Path(f"set/{scene}_in/1.png") for scene in ("s1", "s2")]
    matches, faults = match_files("train", rainy, [Path(f"set/{scene}_gt/1.png") for scene in ("s1", "s2")])
    assert [match.clean.parent.name for match in matches] == ["s1_gt", "s2_gt"]
    assert faults == []
    kinds = [Path(f"{scene}/rain/{kind}/1.png") for scene in "ab" for kind in ("light", "heavy")]
    matches, faults = match_files("train", kinds, [Path(f"{scene}/norain/1.png") for scene in "ab"])
    assert ([match.clean.parts[0] for match in matches], faults) == (["a", "a", "b", "b"], [])


def test_numbered_scenes_with_lost_clean_images_are_no_video() -> None:
    rainy = paths("r", *(f"park-rain-{i}.png" for i in range(1, 5)))
    matches, faults = match_files("train", rainy, paths("c", "park-norain-1.png"))
    assert [match.rainy.name for match in matches] == ["park-rain-1.png"]
    assert len(faults) == 3


def test_every_one_of_three_clean_images_of_one_name_is_reported() -> None:
    clean = paths("c", "1.png", "1.jpg", "1.bmp", "2.png")
    _, faults = match_files("train", paths("r", "1.png", "2.png"), clean)
    assert [fault.file for fault in faults] == ["r/1.png", "c/1.bmp"]
    assert all(name in faults[0].reason for name in ("c/1.png", "c/1.jpg"))


@pytest.mark.parametrize(
    ("rainy", "clean"),
    [(["park2", "street1"], ["park", "street1"]), (["10", "2"], ["1", "2"]), (["img_1", "img_2"], ["img_9", "img_2"])],
)
def test_a_name_that_only_begins_alike_is_no_partner(rainy: list[str], clean: list[str]) -> None:
    matches, faults = match_files("train", paths("r", *(f"{n}.png" for n in rainy)), paths("c", *(f"{n}.png" for n in clean)))
    assert [(match.rainy.stem, match.clean.stem) for match in matches] == [(rainy[1], clean[1])]
    assert len(faults) == 2


def test_scenes_are_keyed_by_the_whole_name() -> None:
    names = ["公园", "河边", "n" * 70 + "1", "n" * 70 + "2", "a b", "a.b", "A-B", "a-b"]
    matches, _ = match_files("train", paths("r", *(f"{n}.png" for n in names)), paths("c", *(f"{n}.png" for n in names)))
    assert len({match.scene for match in matches}) == len({match.name for match in matches}) == len(names)


def test_a_file_that_both_globs_match_is_refused() -> None:
    with pytest.raises(DataError, match=r"a/1\.png: matches the globs of rainy and of clean images; narrow"):
        match_files("train", paths("a", "1.png", "2.png"), paths("a", "1.png"))


def test_names_become_keys_that_a_tar_can_hold() -> None:
    files = paths("x", "Straße Nr.1.jpg", "a b.jpg", "a.b.jpg", "é.jpg", f"{'n' * 200}.jpg")
    names = [match.name for match in match_halves("train", files, "clean")]
    assert names == ["stra-e-nr-1", "a-b", "a-b-2", "pair", "n" * 60]


def test_find_sorts_and_refuses_an_empty_glob(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "deep/c.png", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find(f"{tmp_path}/*")] == ["a.png", "b.png"]
    assert [path.name for path in find(f"{tmp_path}/**/*.png")] == ["a.png", "b.png", "c.png"]
    with pytest.raises(DataError, match=r"/\*\.jpg: matches no file, a dataset needs at least one; correct the glob"):
        find(f"{tmp_path}/*.jpg")


@pytest.mark.parametrize("left", ["clean", "rainy"])
def test_halves_are_cut_and_written(left: str, tmp_path: Path, picture: Picture) -> None:
    image = picture(20, 60)
    (tmp_path / "1.png").write_bytes(encode_png(image))
    entry = match_halves("test", [tmp_path / "1.png"], left)[0].make(tmp_path / "out").entry
    assert entry is not None
    right = "rainy" if left == "clean" else "clean"
    assert np.array_equal(read_rgb(tmp_path / "out" / getattr(entry, left)), image[:, :30])
    assert np.array_equal(read_rgb(tmp_path / "out" / getattr(entry, right)), image[:, 30:])
    assert (entry.name, entry.scene, entry.split, entry.height, entry.width) == ("1", "test-1", "test", 20, 30)


def test_halves_of_an_odd_width_are_a_fault(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "1.png").write_bytes(encode_png(picture(20, 61)))
    found = match_halves("test", [tmp_path / "1.png"], "clean")[0].make(tmp_path / "out").fault
    assert found is not None
    assert (found.kind, Path(found.file).name) == ("unreadable", "1.png")
    assert found.reason.startswith("61 pixels wide, two halves need an even width")


@pytest.mark.parametrize(("bad", "named"), [("rainy", "r.png"), ("clean", "c.png")])
def test_a_fault_names_the_file_with_the_error(bad: str, named: str, tmp_path: Path, picture: Picture) -> None:
    files = {"rainy": tmp_path / "r.png", "clean": tmp_path / "c.png"}
    for path in files.values():
        path.write_bytes(encode_png(picture()))
    files["clean"].write_bytes(encode_png(picture(seed=1)))
    assert Match("train", "x", "x", files["rainy"], files["clean"]).make(tmp_path / "out").entry
    files[bad].write_bytes(b"")
    found = Match("train", "x", "x", files["rainy"], files["clean"]).make(tmp_path / "out").fault
    assert found == Fault(str(tmp_path / named), "zero bytes; fetch it again or remove it", "unreadable")
