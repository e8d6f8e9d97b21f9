"""AlexNet and VGG16 up to their last features, in which LPIPS and DISTS compare images.

Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997; Simonyan and Zisserman, arXiv
1409.1556. Layers are numbered as torchvision numbers them, whose files of weights are read. Their ImageNet weights may not be
shipped with this project, so a user names the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rdmc.checkpoint import load_weights
from rdmc.errors import CheckpointError
from rdmc.models.published import state_dict

Convolution = tuple[int, int, int, int, int]
"""Input channels, output channels, side of the kernel, stride, padding."""
RELU, POOL = "relu", "pool"


@dataclass(frozen=True)
class BackboneLayout:
    """The layers of a network in order, and where its features are taken."""

    title: str
    layers: tuple[Convolution | str, ...]
    taps: tuple[int, ...]
    """Each is the number of a ReLU."""
    window: int
    """Side in pixels of max pooling, of stride 2."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels at each tap."""
        return tuple(int(self.layers[tap - 1][1]) for tap in self.taps)


def _repeated(inputs: int, outputs: int, count: int) -> tuple[Convolution | str, ...]:
    """Convolutions of 3x3, each with its ReLU."""
    first: Convolution = (inputs, outputs, 3, 1, 1)
    rest: Convolution = (outputs, outputs, 3, 1, 1)
    return (first, RELU, *((rest, RELU) * (count - 1)))


ALEXNET = BackboneLayout(
    "AlexNet",
    (
        (3, 64, 11, 4, 2), RELU, POOL, (64, 192, 5, 1, 2), RELU, POOL,
        *_repeated(192, 384, 1), *_repeated(384, 256, 1), *_repeated(256, 256, 1),
    ),
    taps=(1, 4, 7, 9, 11),
    window=3,
)  # fmt: skip
VGG16 = BackboneLayout(
    "VGG16",
    (
        *_repeated(3, 64, 2), POOL, *_repeated(64, 128, 2), POOL, *_repeated(128, 256, 3), POOL,
        *_repeated(256, 512, 3), POOL, *_repeated(512, 512, 3),
    ),
    taps=(3, 8, 15, 22, 29),
    window=2,
)  # fmt: skip


class Backbone(nn.Module):
    """The layers of a layout. The weights are constants."""

    def __init__(self, layout: BackboneLayout, pool: Callable[[], nn.Module] | None = None) -> None:
        """``pool`` makes a layer in place of each max pooling."""
        super().__init__()
        self.layout = layout
        make = pool or (lambda: nn.MaxPool2d(layout.window, 2))
        layers = (nn.ReLU() if one == RELU else make() if isinstance(one, str) else nn.Conv2d(*one) for one in layout.layers)
        self.features = nn.ModuleList(layers)  # torchvision's name
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W), normalised as the weights expect, to the taps, (N, width, h, w), the finest first."""
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.layout.taps:
                found.append(x)
        return found


def load_backbone(layout: BackboneLayout, path: Path, pool: Callable[[], nn.Module] | None = None) -> Backbone:
    """Return the network with torchvision's weights, on the CPU. The classifier in the file is not used.

    Raises CheckpointError if the file is missing or damaged, holds anything else than tensors, or is of another network.
    """
    weights = state_dict(path)
    with torch.random.fork_rng(devices=[]):
        network = Backbone(layout, pool)
    wanted = {name: weights[name] for name in network.state_dict() if name in weights}
    load_weights(network, finite(wanted, path), path, f"name torchvision's {layout.title} weights")
    return network.eval()


def finite(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights. Raises CheckpointError unless they are ordinary tensors of finite floats."""
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name!r} has values that are no finite floats; download the file again")
    return weights
