"""The peak memory of a network, against one that is known to hold a large array."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.comparison.memory import _run, peak_mb
from rdmc.models.base import Restorer
from rdmc.models.rdmc import RDMCConfig
from tests.support.comparison import CPU, Shifted


class Holding(Restorer):
    """Fills an array of 400 bytes a pixel before it returns the image."""

    def __init__(self) -> None:
        super().__init__(RDMCConfig(width=2, passes=1, stem=2))

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """The image itself."""
        return [rainy + torch.ones(100, *rainy.shape[-2:]).sum() * 0]


@pytest.mark.slow
def test_the_peak_is_that_of_the_network_and_of_nothing_else() -> None:
    large = torch.ones(100_000_000)  # 400 MB of this process, which the other one must not count
    found = peak_mb(Holding(), CPU, 512)
    assert found is not None
    assert 400 * 512**2 / 1e6 <= found < 250
    assert large.sum() > 0


def test_a_network_without_a_finite_output_has_no_peak() -> None:
    assert _run(Shifted(float("nan")), 64, CPU) is None
