"""The arithmetic of a device is chosen in one place and stated."""

from __future__ import annotations

import torch

from rdmc.training.speed import USUAL, prepare


def test_a_cpu_is_named_and_drops_denormals() -> None:
    assert prepare(torch.device("cpu")) == {"device": "cpu"}
    assert (torch.tensor(1e-39) * 1).item() == 0


def test_a_usual_training_is_recorded_and_not_compiled() -> None:
    assert (USUAL.record, USUAL.compile) == (True, False)
