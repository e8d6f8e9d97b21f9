"""Boxes: overlap, suppression within a class, borders, and rows that are no boxes."""

from __future__ import annotations

import numpy as np
import pytest

from rdmc.downstream.boxes import Detections, overlaps


def test_overlaps_are_intersections_over_unions() -> None:
    first = np.array([[0.0, 0, 10, 10], [100, 100, 110, 120]])
    second = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert overlaps(first, second) == pytest.approx(np.array([[1, 50 / 150, 0], [0, 0, 0]]))
    assert overlaps(first[:0], second).shape == (0, 3)


def test_the_best_scores_come_first_and_rows_that_are_no_boxes_are_left_out() -> None:
    boxes = np.array([[0, 0, 5, 5], [1, 1, 1, 4], [0, 0, 9, 9], [np.nan, 0, 1, 1], [2, 2, 4, 4]])
    found = Detections.of(boxes, np.array([0.2, 0.9, 0.7, 0.8, np.inf]), np.array([3, 1, 2, 0, 5]))
    assert found.scores.tolist() == [0.7, 0.2]
    assert found.labels.tolist() == [2, 3]
    assert found.boxes.tolist() == [[0, 0, 9, 9], [0, 0, 5, 5]]
    assert len(found.above(0.5)) == 1


def test_a_worse_box_of_the_same_class_is_suppressed() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    found = Detections.of(boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 2, 1]))
    assert found.suppressed(0.6, 100).scores.tolist() == [0.9, 0.7, 0.6], "the overlap is 9/11, of class 1 twice"
    assert found.suppressed(0.9, 100).scores.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert found.suppressed(0.6, 2).scores.tolist() == [0.9, 0.7]


def test_boxes_are_cut_at_the_borders_and_those_outside_are_gone() -> None:
    boxes = np.array([[-5, -5, 5, 5], [90, 10, 130, 20], [200, 200, 220, 220]])
    found = Detections.of(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3)).within(height=80, width=100)
    assert found.boxes.tolist() == [[0, 0, 5, 5], [90, 10, 100, 20]]
