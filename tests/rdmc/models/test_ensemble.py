"""The self-ensemble: what it computes, for networks whose outputs for turned images are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rdmc.models.base import Restorer
from rdmc.models.ensemble import COPIES, SelfEnsemble
from rdmc.models.rdmc import RDMC, RDMCConfig


class Ramp(Restorer):
    """Adds a ramp from left to right, whatever the image."""

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """The image and the ramp."""
        return [rainy + torch.linspace(-1, 1, rainy.shape[-1])]


class Doubled(Restorer):
    """Treats every copy alike, and counts them."""

    calls = 0

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """Twice the image."""
        self.calls += 1
        return [2 * rainy]


def test_a_bias_towards_a_side_is_averaged_away() -> None:
    rainy = torch.rand(2, 3, 6, 9)
    assert torch.allclose(SelfEnsemble(Ramp(None))(rainy), rainy, atol=1e-6)


def test_a_network_that_treats_all_copies_alike_is_unchanged() -> None:
    rainy, network = torch.rand(1, 3, 5, 8), Doubled(None)
    assert torch.allclose(SelfEnsemble(network)(rainy), 2 * rainy)
    assert network.calls == COPIES


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_the_output_turns_with_the_image(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = SelfEnsemble(RDMC(RDMCConfig(width=2, passes=1, stem=2)))
    rainy = torch.rand(1, 3, *size)
    with torch.inference_mode():
        turned = torch.rot90(network(rainy), 1, (-2, -1))
        assert torch.allclose(network(torch.rot90(rainy, 1, (-2, -1))), turned, atol=1e-5)
    assert not network.training
