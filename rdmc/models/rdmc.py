"""RDMC: the recursive dynamic multi-scale network (arXiv 2305.18092; DRNet, Pattern Recognition 158, 2025, 111004).

One set of weights is applied to the image ``passes`` times. A pass takes the rainy image and the estimate so far, encodes
both with three encoders that differ only in dilation, and adds a residual to the rainy image:

    estimate[0] = rainy
    estimate[t] = rainy + pass(cat(rainy, estimate[t - 1]))
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.models.base import Restorer, cropped, pad_to_multiple, recomputed, statistics_kept
from rdmc.models.blocks import MIXES, NORMS, DoubleBlock, Downward, Upsample, Upward

MULTIPLES = (1, 2, 4, 8, 8)
"""Channels of an encoder's five levels, in units of the width. A shallower network has the first few."""
DECODED = (1.5, 3, 6, 12)
"""Channels of the decoder at levels 1 to 4, in units of the width: 48, 96, 192 and 384 at width 32."""
CONNECTIONS = (
    "input->dec1",
    "enc1->dec2",
    "enc2->dec3",
    "enc3->dec4",
    "enc4->dec3",
    "enc3->dec2",
    "enc2->dec1",
    "enc1->output",
)
"""Candidate cross-level connections: four downward (shallow to deep), then four upward. Level 1 is the finest."""


