"""Segmentation: overlap as scikit-learn has it, padding that is cut off, and label maps in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from sklearn.metrics import jaccard_score

from rdmc.downstream.inputs import InputRule
from rdmc.downstream.segmentation import IGNORED, NetworkSegmenter, overlap, read_labels
from rdmc.errors import ConfigError, DataError


def maps(seed: int, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, size=(20 + number, 30)) for number in range(count)]


def test_overlap_is_the_mean_jaccard_index_over_all_pixels() -> None:
    truth, found = maps(0), maps(1)
    found = [
        np.where(np.random.default_rng(2).random(one.shape) < 0.6, one, other) for one, other in zip(truth, found, strict=True)
    ]
    flat = [np.concatenate([one.ravel() for one in some]) for some in (truth, found)]
    result = overlap(truth, found)
    assert result.miou == pytest.approx(jaccard_score(flat[0], flat[1], average="macro"))
    assert result.accuracy == pytest.approx((flat[0] == flat[1]).mean())
    assert result.classes == 4
    assert overlap(truth, truth).miou == 1


def test_ignored_pixels_and_classes_that_are_not_there() -> None:
    truth, found = np.array([[0, 0, IGNORED, 1]]), np.array([[0, 2, 1, 1]])
    result = overlap([truth], [found])
    assert result.miou == pytest.approx((1 / 2 + 1) / 2)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.classes == 2


def test_two_sizes_and_no_labels_are_errors() -> None:
    with pytest.raises(DataError, match="the rule is one size"):
        overlap([np.zeros((2, 3), int)], [np.zeros((3, 2), int)])
    with pytest.raises(DataError, match="without a labelled pixel"):
        overlap([np.full((2, 3), IGNORED)], [np.zeros((2, 3), int)])


def test_a_network_labels_the_image_without_its_padding() -> None:
    segment = NetworkSegmenter(lambda given: {"logits": given[None, :, ::2, ::2]}, InputRule(64, 64))
    image = np.zeros((50, 100, 3), np.uint8)
    image[:, :50, 0], image[:, 50:, 2] = 255, 255
    found = segment(image)
    assert found.shape == (16, 32)
    assert (found[:, :16] == 0).all()
    assert (found[:, 16:] == 2).all()
    labels = NetworkSegmenter(lambda given: {"out": given.argmax(0)[None]}, InputRule(64, 64, stretch=True))(image)
    assert labels.shape == (64, 64)


def test_outputs_of_a_detector_are_refused() -> None:
    with pytest.raises(ConfigError, match="is no segmenter, its outputs are yolov5; use --detector"):
        NetworkSegmenter(lambda _: {"out": np.zeros((1, 100, 85))}, InputRule(8, 8))(np.zeros((8, 8, 3), np.uint8))


def test_label_maps_in_files(tmp_path: Path) -> None:
    labels = np.repeat(np.repeat(np.array([[1, 2], [3, 255]], np.uint8), 10, 0), 20, 1)
    Pillow.fromarray(labels).save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png", (2, 2)).tolist() == [[1, 2], [3, 255]]
    Pillow.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "b.png")
    for name, said in (("b", "its mode is RGB"), ("none", "no such file")):
        with pytest.raises(DataError, match=said):
            read_labels(tmp_path / f"{name}.png", (2, 2))
