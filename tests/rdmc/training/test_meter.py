"""Sums and faults of the steps between two reports."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rdmc.training.meter import Meter, NotFinite, first_fault

CPU = torch.device("cpu")


def scalar(value: float) -> Tensor:
    return torch.tensor(value, requires_grad=True)


def stepped(meter: Meter, step: int, loss: float, norm: float = 1.0) -> None:
    meter.begin(step, [f"a/{step}"])
    meter.check("loss", scalar(loss))
    meter.check("gradient norm", scalar(norm))
    meter.add({"loss": scalar(loss), "pixel": scalar(2 * loss)})


def test_sums_begin_anew_after_each_report() -> None:
    meter = Meter(CPU)
    for step, loss in enumerate((0.5, 0.25)):
        stepped(meter, step, loss)
    assert meter.read() == ({"loss": 0.75, "pixel": 1.5}, 2, None)
    stepped(meter, 2, 3.0)
    assert meter.read() == ({"loss": 3.0, "pixel": 6.0}, 1, None)
    assert meter.found_inf == 0


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_the_first_fault_is_named_and_stays(value: float) -> None:
    meter = Meter(CPU)
    stepped(meter, 0, 1.0)
    assert meter.found_inf == 0
    stepped(meter, 1, value, math.nan)
    stepped(meter, 2, 1.0)
    assert meter.found_inf == 1, "a step after a fault would change weights"
    stepped(meter, 3, math.nan)
    fault = meter.read()[2]
    assert fault is not None
    assert (fault.what, fault.step, fault.keys) == ("loss", 1, ["a/1"])
    assert str(fault.value) == str(value)
    assert str(fault).startswith(f"loss {value} at step 1 on a/1: it must be finite; lower train.lr")


def test_a_gradient_alone_is_a_fault() -> None:
    meter = Meter(CPU)
    stepped(meter, 7, 1.0, math.inf)
    fault = meter.read()[2]
    assert fault is not None
    assert (fault.what, fault.step) == ("gradient norm", 7)


def test_tensors_keep_their_memory() -> None:
    meter = Meter(CPU)
    stepped(meter, 0, 1.0)
    tensors = [meter.step, meter.found_inf, *meter._sums.values(), *meter._first.values()]
    places = [tensor.data_ptr() for tensor in tensors]
    meter.read()
    stepped(meter, 1, math.nan)
    assert [tensor.data_ptr() for tensor in tensors] == places, "a recorded step would write elsewhere"


def test_the_only_rank_has_the_first_fault() -> None:
    fault = NotFinite("loss", math.nan, 3, ["a/1"])
    assert first_fault(fault, 1) is fault
