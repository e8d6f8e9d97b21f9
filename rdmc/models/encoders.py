"""RDMC's encoders: features at several scales on every level, from convolutions with different dilations.

Two forms exist. In the published one, *separate*, three encoders run side by side and never meet: a feature of one scale is
computed from features of the same scale alone. In the *mixed* one, a single encoder computes every scale from all features of
the level above: each of its blocks has a dense convolution over all channels, then one dilated convolution for each scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.models.blocks import Dilated, Padding, norm, pyramid

SLOPE = 0.1
"""Gradient of the mixed form's activations below zero. A ReLU's of 0 let whole networks die at the start (decision 0010)."""
PADDING: Padding = "replicate"
"""How the mixed form's convolutions continue a map beyond its border. A training crop's deep maps have 4x4 positions, so most
of what a dilated convolution sees there is padding. Zeros would be a world that no whole image has (decision 0010)."""
GREY = 0.45
"""What the mixed form subtracts from the rainy image: else brightness drowns the streaks in the first convolution."""
FIRST_GAIN = 3.0
"""Factor on the initial weights of the first convolution, whose filters have a mean of zero and so see edges only."""
DILATED_GAIN = 0.5
"""Factor on the initial weights of the dilated convolutions, so that a block begins near its dense part."""


class Encoder(nn.Module):
    """A block for each level, with 2x2 max-pooling between them. ``block`` makes one from its inputs and outputs."""

    def __init__(self, inputs: int, widths: Sequence[int], block: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(a, b) for a, b in zip([inputs, *widths], widths, strict=False))

    def forward(self, x: Tensor, levels: int) -> list[Tensor]:
        """Encode (N, inputs, H, W) to the first ``levels`` levels; level l is (N, widths[l], H / 2**l, W / 2**l)."""
        return pyramid(self.blocks, x, levels)


class MixedBlock(nn.Module):
    """A dense convolution, then dilated ones side by side, each for its share of the channels; the dense part is added.

    h = act(norm(conv3x3(x)))
    out = act(h + norm(concatenated conv3x3(h), one for each dilation))
    """

    def __init__(self, inputs: int, outputs: int, kind: str, dilations: Sequence[int]) -> None:
        super().__init__()
        bias = kind == "none"
        self.dense = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias, padding_mode=PADDING)
        self.scales = nn.ModuleList(
            Dilated(outputs, share, 3, padding=d, dilation=d, bias=bias, padding_mode=PADDING)
            for d, share in zip(dilations, shares(outputs, len(dilations)), strict=True)
        )
        self.norms = nn.ModuleList((norm(kind, outputs), norm(kind, outputs)))

    def initialise(self) -> None:
        """Reduce the dilated convolutions by ``DILATED_GAIN``. Their weights have to be initialised before."""
        with torch.no_grad():
            for scale in self.scales:
                scale.get_parameter("weight").mul_(DILATED_GAIN)

    def initialise_first(self, colours: int) -> None:
        """Make the dense convolution, the network's first, a set of edge filters.

        ``colours`` is the number of input channels that are folded pixels of one colour. The mean over such a colour's pixels
        and the window is subtracted, so that a filter's answer to an even area is zero. A streak is an edge. Without this, a
        training spends hundreds of steps on a plateau (docs/decisions/0010).
        """
        with torch.no_grad():
            shape = (self.dense.out_channels, -1, colours, 3, 3)  # outputs, colours of both images, folded pixels, window
            filters = self.dense.weight.view(shape)
            edges = (filters - filters.mean((2, 3, 4), keepdim=True)).flatten(1, 2)
            self.dense.weight.copy_(FIRST_GAIN * edges)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        h = F.leaky_relu(self.norms[0](self.dense(x)), SLOPE)
        found = torch.cat([scale(h) for scale in self.scales], 1)
        return F.leaky_relu(h + self.norms[1](found), SLOPE)


def shares(channels: int, parts: int) -> list[int]:
    """Divide ``channels`` into ``parts`` that differ by one at most, the larger ones first."""
    return [channels // parts + (index < channels % parts) for index in range(parts)]
