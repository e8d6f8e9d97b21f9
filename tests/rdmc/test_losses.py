"""Each loss term against a reference, its gradient, and the objective that weighs them."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from rdmc.errors import ConfigError
from rdmc.features import encoder_features
from rdmc.losses import LossConfig, Objective, charbonnier, contrastive_ratio, negative_psnr, pixel_distance, ssim
from rdmc.network import RDMC, RDMCConfig


@pytest.fixture
def images() -> tuple[Tensor, Tensor, Tensor]:
    """(clean, rainy, derained): the rainy one brighter in places, the derained one half way."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 32, 48, generator=generator)
    rainy = clean + 0.3 * (torch.rand(2, 1, 32, 48, generator=generator) > 0.8)
    return clean, rainy, 0.5 * clean + 0.5 * rainy


@pytest.fixture
def network() -> RDMC:
    torch.manual_seed(0)
    return RDMC(RDMCConfig(width=4, passes=2))


def test_pixel_distances_by_hand() -> None:
    a, b = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.3)
    assert pixel_distance("l1", a, b).item() == pytest.approx(0.3)
    assert pixel_distance("mse", a, b).item() == pytest.approx(0.09)
    assert charbonnier(a, b, epsilon=0.4).item() == pytest.approx(0.5)
    assert negative_psnr(a, b, epsilon=0).item() == pytest.approx(-10.457575 / 200)  # 10 log10(1 / 0.09) dB


@pytest.mark.parametrize("kind", ["l1", "mse", "charbonnier", "psnr"])
def test_pixel_distance_gradient(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 1, 3, 4, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: pixel_distance(kind, x, b), a.requires_grad_())


def test_ssim_equals_scikit_image(images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, _ = images
    expected = [
        structural_similarity(
            a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), data_range=1, channel_axis=2,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for a, b in zip(rainy, clean, strict=True)
    ]  # fmt: skip
    assert ssim(rainy, clean).item() == pytest.approx(sum(expected) / 2, abs=1e-6)
    assert ssim(clean, clean).item() == pytest.approx(1)


def test_contrastive_ratio_by_hand() -> None:
    derained, clean, rainy = (torch.full((1, 2, 2, 2), value) for value in (0.3, 0.0, 0.4))
    assert contrastive_ratio([derained], [clean], [rainy]).item() == pytest.approx(0.3 / (0.3 + 0.1), rel=1e-4)
    assert contrastive_ratio([derained] * 2, [clean] * 2, [rainy] * 2).item() == pytest.approx(0.75, rel=1e-4)


def test_contrastive_gradient_pulls_to_clean_and_away_from_rainy(network: RDMC, images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, derained = images
    derained = derained.clone().requires_grad_()
    with torch.no_grad():
        fixed = [encoder_features(network, image, 3) for image in (clean, rainy)]

    def distances(image: Tensor) -> list[float]:
        found = encoder_features(network, image, 3)
        return [sum((a - b).abs().mean().item() for a, b in zip(found, other, strict=True)) for other in fixed]

    (gradient,) = torch.autograd.grad(contrastive_ratio(encoder_features(network, derained, 3), *fixed), derained)
    assert gradient.abs().max() > 0
    before, after = distances(derained.detach()), distances((derained - 20 * gradient).detach())
    assert after[0] < before[0]
    assert after[1] > before[1]


def test_prior_leaves_the_encoders_alone(network: RDMC, images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, derained = images
    image = derained.clone().requires_grad_()
    features = [encoder_features(network, x, 2) for x in (image, clean, rainy)]
    contrastive_ratio(*features).backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_prior_leaves_no_trace_in_batch_norm(images: tuple[Tensor, Tensor, Tensor], training: bool) -> None:
    network = RDMC(RDMCConfig(width=4, passes=2, norm="batch")).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    alone = [encoder_features(network, image, 3) for image in images]
    together = [level.chunk(3) for level in encoder_features(network, torch.cat(images), 3)]
    for level, expected in enumerate(together):  # measured alike, whatever they are measured with
        for features, same in zip(alone, expected, strict=True):
            assert torch.allclose(features[level], same, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {module.training for module in network.modules()} == {training}


def test_prior_changes_what_is_learnt(network: RDMC, images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, _ = images

    def gradients(config: LossConfig) -> Tensor:
        network.zero_grad()
        Objective(network, config)(rainy, clean).backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    without, with_prior = gradients(LossConfig(contrastive=0)), gradients(LossConfig(contrastive=0.1))
    assert without.shape == with_prior.shape
    assert (without - with_prior).norm() > 1e-3 * without.norm()


def test_objective_is_the_weighted_sum(network: RDMC, images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, _ = images
    first, last = network.estimates(rainy)
    pixels = (0.5 * charbonnier(first, clean) + charbonnier(last, clean)) / 1.5
    features = [encoder_features(network, image, 2) for image in (last, clean, rainy)]
    expected = pixels + 0.2 * (1 - ssim(last, clean)) + 0.1 * contrastive_ratio(*features)
    config = LossConfig(pixel="charbonnier", ssim=0.2, contrastive=0.1, levels=2, passes=0.5)
    assert Objective(network, config)(rainy, clean).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("field", "value"), [("pixel", "l3"), ("ssim", -1.0), ("contrastive", float("nan")), ("levels", 0)])
def test_config_names_the_field_and_value(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^loss\.{field}: .*{value}"):
        LossConfig(**{field: value})  # type: ignore[arg-type]


def test_more_levels_than_the_network_has_are_refused(network: RDMC) -> None:
    with pytest.raises(ConfigError, match=r"^loss\.levels: 6 exceeds the 5 levels that the network has"):
        Objective(network, LossConfig(levels=6))
