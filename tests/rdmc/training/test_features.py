"""The encoder as a feature space: constant weights, running statistics, and a network left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rdmc.models.base import Restorer
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.features import encoder_features

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def images() -> tuple[Tensor, Tensor, Tensor]:
    """(clean, rainy, derained): the rainy one brighter in places, the derained one half way."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 32, 48, generator=generator)
    rainy = clean + 0.3 * (torch.rand(2, 1, 32, 48, generator=generator) > 0.8)
    return clean, rainy, 0.5 * clean + 0.5 * rainy


def make_network(norm: str = "none") -> RDMC:
    torch.manual_seed(0)
    return RDMC(RDMCConfig(width=4, passes=2, norm=norm))


@pytest.mark.parametrize("levels", [1, 3, 5])
def test_features_are_the_first_levels_of_the_encoders(images: tuple[Tensor, Tensor, Tensor], levels: int) -> None:
    network = make_network()
    found = encoder_features(network, images[0], levels)
    expected = network.encode(torch.cat([images[0], images[0]], 1), levels)
    assert [tuple(level.shape) for level in found] == [tuple(level.shape) for level in expected]
    assert found[0].shape == (2, 12, 32, 48)
    assert all(torch.equal(level, same) for level, same in zip(found, expected, strict=True))


def test_the_gradient_reaches_the_image_and_no_weight(images: tuple[Tensor, Tensor, Tensor]) -> None:
    network, image = make_network(), images[2].clone().requires_grad_()
    sum(level.square().sum() for level in encoder_features(network, image, 2)).backward()  # type: ignore[union-attr]
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_images_are_measured_alike_and_leave_no_trace_in_batch_norm(
    images: tuple[Tensor, Tensor, Tensor], training: bool
) -> None:
    network = make_network("batch").train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    alone = [encoder_features(network, image, 3) for image in images]
    together = [level.chunk(3) for level in encoder_features(network, torch.cat(images), 3)]
    for level, expected in enumerate(together):
        for features, same in zip(alone, expected, strict=True):
            assert torch.allclose(features[level], same, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {module.training for module in network.modules()} == {training}


def test_an_error_leaves_the_network_in_training() -> None:
    network = Restorer(None).train()
    with pytest.raises(NotImplementedError):
        encoder_features(network, torch.rand(1, 3, 8, 8), 1)
    assert network.training
