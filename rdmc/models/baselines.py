"""The baselines, trained and tested by the same code as RDMC: PReNet and a plain residual U-Net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.models.base import Restorer, cropped, pad_to_multiple, recomputed
from rdmc.models.blocks import pyramid

UNET_LEVELS = 4


@dataclass(frozen=True)
class PReNetConfig:
    """PReNet, the progressive recurrent network (Ren et al., CVPR 2019, arXiv 1901.09221)."""

    taps: ClassVar[int] = 1
    """Levels of its own features that the contrastive prior can use: one, its first convolution."""
    kind: Literal["prenet"] = "prenet"
    width: int = 32
    """Channels (published: 32)."""
    passes: int = 6
    """Recursive passes (published: 6)."""

    def __post_init__(self) -> None:
        _require_positive(self.kind, width=self.width, passes=self.passes)


@dataclass(frozen=True)
class UNetConfig:
    """A plain residual U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597) with a skip from input to output.

    The default works at the resolution of RDMC's default in params.yaml and costs about a fifth more GFLOP.
    """

    taps: ClassVar[int] = UNET_LEVELS
    """Levels of its own encoder that the contrastive prior can use."""
    kind: Literal["unet"] = "unet"
    width: int = 29
    """Channels of the finest level; they double with each level down."""
    stem: int = 2
    """Pixels per side folded into channels before the first convolution: 1, 2 or 4."""

    def __post_init__(self) -> None:
        _require_positive(self.kind, width=self.width)
        if self.stem not in (1, 2, 4):
            raise ConfigError(f"network.unet.stem: {self.stem} is not one of 1, 2, 4; choose one of them")

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this inside the network."""
        return int(self.stem * 2 ** (UNET_LEVELS - 1))


def _require_positive(kind: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"network.{kind}.{name}: {value} is below 1; give a positive whole number")


class PReNet(Restorer):
    """Passes of one small network at full resolution. A convolutional LSTM carries state from pass to pass.

    Its tensors have the names of the published weights (rdmc/models/published.py). It starts from torch's default random
    weights, as the published training did.
    """

    config: PReNetConfig

    def __init__(self, config: PReNetConfig) -> None:
        super().__init__(config)
        w = config.width
        self.conv0 = nn.Sequential(nn.Conv2d(6, w, 3, padding=1), nn.ReLU())
        for index in range(1, 6):
            block = nn.Sequential(nn.Conv2d(w, w, 3, padding=1), nn.ReLU(), nn.Conv2d(w, w, 3, padding=1), nn.ReLU())
            self.add_module(f"res_conv{index}", block)
        for gate in "ifgo":
            act = nn.Tanh() if gate == "g" else nn.Sigmoid()
            self.add_module(f"conv_{gate}", nn.Sequential(nn.Conv2d(2 * w, w, 3, padding=1), act))
        self.conv = nn.Sequential(nn.Conv2d(w, 3, 3, padding=1))

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """Return the estimate after every pass, each (N, 3, H, W)."""
        estimate, found = rainy, []
        hidden = cell = rainy.new_zeros(rainy.shape[0], self.config.width, *rainy.shape[2:])
        for _ in range(self.config.passes):
            estimate, hidden, cell = recomputed(self, self._pass, rainy, estimate, hidden, cell)
            found.append(estimate)
        return found

    def features(self, image: Tensor, levels: int) -> list[Tensor]:
        """Return its one level, the first convolution: (N, width, H, W)."""
        return [self.conv0(torch.cat([image, image], 1))][:levels]

    def _pass(self, rainy: Tensor, estimate: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next estimate (N, 3, H, W) and the LSTM's hidden and cell state, each (N, width, H, W)."""
        x = torch.cat([self.conv0(torch.cat([rainy, estimate], 1)), hidden], 1)
        i, f, g, o = (self.get_submodule(f"conv_{gate}")(x) for gate in "ifgo")
        cell = f * cell + i * g
        hidden = x = o * cell.tanh()
        for index in range(1, 6):
            x = F.relu(self.get_submodule(f"res_conv{index}")(x) + x)
        return rainy + self.conv(x), hidden, cell


class UNet(Restorer):
    """An encoder and a decoder of double convolutions over four levels; the rainy image is added to the output."""

    config: UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        colours = 3 * config.stem**2
        widths = [config.width * 2**level for level in range(UNET_LEVELS)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([colours, *widths], widths, strict=False))
        self.up = nn.ModuleList(_double(3 * w, w) for w in widths[-2::-1])
        self.head = nn.Conv2d(config.width, colours, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=1e-2)  # the first output is nearly the rainy image, and no gradient is denormal

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """Return its one estimate, (N, 3, H, W)."""
        height, width = rainy.shape[-2:]
        x = F.pixel_unshuffle(pad_to_multiple(rainy, self.config.multiple), self.config.stem)
        *sides, out = pyramid(self.down, x, UNET_LEVELS)
        for block in self.up:
            larger = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
            out = block(torch.cat([larger, sides.pop()], 1))
        return [cropped(F.pixel_shuffle(x + self.head(out), self.config.stem), height, width)]

    def features(self, image: Tensor, levels: int) -> list[Tensor]:
        """Return the encoder's first levels; level l is (N, width * 2**l, H / stem / 2**l, W / stem / 2**l)."""
        x = F.pixel_unshuffle(pad_to_multiple(image, self.config.multiple), self.config.stem)
        return pyramid(self.down, x, levels)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )
