from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from rdmc.data.images import Image, encode_png
from rdmc.data.pairs import Fault
from rdmc.datasets.embedded import AI_BENCHMARK, PHOTOS, photograph
from rdmc.datasets.leakage import NEAREST, Look, Part, Scene, Twin, candidates, distinct, find_twins, look, look_at_all
from rdmc.datasets.likeness import Pairs

SHARED = Path(__file__).parents[4] / "shared/data"
SCORE = 0.4


def jpeg(pixels: Image, quality: int) -> bytes:
    file = BytesIO()
    Pillow.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def smaller(pixels: Image) -> Image:
    return cv2.resize(pixels, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA).astype(np.uint8)


COPIES: Mapping[str, Callable[[Image], bytes]] = {
    "exact": lambda a: encode_png(a),
    "crop": lambda a: encode_png(np.ascontiguousarray(a[5:-3, 7:-2])),
    "recompressed": lambda a: jpeg(a, 50),
    "mirrored": lambda a: encode_png(np.ascontiguousarray(a[:, ::-1])),
    "upside down": lambda a: jpeg(np.ascontiguousarray(a[::-1]), 80),
    "smaller": lambda a: encode_png(smaller(a)),
    "turned": lambda a: encode_png(np.ascontiguousarray(np.rot90(a))),
    "everything": lambda a: jpeg(np.ascontiguousarray(smaller(a[4:-4, 3:-6])[:, ::-1]), 50),
}


@pytest.fixture(scope="module")
def quarters() -> dict[str, Image]:
    """Four crops that do not overlap, of each embedded photograph but the streets, which are too many for a short test.

    They are distinct scenes that are as similar as possible.
    """
    found = {}
    for photo in (photo for photo in PHOTOS if photo.package != AI_BENCHMARK):
        pixels = photograph(photo).pixels
        height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
        for index, (y, x) in enumerate(((0, 0), (0, width), (height, 0), (height, width))):
            found[f"{photo.name}-{index}"] = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    return found


def write(folder: Path, split: str, name: str, data: bytes, dataset: str = "mine", part: Part = "whole") -> Scene:
    path = folder / dataset / split / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Scene(dataset, split, name, path, part)


def seen(*scenes: Scene) -> list[Look]:
    looks = [look(scene) for scene in scenes]
    assert not [item for item in looks if isinstance(item, Fault)]
    return [item for item in looks if isinstance(item, Look)]


def names(twins: list[Twin]) -> set[tuple[str, str]]:
    return {(twin.first.name, twin.second.name) for twin in twins}


def flat(level: int, spread: float = 0) -> Image:
    return np.random.default_rng(level).normal(level, spread, (90, 120, 3)).clip(0, 255).astype(np.uint8)


def test_every_copy_is_found_and_nothing_else(tmp_path: Path, quarters: dict[str, Image]) -> None:
    scenes, expected = [], set()
    for index, (name, pixels) in enumerate(quarters.items()):
        scenes.append(write(tmp_path, "train", name, encode_png(pixels)))
        for kind in {list(COPIES)[index % len(COPIES)], list(COPIES)[-1 - index % 2]}:
            expected.add((name, f"{name} {kind}"))
            scenes.append(write(tmp_path, "test", f"{name} {kind}", COPIES[kind](pixels), dataset=kind))
    for level in range(40, 240, 20):  # nearly uniform images, the closest of them one level apart
        low, high = encode_png(flat(level, level % 3)), encode_png(flat(level + 1, level % 3))
        scenes += [write(tmp_path, "train", f"flat {level}", low), write(tmp_path, "test", f"flat {level + 1}", high)]
    twins = find_twins(seen(*scenes), SCORE)
    assert names(twins) == expected
    assert {twin.relation for twin in twins} == {"leak"}
    assert min(twin.score for twin in twins) > 0.5


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_with_its_view(kind: str, tmp_path: Path, quarters: dict[str, Image]) -> None:
    pixels = quarters["coffee-0"]
    looks = seen(write(tmp_path, "train", "a", encode_png(pixels)), write(tmp_path, "test", "b", COPIES[kind](pixels)))
    (twin,) = find_twins(looks, SCORE)
    views = {"mirrored": "mirrored", "upside down": "upside down", "turned": "turned 90 right", "everything": "mirrored"}
    assert twin.view == views.get(kind, "as it is")
    assert twin.score > (0.99 if kind in ("exact", "mirrored", "turned") else 0.6)


