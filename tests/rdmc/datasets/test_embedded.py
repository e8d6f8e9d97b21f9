from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rdmc.data.images import read_rgb
from rdmc.datasets import embedded
from rdmc.datasets.embedded import LONGEST, PHOTOS, Shower, photo_path, photograph, showers, vary
from rdmc.errors import DataError


def test_no_scene_is_in_two_splits() -> None:
    splits = {scene: {photo.split for photo in PHOTOS if photo.scene == scene} for scene in {photo.scene for photo in PHOTOS}}
    assert all(len(found) == 1 for found in splits.values())
    assert {photo.split for photo in PHOTOS} == {"train", "validation", "test"}
    assert all(photo.credit for photo in PHOTOS)


def test_every_photograph_is_bounded_in_size_and_only_training_ones_are_grey() -> None:
    grey = []
    for photo in PHOTOS:
        pixels = photograph(photo).pixels
        assert max(pixels.shape[:2]) <= LONGEST
        assert pixels.shape[2] == 3
        if np.array_equal(pixels[..., 0], pixels[..., 2]):
            grey.append((photo.name, photo.split))
    assert grey == [(name, "train") for name in ("camera", "grass", "gravel", "brick")]


def test_showers_are_counted_per_split_and_have_distinct_names() -> None:
    jobs = showers("light", 3, 0)
    train = [job for job in jobs if job.photo.split == "train"]
    assert len(train) == 3 * 12
    assert len(jobs) - len(train) == 2 * 3
    assert len({f"{job.photo.name}-{job.variant}" for job in jobs}) == len(jobs)


def test_a_shower_is_written_and_depends_on_every_part_of_its_seed(tmp_path: Path) -> None:
    shower = Shower(next(photo for photo in PHOTOS if photo.name == "chelsea"), "light", 0, 0)
    entry = shower.make(tmp_path)
    assert (entry.name, entry.scene, entry.split) == ("chelsea-000", "chelsea", "validation")
    assert np.array_equal(read_rgb(tmp_path / entry.clean), photograph(shower.photo).pixels)
    others = [replace(shower, variant=1), replace(shower, seed=1), replace(shower, kind="heavy")]
    made = [other.make(tmp_path / str(i)) for i, other in enumerate([shower, *others])]
    assert made[0] == entry
    assert len({found.sha256_rainy for found in made}) == 4


@pytest.mark.parametrize(("name", "variant", "same"), [("rocket", 0, True), ("rocket", 1, False), ("chelsea", 1, True)])
def test_only_further_training_pairs_are_other_views(name: str, variant: int, same: bool, tmp_path: Path) -> None:
    shower = Shower(next(photo for photo in PHOTOS if photo.name == name), "light", variant, 0)
    clean = read_rgb(tmp_path / shower.make(tmp_path).clean)
    assert np.array_equal(clean, photograph(shower.photo).pixels) == same


def test_views_are_the_photograph_turned_or_mirrored_and_repeat() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    views = [vary(pixels, np.random.default_rng(seed)) for seed in range(30)]
    assert all(np.array_equal(view, vary(pixels, np.random.default_rng(seed))) for seed, view in enumerate(views))
    turned = [np.rot90(flipped, turns) for flipped in (pixels, pixels[:, ::-1]) for turns in range(4)]
    found = {next(i for i, other in enumerate(turned) if np.array_equal(view, other)) for view in views}
    assert found == set(range(8))


def test_a_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(PHOTOS[0], file="data/gone.png")
    with pytest.raises(DataError, match=r"skimage/data/gone\.png: not in the installed packages.*pip install"):
        photo_path(gone)
    with pytest.raises(DataError, match="nothing_like_it/"):
        photo_path(replace(gone, package="nothing_like_it"))
    monkeypatch.setattr(embedded, "PHOTOS", (gone,))
    with pytest.raises(DataError, match="gone"):
        showers("light", 1, 0)
