"""Backbones of LPIPS and DISTS with random weights, built as torchvision builds them; files in its form and the authors'."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""The channels of VGG16's convolutions; 0 is a pooling."""
WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
"""The channels that LPIPS weighs."""


@cache
def sequential(name: str) -> nn.Sequential:
    """The features of ``alex`` or ``vgg``, random with a fixed seed, at a scale that keeps the features' size."""
    layers = _alexnet() if name == "alex" else _vgg16()
    generator = torch.Generator().manual_seed(5)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            fan, bias = layer.weight[0].numel(), layer.bias
            assert bias is not None
            with torch.no_grad():
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan) ** 0.5)
                bias.copy_(torch.randn(len(bias), generator=generator) * 0.05)
    return nn.Sequential(*layers).requires_grad_(False)


def _alexnet() -> list[nn.Module]:
    pool, relu = nn.MaxPool2d(3, 2), nn.ReLU()
    sizes = ((64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    second, third, fourth, fifth = (_empty(*size) for size in sizes)
    return [_empty(3, 64, 11, 4, 2), relu, pool, second, relu, pool, third, relu, fourth, relu, fifth, relu, pool]


def _vgg16() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in VGG:
        layers += [_empty(inputs, outputs, 3, 1, 1), nn.ReLU()] if outputs else [nn.MaxPool2d(2, 2)]
        inputs = outputs or inputs
    return layers


def _empty(*size: int) -> nn.Conv2d:
    made: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, *size)
    return made


def torchvision_state(name: str) -> dict[str, Tensor]:
    """The state dict of torchvision's model, with a part of its classifier."""
    features = {f"features.{key}": tensor for key, tensor in sequential(name).state_dict().items()}
    return {**features, "classifier.6.bias": torch.zeros(4)}


def linear_state(name: str) -> dict[str, Tensor]:
    """Random channel weights of LPIPS in its authors' form."""
    generator = torch.Generator().manual_seed(6)
    return {f"lin{at}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator) for at, width in enumerate(WIDTHS[name])}


def dists_state() -> dict[str, Tensor]:
    """Random weights of DISTS in its authors' form."""
    generator = torch.Generator().manual_seed(7)
    return {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}


@dataclass(frozen=True)
class WeightFiles:
    """The files below a folder."""

    alex: Path
    vgg: Path
    dists: Path
    alexnet: Path
    vgg16: Path


def weight_files(folder: Path) -> WeightFiles:
    """Write every file."""
    names = {"alex": "alex.pth", "vgg": "vgg.pth", "dists": "weights.pt", "alexnet": "alexnet.pth", "vgg16": "vgg16.pth"}
    found = WeightFiles(**{name: folder / file for name, file in names.items()})
    torch.save(linear_state("alex"), found.alex)
    torch.save(linear_state("vgg"), found.vgg)
    torch.save(dists_state(), found.dists)
    torch.save(torchvision_state("alex"), found.alexnet)
    torch.save(torchvision_state("vgg"), found.vgg16)
    return found
