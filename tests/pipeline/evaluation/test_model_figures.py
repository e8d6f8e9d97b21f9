"""The figures of a model: what is equal, and what cannot change after a measurement."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from pipeline.evaluation.model_figures import ImageIdentity, ModelFigures

IMAGE = ImageIdentity("light", "a", "digest", "light/a")


def test_images_are_the_same_only_if_their_pixels_and_scene_are() -> None:
    assert ImageIdentity("light", "a", "digest", "light/a") == IMAGE
    for other in (replace(IMAGE, digest="x"), replace(IMAGE, scene="x"), replace(IMAGE, dataset="x"), replace(IMAGE, name="x")):
        assert other != IMAGE
        assert len({IMAGE, other}) == 2


def test_figures_of_an_input_have_no_times_clean_images_or_cost() -> None:
    figures = ModelFigures("rainy input", (IMAGE,), (30.0,), (0.9,))
    assert (figures.seconds, dict(figures.clean), figures.gflop) == ((), {}, None)
    with pytest.raises(FrozenInstanceError):
        figures.psnr_y = ()  # type: ignore[misc]
