"""Scenes of several datasets are one where they share a clean image, and stay apart where they share only a name."""

from __future__ import annotations

from pipeline.evaluation.scenes import merged


def test_scenes_that_share_a_clean_image_are_one_directly_and_over_a_third_dataset() -> None:
    scenes = ["light/1", "heavy/9", "heavy/9", "real/2", "real/3"]
    cleans = ["clean-a", "clean-a", "clean-c", "clean-c", "clean-e"]
    assert merged(scenes, cleans) == ["heavy/9"] * 4 + ["real/3"]


def test_a_name_that_two_datasets_use_is_not_one_scene() -> None:
    assert merged(["rain100l/test-1", "rain1400/test-1"], ["a", "b"]) == ["rain100l/test-1", "rain1400/test-1"]
    assert merged([], []) == []
