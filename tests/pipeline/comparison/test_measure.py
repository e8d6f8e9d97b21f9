"""Figures of each model on each image, against figures computed here; failures; and a command that goes on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.comparison import measure
from pipeline.comparison.entrants import Entrant
from pipeline.comparison.measure import Outcome, outcomes
from pipeline.comparison.outputs import Outputs
from pipeline.comparison.sets import PairSet, pair_sets
from rdmc.data.images import write_png
from rdmc.inference import derain_values
from rdmc.models.rdmc import RDMC
from rdmc.quality.conventions import NAMES, Fidelity, scores, whole_levels
from rdmc.quality.perceptual import PerceptualMeasure
from tests.support.comparison import BRIGHT, CPU, Shifted, pair_folder, save_outputs, small_network
from tests.support.data import scene

RAINY = Entrant("rainy", "the input", "")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    return pair_sets([str(pair_folder(tmp_path_factory.mktemp("data")))], None)[0]


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with each image that is derained from now on."""
    calls: list[int] = []

    def counting(*given: Any) -> Any:
        calls.append(1)
        return derain_values(*given)

    patch.setattr(measure, "derain_values", counting)
    return calls


def test_the_figures_are_those_of_the_unrounded_output(data: PairSet, tmp_path: Path) -> None:
    network = small_network()
    found = outcomes([Entrant("net", "here", "abc", network), RAINY], data, 256, CPU, tmp_path)
    for index in range(len(data.pairs)):
        pair = data.pairs[index]
        assert found["net"][index].figures == scores(derain_values(network, pair.rainy, 256), pair.clean)
        assert found["rainy"][index].figures == scores(pair.rainy, pair.clean)
        assert found["net"][index].seconds > 0
        assert found["rainy"][index].seconds == 0
    assert tuple(found["net"][0].figures) == NAMES


