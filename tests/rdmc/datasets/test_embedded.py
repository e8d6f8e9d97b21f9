"""The embedded photographs: splits, digests, packages that are missing or others, and the pairs that are made of them."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from rdmc.data.images import header, read_rgb
from rdmc.datasets import embedded
from rdmc.datasets.embedded import (
    AI_BENCHMARK,
    DIGESTS,
    DISTRIBUTIONS,
    LONGEST,
    PHOTOS,
    SKIMAGE,
    VERSIONS,
    Shower,
    check_photographs,
    digests,
    photo_bytes,
    photo_path,
    photograph,
    showers,
    vary,
)
from rdmc.datasets.leakage import Look, Scene, distinct, find_twins, look_at_all
from rdmc.errors import DataError
from tests.support.imports import ROOT

BY_NAME = {photo.name: photo for photo in PHOTOS}
STREETS = [photo for photo in PHOTOS if photo.package == AI_BENCHMARK]
METADATA = "Metadata-Version: 2.1\nName: ai-benchmark\nVersion: {}\n"


def test_no_scene_is_in_two_splits() -> None:
    splits = {photo.scene: {other.split for other in PHOTOS if other.scene == photo.scene} for photo in PHOTOS}
    assert all(len(found) == 1 for found in splits.values())
    assert Counter(photo.split for photo in PHOTOS) == {"train": 82, "validation": 9, "test": 24}
    assert len(BY_NAME) == len(PHOTOS)
    assert all(photo.credit for photo in PHOTOS)


def test_streets_are_split_in_blocks_and_each_is_a_scene() -> None:
    assert [photo.name for photo in STREETS] == [photo.scene for photo in STREETS] == [f"street-{n:02d}" for n in range(100)]
    assert [photo.file for photo in STREETS] == [f"data/enhancement/{n}.jpg" for n in range(100)]
    assert [photo.split for photo in STREETS] == ["train"] * 70 + ["validation"] * 8 + ["test"] * 22
    assert all(photo.upright and photo.credit == "AI Benchmark, Andrey Ignatov, Apache-2.0" for photo in STREETS)


def test_no_two_photographs_look_like_one_scene() -> None:
    """The comparison of the stage ``leaks``, on the files themselves. The motorcycle is one scene, seen from two places."""
    looks = list(look_at_all([Scene("embedded", photo.split, photo.scene, photo_path(photo)) for photo in PHOTOS]))
    found = [item for item in looks if isinstance(item, Look)]
    assert len(found) == len(PHOTOS)
    twins = find_twins(found, 0.4)
    assert twins == []
    assert distinct(found, twins) == {("embedded", "train"): 81, ("embedded", "validation"): 9, ("embedded", "test"): 24}


def test_every_photograph_is_bounded_in_size_and_only_training_ones_are_grey() -> None:
    assert {header(photo_bytes(photo), photo.name) for photo in STREETS} == {("JPEG", 1024, 682)}
    grey = []
    for photo in [photo for photo in PHOTOS if photo not in STREETS] + STREETS[::40]:
        pixels = photograph(photo).pixels
        assert max(pixels.shape[:2]) <= LONGEST
        assert pixels.shape[2] == 3
        if np.array_equal(pixels[..., 0], pixels[..., 2]):
            grey.append((photo.name, photo.split))
    assert grey == [(name, "train") for name in ("camera", "grass", "gravel", "brick")]


def test_showers_are_counted_per_split_and_have_distinct_names() -> None:
    jobs = showers("light", 3, 0)
    assert Counter(job.photo.split for job in jobs) == {"train": 3 * 82, "validation": 9, "test": 24}
    assert len({f"{job.photo.name}-{job.variant}" for job in jobs}) == len(jobs)
    assert Counter(job.photo.split for job in showers("light", 0, 0)) == {"validation": 9, "test": 24}


def test_a_shower_is_written_and_depends_on_every_part_of_its_seed(tmp_path: Path) -> None:
    shower = Shower(BY_NAME["chelsea"], "light", 0, 0)
    entry = shower.make(tmp_path)
    assert (entry.name, entry.scene, entry.split) == ("chelsea-000", "chelsea", "validation")
    assert np.array_equal(read_rgb(tmp_path / entry.clean), photograph(shower.photo).pixels)
    others = [replace(shower, variant=1), replace(shower, seed=1), replace(shower, kind="heavy")]
    made = [other.make(tmp_path / str(i)) for i, other in enumerate([shower, *others])]
    assert made[0] == entry
    assert len({found.sha256_rainy for found in made}) == 4


@pytest.mark.parametrize(("name", "variant", "same"), [("rocket", 0, True), ("rocket", 1, False), ("chelsea", 1, True)])
def test_only_further_training_pairs_are_other_views(name: str, variant: int, same: bool, tmp_path: Path) -> None:
    shower = Shower(BY_NAME[name], "light", variant, 0)
    clean = read_rgb(tmp_path / shower.make(tmp_path).clean)
    assert np.array_equal(clean, photograph(shower.photo).pixels) == same


def test_streets_are_only_mirrored(tmp_path: Path) -> None:
    street = BY_NAME["street-07"]
    pixels, found = photograph(street).pixels, set()
    for variant in range(4):
        clean = read_rgb(tmp_path / Shower(street, "light", variant, 0).make(tmp_path).clean)
        assert clean.shape == (480, 720, 3)
        found.add(next(step for step in (1, -1) if np.array_equal(clean, pixels[:, ::step])))
        assert variant or found == {1}, "the first pair has the photograph itself"
    assert found == {1, -1}


@pytest.mark.parametrize(("upright", "expected"), [(False, set(range(8))), (True, {0, 4})])
def test_views_are_the_photograph_turned_or_mirrored_and_repeat(upright: bool, expected: set[int]) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    views = [vary(pixels, np.random.default_rng(seed), upright) for seed in range(30)]
    assert all(np.array_equal(view, vary(pixels, np.random.default_rng(seed), upright)) for seed, view in enumerate(views))
    turned = [np.rot90(flipped, turns) for flipped in (pixels, pixels[:, ::-1]) for turns in range(4)]
    found = {next(i for i, other in enumerate(turned) if np.array_equal(view, other)) for view in views}
    assert found == expected


def test_the_digests_are_those_of_all_photographs_in_the_format_of_sha256sum() -> None:
    assert list(digests()) == [f"{photo.package}/{photo.file}" for photo in PHOTOS]
    assert all(re.fullmatch(r"[0-9a-f]{64}  \S+", line) for line in DIGESTS.read_text().splitlines())
    check_photographs()


def test_the_digests_are_packaged_and_the_packages_are_dependencies() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["rdmc.datasets"]
    assert any(fnmatch(DIGESTS.name, pattern) for pattern in patterns)
    needed = settings["project"]["dependencies"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert {re.split(r"[<>=]", line)[0] for line in needed} >= set(DISTRIBUTIONS.values())
    for package, only in VERSIONS.items():
        assert f"{DISTRIBUTIONS[package]}=={only}" in needed
        assert f"{DISTRIBUTIONS[package]}=={only}" in constraints


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A function that installs a copy of ai-benchmark of some version, which raises if it is imported; returns its folder."""

    def install(version: str) -> Path:
        root = tmp_path / "ai_benchmark"
        for photo in STREETS:
            (root / photo.file).parent.mkdir(parents=True, exist_ok=True)
            (root / photo.file).symlink_to(photo_path(photo))
        (root / "__init__.py").write_text("raise ImportError('needs TensorFlow')\n")
        about = tmp_path / f"ai_benchmark-{version}.dist-info/METADATA"
        about.parent.mkdir()
        about.write_text(METADATA.format(version))
        monkeypatch.syspath_prepend(str(tmp_path))
        return root

    return install


