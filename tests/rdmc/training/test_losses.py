"""Each loss term against a reference, its gradient, and the objective that weighs them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from rdmc.errors import ConfigError
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.config import LossConfig
from rdmc.training.features import encoder_features
from rdmc.training.losses import Objective, charbonnier, negative_psnr, pixel_distance, ssim
from rdmc.training.prior import contrastive_ratio


@pytest.fixture
def images() -> tuple[Tensor, Tensor, Tensor]:
    """Return (clean, rainy, derained): the rainy one is brighter in places, the derained one half way."""
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


def test_ssim_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 1, 2, 12, 12, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: ssim(x, b), a.requires_grad_())


def test_the_prior_changes_the_gradients(network: RDMC, images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, _ = images

    def gradients(config: LossConfig) -> Tensor:
        network.zero_grad()
        Objective(network, config)(rainy, clean)["loss"].backward()
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
    terms = Objective(network, config)(rainy, clean)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["pixel"].item() == pytest.approx(pixels.item(), rel=1e-5)
    assert terms["ssim"].item() == pytest.approx(1 - ssim(last, clean).item(), rel=1e-5)
    assert terms["contrastive"].item() == pytest.approx(contrastive_ratio(*features).item(), rel=1e-5)


def test_objective_learns_from_one_pass_where_the_recursion_is_truncated(
    network: RDMC, images: tuple[Tensor, Tensor, Tensor]
) -> None:
    clean, rainy, _ = images
    (derained,) = network.truncated(rainy, 3)
    features = [encoder_features(network, image, 1) for image in (derained, clean, rainy)]
    config = LossConfig(pixel="l1", ssim=0, contrastive=0.1, levels=1, recursion="truncated", passes=0.5)
    terms = Objective(network, config)(rainy, clean, 3)
    assert terms["pixel"].item() == pytest.approx(pixel_distance("l1", derained, clean).item(), rel=1e-5)
    assert terms["contrastive"].item() == pytest.approx(contrastive_ratio(*features).item(), rel=1e-5)


def test_objective_names_the_terms_that_have_a_weight(network: RDMC, images: tuple[Tensor, Tensor, Tensor]) -> None:
    clean, rainy, _ = images

    def names(config: LossConfig) -> set[str]:
        return set(Objective(network, config)(rainy, clean))

    assert names(LossConfig(ssim=0, contrastive=0)) == {"loss", "pixel"}
    assert names(LossConfig(ssim=0.1)) == {"loss", "pixel", "ssim", "contrastive"}
    assert names(LossConfig(ssim=0, prior="infonce")) == {"loss", "pixel", "contrastive", "mi_bound"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pixel", "l3"),
        ("recursion", "deep"),
        ("ssim", -1.0),
        ("contrastive", float("nan")),
        ("levels", 0),
        ("prior", "triplet"),
        ("features", "vgg16"),
        ("temperature", 0.0),
        ("temperature", float("inf")),
        ("patches", 0),
        ("projection", 0),
        ("vgg19_sha256", "AB"),
    ],
)
def test_config_names_the_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^loss\.{field}: .*{value}"):
        LossConfig(**{field: value})


@pytest.mark.parametrize(
    ("weights", "digest", "message"),
    [
        ("", "", r"^loss\.vgg19_weights: '' and loss.features is vgg19"),
        ("http://example.org/vgg19.pth", "0" * 64, r"^loss\.vgg19_weights: 'http://example.org/vgg19.pth' is neither"),
        ("weights/vgg19.pth", "", r"^loss\.vgg19_weights: 'weights/vgg19.pth' is neither an absolute path nor"),
        ("https://example.org/vgg19.pth", "", r"^loss\.vgg19_sha256: '' and the weights come from a URL"),
    ],
)
def test_vgg19_without_its_weights_is_refused(weights: str, digest: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossConfig(features="vgg19", vgg19_weights=weights, vgg19_sha256=digest)


def test_too_many_levels_are_refused(network: RDMC) -> None:
    with pytest.raises(ConfigError, match=r"^loss\.levels: 6 exceeds the 5 levels that the network has"):
        Objective(network, LossConfig(levels=6))
    with pytest.raises(ConfigError, match=r"^loss\.levels: 6 exceeds the 5 levels that VGG19 has"):
        Objective(network, LossConfig(levels=6, features="vgg19", vgg19_weights="/vgg19.pth"))
    Objective(network, LossConfig(levels=6, contrastive=0))


def test_the_description_of_a_loss_names_its_prior() -> None:
    assert (
        LossConfig(levels=2).described == "loss charbonnier, contrastive prior ratio over 2 levels of the network's own encoder"
    )
    assert "of VGG19" in LossConfig(features="vgg19", vgg19_weights="/a.pth").described
    assert LossConfig(contrastive=0).described.endswith("no contrastive prior")