def test_leaks_are_between_splits_and_duplicates_within_one(tmp_path: Path, quarters: dict[str, Image]) -> None:
    data = [encode_png(quarters["china-2"]), jpeg(quarters["china-2"], 90), jpeg(quarters["china-2"], 80)]
    light = [write(tmp_path, split, f"light-{split}", data[0], "light") for split in ("train", "test")]
    heavy = [write(tmp_path, split, f"heavy-{split}", data[1], "heavy") for split in ("train", "validation", "test")]
    again = write(tmp_path, "test", "again", data[2], "heavy")
    twins = find_twins(seen(*light, *heavy, again), SCORE)
    leaks = {(twin.first.name, twin.second.name) for twin in twins if twin.relation == "leak"}
    train, test = {"light-train", "heavy-train"}, {"light-test", "heavy-test", "again"}
    held = {"heavy-validation"}
    assert leaks == {(a, b) for a in train for b in test | held} | {(a, b) for a in held for b in test}
    assert [(t.first.name, t.second.name) for t in twins if t.relation == "duplicate"] == [("heavy-test", "again")]


def test_duplicate_scenes_are_counted_once(tmp_path: Path, quarters: dict[str, Image]) -> None:
    pixels = quarters["coffee-1"]
    scenes = [write(tmp_path, "test", str(quality), jpeg(pixels, quality)) for quality in (60, 70, 80, 90)]
    views = write(tmp_path, "test", "views", encode_png(np.ascontiguousarray(np.rot90(pixels))))
    other = Scene("mine", "test", "60", views.path)  # another image of the scene named 60
    looks = seen(*scenes, other, write(tmp_path, "test", "alone", encode_png(quarters["coffee-2"])))
    twins = find_twins(looks, SCORE)
    assert len(twins) == 3  # enough to connect four names
    assert distinct(looks, twins) == {("mine", "test"): 2}


def test_equal_files_are_found_even_without_structure(tmp_path: Path) -> None:
    black = encode_png(flat(0))
    looks = seen(
        write(tmp_path, "train", "a", black),
        write(tmp_path, "test", "b", black),
        write(tmp_path, "test", "c", encode_png(flat(9))),
    )
    assert [(t.first.name, t.second.name, t.score) for t in find_twins(looks, SCORE)] == [("a", "b", 1.0)]


@pytest.mark.parametrize("part", ["left", "right"])
def test_only_the_clean_half_of_a_file_is_compared(part: Part, tmp_path: Path, quarters: dict[str, Image]) -> None:
    clean, rainy = quarters["rocket-2"], quarters["coffee-3"][: quarters["rocket-2"].shape[0], : quarters["rocket-2"].shape[1]]
    rainy = cv2.resize(rainy, clean.shape[1::-1]).astype(np.uint8)
    both = np.hstack([clean, rainy] if part == "left" else [rainy, clean])
    looks = seen(write(tmp_path, "train", "a", jpeg(both, 95), part=part), write(tmp_path, "test", "b", encode_png(clean)))
    assert names(find_twins(looks, SCORE)) == {("a", "b")}
    looks = seen(write(tmp_path, "train", "c", jpeg(both, 95), part=part), write(tmp_path, "test", "d", encode_png(rainy)))
    assert find_twins(looks, SCORE) == []


def test_candidates_are_of_two_splits_or_of_one_split_of_a_dataset(tmp_path: Path, quarters: dict[str, Image]) -> None:
    some = list(quarters.items())[:6]
    scenes = [write(tmp_path, split, name, jpeg(pixels, 60)) for split in ("train", "test") for name, pixels in some]
    scenes += [write(tmp_path, "train", f"other {name}", jpeg(pixels, 70), dataset="other") for name, pixels in some]
    scenes += [write(tmp_path, "train", f"again {name}", jpeg(pixels, 80)) for name, pixels in some]
    pairs = {(int(one), int(other)) for one, other in candidates(seen(*scenes))}
    for n in range(6):
        assert {(n, n + 6), (n + 6, n + 12), (n + 6, n + 18), (n, n + 18)} <= pairs
    splits = [(scene.dataset, scene.split) for scene in scenes]
    assert all(splits[i][1] != splits[j][1] or splits[i] == splits[j] for i, j in pairs)
    assert len(candidates([])) == 0