def refusal(package: str) -> str:
    """The error of ``showers``, which must be one line that ends with the command that installs ``package`` again."""
    with pytest.raises(DataError) as error:
        showers("light", 1, 0)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(f"run `pip install --force-reinstall -c constraints.txt {package}`")
    return str(error.value)


def test_the_package_is_never_imported(stand_in: Callable[[str], Path]) -> None:
    root = stand_in("0.1.2")
    assert len(showers("light", 1, 0)) == 115
    assert photo_path(STREETS[3]) == root / "data/enhancement/3.jpg"
    assert photograph(STREETS[3]).pixels.shape == (480, 720, 3)
    assert AI_BENCHMARK not in sys.modules


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, AI_BENCHMARK, None)  # as if it were not installed
    assert refusal("ai-benchmark").startswith("ai_benchmark: is not installed; ")
    monkeypatch.setitem(sys.modules, SKIMAGE, None)
    assert refusal("scikit-image").startswith("skimage: is not installed; ")


def test_another_version_is_refused(stand_in: Callable[[str], Path]) -> None:
    stand_in("0.1.1")
    assert refusal("ai-benchmark").startswith("ai_benchmark: is of ai-benchmark 0.1.1, the rule is version 0.1.2; ")


def test_a_missing_photograph_is_named(stand_in: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (stand_in("0.1.2") / "data/enhancement/99.jpg").unlink()
    assert refusal("ai-benchmark").startswith("ai_benchmark/data/enhancement/99.jpg: is not in ai-benchmark 0.1.2; ")
    monkeypatch.setattr(embedded, "PHOTOS", (replace(PHOTOS[0], file="data/gone.png"),))
    assert re.match(r"skimage/data/gone\.png: is not in scikit-image \d", refusal("scikit-image"))


def test_a_changed_photograph_is_named_and_never_read(stand_in: Callable[[str], Path], tmp_path: Path) -> None:
    file = stand_in("0.1.2") / "data/enhancement/80.jpg"
    file.unlink()
    shutil.copyfile(photo_path(STREETS[79]), file)
    assert refusal("ai-benchmark").startswith(
        "ai_benchmark/data/enhancement/80.jpg: is another file in ai-benchmark 0.1.2 (sha256 "
    )
    photograph.cache_clear()
    with pytest.raises(DataError, match=r"80\.jpg: is another file"):
        Shower(STREETS[80], "light", 0, 0).make(tmp_path / "out")
    assert not (tmp_path / "out").exists()