@dataclass(frozen=True)
class RDMCConfig:
    """The shape of an RDMC network. The same config always builds the same parameters."""

    kind: Literal["rdmc"] = "rdmc"
    width: int = 32
    """Channels of one encoder's finest level (published: 32)."""
    depth: int = 5
    """Levels of an encoder, 2 to 5; each halves height and width (published: 5)."""
    passes: int = 3
    """Recursive passes T with shared weights (published: 3)."""
    stem: int = 1
    """Pixels per side folded into channels before the first convolution: 1 works at full resolution (published), 2 at
    half resolution for a quarter of the cost."""
    norm: str = "none"
    """Normalisation after convolutions: none, group or batch (published: batch)."""
    dilations: tuple[int, ...] = (1, 2, 3)
    """Dilation of each encoder. The length sets the number of encoders (published: 1, 2, 3)."""
    connections: tuple[str, ...] = CONNECTIONS
    """The cross-level connections of the network, from the eight in ``CONNECTIONS``. Connections between levels that a
    shallower network does not have, or joins anyway, are left out."""
    upsample: str = "mix"
    """The decoder's upsampling: mix (learned, of bilinear and bicubic), bilinear or bicubic."""

    def __post_init__(self) -> None:
        for name in ("width", "passes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"network.{name}: {getattr(self, name)} is below 1; give a positive whole number")
        if not 2 <= self.depth <= len(MULTIPLES):
            raise ConfigError(f"network.depth: {self.depth} is not within 2 to {len(MULTIPLES)}; choose one of these")
        if self.stem not in (1, 2, 4):
            raise ConfigError(f"network.stem: {self.stem} is not one of 1, 2, 4; choose one of them")
        if self.norm not in NORMS:
            raise ConfigError(f"network.norm: {self.norm!r} is not one of {', '.join(NORMS)}; choose one of them")
        if not self.dilations or min(self.dilations) < 1:
            raise ConfigError(f"network.dilations: {list(self.dilations)} is not a list of dilations; give some of 1 or more")
        if self.upsample not in MIXES:
            raise ConfigError(f"network.upsample: {self.upsample!r} is not one of {', '.join(MIXES)}; choose one of them")
        unknown = sorted(set(self.connections) - set(CONNECTIONS))
        if unknown:
            raise ConfigError(f"network.connections: {unknown[0]!r} is not a connection; choose from {', '.join(CONNECTIONS)}")
        within = tuple(name for name in self.connections if max(map(int, re.findall(r"\d", name))) < self.depth)
        object.__setattr__(self, "connections", within)

    @property
    def taps(self) -> int:
        """Levels of its own encoder that the contrastive prior can use."""
        return self.depth

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this inside the network."""
        return int(self.stem * 2 ** (self.depth - 1))


class Encoder(nn.Module):
    """One encoder: a double block for each level, with 2x2 max-pooling between them."""

    def __init__(self, inputs: int, width: int, depth: int, norm: str, dilation: int) -> None:
        super().__init__()
        widths = [width * m for m in MULTIPLES[:depth]]
        self.blocks = nn.ModuleList(DoubleBlock(a, b, norm, dilation) for a, b in zip([inputs, *widths], widths, strict=False))

    def forward(self, x: Tensor, levels: int = len(MULTIPLES)) -> list[Tensor]:
        """Encode (N, inputs, H, W) to the first ``levels`` levels; level l is (N, width * MULTIPLES[l], H / 2**l, W / 2**l)."""
        found: list[Tensor] = []
        for block in list(self.blocks)[:levels]:
            x = block(F.max_pool2d(x, 2) if found else x)
            found.append(x)
        return found


class RDMC(Restorer):
    """The network. Input and output are (N, 3, H, W), RGB, 0 to 1, any height and width; the output is not clamped."""

    config: RDMCConfig

    def __init__(self, config: RDMCConfig) -> None:
        super().__init__(config)
        colours = 3 * config.stem**2
        wide = [len(config.dilations) * config.width * m for m in MULTIPLES]  # encoder levels, concatenated
        dec = [int(config.width * m) for m in DECODED]
        upwards = range(config.depth - 2, -1, -1)  # the decoder's levels, deep to shallow, counted from 0
        self.encoders = nn.ModuleList(
            Encoder(2 * colours, config.width, config.depth, config.norm, dilation) for dilation in config.dilations
        )
        self.upsample = Upsample(config.upsample)
        self.decoders = nn.ModuleList(
            DoubleBlock((wide if level == upwards[0] else dec)[level + 1] + wide[level], dec[level], config.norm)
            for level in upwards
        )
        self.head = nn.Conv2d(dec[0], colours, 1)
        shapes = {
            "input->dec1": (2 * colours, dec[0], 1),
            "enc1->dec2": (wide[0], dec[1], 2),
            "enc2->dec3": (wide[1], dec[2], 2),
            "enc3->dec4": (wide[2], dec[3], 2),
            "enc4->dec3": (wide[3], dec[2], 2),
            "enc3->dec2": (wide[2], dec[1], 2),
            "enc2->dec1": (wide[1], dec[0], 2),
            "enc1->output": (wide[0], colours, 1),
        }
        chosen = [name for name in CONNECTIONS if name in config.connections]  # the order does not depend on the config's
        self.recruit = nn.ModuleDict(
            {
                name: (Downward if CONNECTIONS.index(name) < 4 else Upward)(*shapes[name][:2], config.norm, shapes[name][2])
                for name in chosen
            }
        )
        self.strength = nn.ParameterDict({name: nn.Parameter(1e-3 * torch.randn(())) for name in chosen})
        self._initialise()

    def _initialise(self) -> None:
        """Apply He initialisation for ReLU, and a small head so that the first estimate is nearly the rainy image.

        The head is small and not zero: a residual of exactly zero makes denormal gradients, which are slow on CPUs.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=1e-2)

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """Return the estimate after every pass, each (N, 3, H, W)."""
        x = estimate = self._folded(rainy)
        found = []
        for _ in range(self.config.passes):
            estimate = self._passed(x, estimate)
            found.append(cropped(F.pixel_shuffle(estimate, self.config.stem), *rainy.shape[-2:]))
        return found

    def truncated(self, rainy: Tensor, first: int = 0) -> list[Tensor]:
        """Return one estimate per image, (N, 3, H, W), by one pass that starts from the result of 0 to ``passes`` - 1 others.

        Gradients reach that one pass only. This is backpropagation through the recursion, truncated to its last step, as
        diffusion models learn to continue from their own estimate (self-conditioning, arXiv 2208.04202). Image i has had
        (``first`` + i) modulo ``passes`` earlier passes, so the passes share a batch evenly on any number of ranks.
        """
        x = self._folded(rainy)
        done = [(first + index) % self.config.passes for index in range(len(x))]
        estimate = x.clone()
        with torch.no_grad(), statistics_kept(self):
            for number in range(1, self.config.passes):
                chosen = [index for index, passes in enumerate(done) if passes >= number]
                if chosen:
                    estimate[chosen] = self._passed(_taken(x, chosen), _taken(estimate, chosen))
        derained = F.pixel_shuffle(self._passed(x, estimate), self.config.stem)
        return [cropped(derained, *rainy.shape[-2:])]

    def _folded(self, image: Tensor) -> Tensor:
        """Pad and fold (N, 3, H, W) to (N, 3*stem^2, h, w), h and w multiples of 2^(depth - 1)."""
        return F.pixel_unshuffle(pad_to_multiple(image, self.config.multiple), self.config.stem)

    def _passed(self, x: Tensor, estimate: Tensor) -> Tensor:
        """Return the next estimate. Input and output are folded."""
        residual: Tensor = recomputed(self, self.residual, torch.cat([x, estimate], 1))
        return x + residual

    def residual(self, x: Tensor) -> Tensor:
        """Run one pass: (N, 6*stem^2, h, w) -> (N, 3*stem^2, h, w), h and w multiples of 2^(depth - 1)."""
        enc = self.encode(x)
        out = enc[-1]
        for level, decoder in zip(range(self.config.depth - 2, -1, -1), self.decoders, strict=True):
            out = decoder(torch.cat([self.upsample(out), enc[level]], 1))
            out = self._recruit(out, f"dec{level + 1}", x, enc)
        return self._recruit(self.head(out), "output", x, enc)

    def features(self, image: Tensor, levels: int) -> list[Tensor]:
        """Return the encoders' first levels for an image that is both the rainy input and the estimate."""
        x = self._folded(image)
        return self.encode(torch.cat([x, x], 1), levels)

    def encode(self, x: Tensor, levels: int = len(MULTIPLES)) -> list[Tensor]:
        """Return the three encoders' first levels, concatenated; level l: (N, 3 * width * MULTIPLES[l], h / 2**l, w / 2**l)."""
        return [torch.cat(same, 1) for same in zip(*(encoder(x, levels) for encoder in self.encoders), strict=True)]

    def _recruit(self, out: Tensor, target: str, x: Tensor, enc: list[Tensor]) -> Tensor:
        """Add the outputs of the connections that end at ``target``, each times its learned strength."""
        for name, block in self.recruit.items():
            source, end = name.split("->")
            if end == target:
                given = x if source == "input" else enc[int(source[3]) - 1]
                out = out + self.strength[name].to(out.dtype) * block(given)
        return out


def _taken(images: Tensor, chosen: list[int]) -> Tensor:
    """Return some images of a batch in the channels-last layout of training, which indexing does not keep."""
    return images[chosen].contiguous(memory_format=torch.channels_last)