def test_parts_of_candidates_are_shown_and_change_nothing(
    tmp_path: Path, quarters: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = list(quarters.items())[:4]
    looks = seen(
        *(
            write(tmp_path, split, f"{q} {name}", jpeg(a, q))
            for split in ("train", "test")
            for q in (60, 80)
            for name, a in some
        )
    )
    whole = find_twins(looks, SCORE)
    for name in ("PART", "GLANCED", "BATCH"):
        monkeypatch.setattr(f"rdmc.datasets.leakage.{name}", 3)
    sizes: list[int] = []

    def track(parts: Sequence[Pairs]) -> Iterator[Pairs]:
        for part in parts:
            sizes.append(len(part))
            yield part

    assert find_twins(looks, SCORE, track=track) == whole
    assert sum(sizes) == len(candidates(looks))
    assert max(sizes) == 3


def test_many_equal_files_are_chained(tmp_path: Path) -> None:
    black = encode_png(flat(0))
    looks = seen(*(write(tmp_path, split, f"{split} {n}", black) for split in ("train", "test") for n in range(100)))
    assert len(candidates(looks)) == 2 * 99 + 100 * NEAREST
    twins = find_twins(looks, SCORE)
    assert {twin.first.name for twin in twins if twin.relation == "leak"} == {f"train {n}" for n in range(100)}
    assert distinct(looks, twins) == {("mine", "train"): 1, ("mine", "test"): 1}


def test_unreadable_files_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = encode_png(flat(90, 30))
    bad = {
        "zero bytes": write(tmp_path, "test", "empty.png", b""),
        "not an image": write(tmp_path, "test", "notes.txt", b"rain"),
        "damaged or cut short": write(tmp_path, "test", "cut.png", good[: len(good) // 2]),
        "two halves need at least two": write(tmp_path, "test", "thin.png", encode_png(flat(90)[:, :1].copy()), part="left"),
        "no such file": Scene("mine", "test", "gone", tmp_path / "gone.png"),
    }
    fine = write(tmp_path, "test", "fine.png", good)
    found = list(look_at_all([*bad.values(), fine], threads=2))
    assert isinstance(found[-1], Look)
    for reason, fault in zip(bad, found, strict=False):
        assert isinstance(fault, Fault)
        assert reason in fault.reason
        assert fault.file not in fault.reason
    monkeypatch.setattr("rdmc.data.images.MAX_PIXELS", 1000)
    bomb = look(fine)
    assert isinstance(bomb, Fault)
    assert "is more than 1,000 pixels" in bomb.reason


LEAKS = {
    ("13.jpg", "norain-088.png"),
    ("150.jpg", "norain-008.png"),
    ("237.jpg", "norain-070.png"),
    ("261.jpg", "norain-088.png"),
    ("305.jpg", "norain-070.png"),
    ("376.jpg", "norain-070.png"),
    ("458.jpg", "norain-044.png"),
    ("460.jpg", "6.jpg"),
    ("52.jpg", "norain-040.png"),
    ("81.jpg", "norain-042.png"),
}
"""Rain800's training pairs that show a scene of its own test set or of Rain100L's, confirmed by eye and by SIFT."""


@pytest.mark.skipif(not (SHARED / "rain800").is_dir(), reason="needs Rain800 and Rain100L beside the project")
def test_rain800_leaks_into_rain100l_and_itself(tmp_path: Path) -> None:
    """Only the leaking training pairs and every seventh are read, to keep it short; and all pairs of both test sets."""
    train = {SHARED / "rain800/train" / name for name, _ in LEAKS} | set(sorted((SHARED / "rain800/train").glob("*.jpg"))[::7])
    scenes = [Scene("rain800", "train", path.name, path, "left") for path in sorted(train)]
    scenes += [Scene("rain800", "test", path.name, path, "left") for path in sorted((SHARED / "rain800/test").glob("*.jpg"))]
    scenes += [Scene("rain100l", "test", path.name, path) for path in sorted((SHARED / "rain100l").glob("norain-*.png"))]
    looks = seen(*scenes)
    twins = find_twins(looks, SCORE)
    assert {(t.first.name, t.second.name) for t in twins if t.relation == "leak"} == LEAKS
    assert distinct(looks, twins)["rain800", "test"] == 76
    assert distinct(looks, twins)["rain100l", "test"] == 50