def test_a_second_command_measures_nothing_again(data: PairSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [Entrant("net", "here", "abc", small_network()), RAINY]
    first = outcomes(models, data, 256, CPU, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "derain_values", lambda *_: pytest.fail("was measured before"))
        assert outcomes(models, data, 256, CPU, tmp_path) == first
    calls = counted(monkeypatch)
    others = [*models, Entrant("other", "here", "def", small_network(1))]
    assert outcomes(others, data, 256, CPU, tmp_path)["net"] == first["net"]
    assert len(calls) == len(data.pairs) + 1, "the new model alone, and its first try"
    outcomes(models, data, 256, CPU, tmp_path, fresh=True)
    assert len(calls) == 2 * (len(data.pairs) + 1)


def test_the_same_weights_in_another_network_are_measured_again(data: PairSet, tmp_path: Path) -> None:
    once = small_network()
    twice = RDMC(replace(once.config, passes=2)).eval()
    twice.load_state_dict(once.state_dict())
    first = outcomes([Entrant("net", "here", "abc", once)], data, 256, CPU, tmp_path)
    again = outcomes([Entrant("net", "here", "abc", twice)], data, 256, CPU, tmp_path)
    assert again["net"][0].figures == scores(derain_values(twice, data.pairs[0].rainy, 256), data.pairs[0].clean)
    assert again["net"][0].figures != first["net"][0].figures


def test_kept_seconds_are_of_the_same_computer(data: PairSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [Entrant("net", "here", "abc", small_network())]
    outcomes(models, data, 256, CPU, tmp_path)
    calls = counted(monkeypatch)
    outcomes(models, data, 256, CPU, tmp_path)
    assert calls == []
    monkeypatch.setattr(measure, "computer", lambda device: "another")
    outcomes(models, data, 256, CPU, tmp_path)
    assert len(calls) == len(data.pairs) + 1


def test_what_was_finished_before_a_kill_is_kept(data: PairSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, done = [Entrant("net", "here", "abc", small_network())], list[int]()

    def stops(*given: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return derain_values(*given)

    with monkeypatch.context() as patch:
        patch.setattr(measure, "derain_values", stops)
        with pytest.raises(KeyboardInterrupt):
            outcomes(models, data, 256, CPU, tmp_path)
    assert len(done) == 3, "the first try and two images"
    calls = counted(monkeypatch)
    assert len(outcomes(models, data, 256, CPU, tmp_path)["net"]) == 4
    assert len(calls) == 3, "the first try and the other two images"


def test_outputs_that_cannot_be_measured_are_counted_with_a_reason(data: PairSet, tmp_path: Path) -> None:
    saved = save_outputs(tmp_path / "saved", [scene(0), scene(1, height=40), np.zeros((48, 64, 3), np.uint8)])
    models = [
        Entrant("broken", "here", "1", Shifted(1, broken=True)),
        Entrant("saved", "there", "2", outputs=Outputs(saved)),
    ]
    found = outcomes(models, data, 256, CPU, tmp_path / "journals")
    bright = [float(data.pairs[index].rainy.mean()) / 255 > BRIGHT for index in range(4)]
    assert set(bright) == {True, False}, "it fails on some and not on all"
    assert [bool(one.failed) for one in found["broken"]] == bright
    assert all("not finite" in one.failed for one in found["broken"] if one.failed)
    same, other_size, black, absent = found["saved"]
    assert same.figures["rgb"].psnr == math.inf
    assert "images of 64x40 and 64x48: a pair has one size" in other_size.failed
    assert black.figures["y"].psnr < 15
    assert "has no output" in absent.failed


class Distance(torch.nn.Module):
    """The mean absolute difference of two images."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean((1, 2, 3))


def test_perceptual_measures_are_of_the_saved_output_and_have_a_journal_of_their_own(
    data: PairSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [Entrant("net", "here", "abc", Shifted(10.2)), RAINY]
    plain = outcomes(models, data, 256, CPU, tmp_path)
    measures = [PerceptualMeasure("own", "1", Distance())]
    found = outcomes(models, data, 256, CPU, tmp_path, measures=measures)
    for index in range(len(data.pairs)):
        pair = data.pairs[index]
        assert found["net"][index].figures == plain["net"][index].figures
        saved = whole_levels(derain_values(Shifted(10.2), pair.rainy, 256), "rounded")
        difference = np.abs(saved.astype(float) - pair.clean).mean() / 255
        assert found["net"][index].perceptual["own"] == pytest.approx(difference, abs=1e-6)
        assert found["rainy"][index].perceptual["own"] == pytest.approx(
            np.abs(pair.rainy.astype(float) - pair.clean).mean() / 255, abs=1e-6
        )
    calls = counted(monkeypatch)
    assert outcomes(models, data, 256, CPU, tmp_path, measures=measures) == found
    assert not calls, "was measured before"
    outcomes(models, data, 256, CPU, tmp_path, measures=[PerceptualMeasure("own", "2", Distance())])
    assert len(calls) == len(data.pairs) + 1, "other weights, other figures"


def test_an_image_too_small_for_a_measure_has_the_other_figures(tmp_path: Path) -> None:
    for folder in ("rain", "norain"):
        write_png(tmp_path / "set" / folder / "0.png", scene(0)[:20, :20])
    small = pair_sets([str(tmp_path / "set")], None)[0]
    (one,) = outcomes([RAINY], small, 256, CPU, tmp_path, measures=[PerceptualMeasure("own", "1", Distance())])["rainy"]
    assert one.figures["y"].psnr == math.inf
    assert (one.perceptual, one.failed) == ({}, "")


def test_an_outcome_is_the_same_after_json() -> None:
    measured = Outcome({"y": Fidelity(math.inf, 1.0)}, 0.5, perceptual={"DISTS": 0.25})
    for one in (measured, Outcome({"y": Fidelity(20.0, 0.5)}, 0.5), Outcome({}, 0.0, "why")):
        assert Outcome.of(one.plain()) == one
