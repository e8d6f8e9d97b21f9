"""The rules on robustness: off, a floor, a champion, what a broken model gets; and the gains that they are judged by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.config.params import Params
from pipeline.config.recipe import with_overrides
from pipeline.config.registry import Gate
from pipeline.evaluation import rain_maps
from pipeline.evaluation.model_figures import ModelFigures
from pipeline.promotion.robustness import Gains, rain_gains, robustness_checks
from rdmc.errors import CheckpointError
from tests.support.comparison import CPU, Shifted, small_network

RAINS = ("the base rain", "angle 60", "veil 0.5")


@pytest.fixture(scope="module")
def rules(params: Params) -> Gate:
    asked = {
        "gate.robustness.images": 12,
        "gate.robustness.floor": 0.0,
        "gate.robustness.tolerance": 0.5,
        "gate.resamples": 600,
    }
    return with_overrides(params, asked).gate


def model(label: str, rains: Gains) -> ModelFigures:
    return ModelFigures(label, (), (), (), rains=rains)


def gains(*means: float, spread: float = 0.2, photographs: int = 12) -> Gains:
    rng = np.random.default_rng(0)
    return {rain: tuple(rng.normal(one, spread, photographs).tolist()) for rain, one in zip(RAINS, means, strict=True)}


def test_nothing_is_asked_by_default(params: Params) -> None:
    broken = model("version 2", {})
    assert robustness_checks(broken, broken, params.gate, 0) == []
    assert rain_gains(small_network(), "version 2", params.gate, 0, CPU) == {}
    assert "robustness" not in params.gate.rules(), "verdicts from before the rule stay valid"


def test_the_worst_rain_decides(rules: Gate) -> None:
    """One weak rain of three is enough to fail; the sentence names it."""
    champion = model("version 1", gains(6, 4, 2))
    for means, failed in (
        ((6.5, 4.5, 2.5), []),
        ((6.0, 4.0, 2.0), []),
        ((9.0, 3.0, 3.0), ["robustness"]),
        ((9.0, 9.0, -0.5), ["robustness floor", "robustness"]),
    ):
        floor, against = robustness_checks(model("version 2", gains(*means)), champion, rules, 0)
        assert [check.name for check in (floor, against) if not check.passed] == failed
        assert (floor.least, against.least) == (0, -0.5)
        assert floor.low is not None
        assert floor.value is not None
        assert floor.low <= floor.value
    assert against.said.startswith("robustness -2.50 dB (against the champion under veil 0.5, the lowest of 3 rains; over 12 ")
    assert "with 95% confidence; needed -0.50)" in against.said
    assert floor.said.startswith("robustness floor -0.5")
    assert "(gain under veil 0.5" in floor.said


def test_a_mean_that_is_good_enough_is_not_sure(rules: Gate) -> None:
    floor, _ = robustness_checks(model("2", gains(6, 4, 0.2, spread=2)), model("1", gains(6, 4, 2)), rules, 0)
    assert (floor.value or 0) > 0
    assert not floor.passed
    assert floor.unsure


def test_a_first_champion_has_the_floor_alone(rules: Gate) -> None:
    rainy = model("rainy input", {})
    (floor,) = robustness_checks(model("version 1", gains(6, 4, 2)), rainy, rules, 0)
    assert floor.passed
    (floor,) = robustness_checks(model("version 1", gains(6, 4, -2)), rainy, rules, 0)
    assert not floor.passed


def test_a_model_that_breaks_under_a_rain_is_refused(rules: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = robustness_checks(model("version 2", {}), model("version 1", gains(6, 4, 2)), rules, 0)
    assert not check.passed
    assert "not finite" in check.said
    monkeypatch.setattr(rain_maps, "MAPS", (("angle", "density"),))
    monkeypatch.setattr(rain_maps, "SIDE", 32)
    with pytest.raises(CheckpointError):
        rain_maps.rain_cells(Shifted(1, broken=True), rain_maps.clean_photographs(12))
    assert rain_gains(Shifted(1, broken=True), "version 2", rules, 0, CPU) == {}


def test_the_gains_are_those_of_the_maps(rules: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rain_maps, "LEVELS", {name: values[2:4] for name, values in rain_maps.LEVELS.items()})
    monkeypatch.setattr(rain_maps, "MAPS", (("angle", "density"),))
    monkeypatch.setattr(rain_maps, "SIDE", 32)
    network = small_network()
    found = rain_gains(network, "version 2", rules, 3, torch.device("cpu"))
    expected = rain_maps.rain_cells(network, rain_maps.clean_photographs(12), 3)
    assert found == {shape.words: cell.gains for shape, cell in expected.items()}
    assert list(found) == ["the base rain", "angle 30", "density 12", "angle 30, density 12"]
    assert {len(one) for one in found.values()} == {12}
    assert rain_gains(None, "rainy input", rules, 3, CPU) == {}
