"""RDMC: the recursive dynamic multi-scale network (arXiv 2305.18092; DRNet, Pattern Recognition 158, 2025, 111004).

One set of weights is applied to the image ``passes`` times. A pass takes the rainy image and the estimate so far, encodes
both at three scales, and adds a residual to the rainy image:

    estimate[0] = rainy
    estimate[t] = rainy + pass(cat(rainy, estimate[t - 1]))

There are two forms (rdmc/models/encoders.py): the published one, whose three encoders are separate, and a mixed one, which
learns faster and costs less (docs/decisions/0010).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.models.base import Restorer, cropped, pad_to_multiple, recomputed, statistics_kept
from rdmc.models.blocks import MIXES, NORMS, DoubleBlock, Downward, Upsample, Upward
from rdmc.models.encoders import GREY, PADDING, SLOPE, Encoder, MixedBlock

FORMS = ("separate", "mixed")
STEMS = (1, 2, 4)
MULTIPLES = {"separate": (1, 2, 4, 8, 8), "mixed": (1, 2, 3, 4, 4)}
"""Channels of one encoder's five levels, in units of the width. A shallower network has the first few."""
DECODED = {"separate": (1.5, 3, 6, 12), "mixed": (1, 2, 3, 4)}
"""Channels of the decoder at levels 1 to 4, in units of the width: 48, 96, 192 and 384 in the published form at width 32."""
MAX_DEPTH = 5
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
    form: str = "separate"
    """separate: three encoders side by side (published); mixed: one encoder whose blocks mix three scales."""
    width: int = 32
    """Channels of one encoder's finest level (published: 32)."""
    depth: int = 5
    """Levels of an encoder, 2 to 5; each halves height and width (published: 5)."""
    passes: int = 3
    """Recursive passes T with shared weights (published: 3)."""
    refine: int = 0
    """The finest levels that the passes after the first compute again; they take the deeper ones from the first pass. 0: all
    levels (published)."""
    stem: int = 1
    """Pixels per side folded into channels before the first convolution: 1 works at full resolution (published), 2 at
    half resolution for a quarter of the cost."""
    norm: str = "none"
    """Normalisation after convolutions: none, group or batch (published: batch)."""
    dilations: tuple[int, ...] = (1, 2, 3)
    """Dilations of the scales. The published form has an encoder for each (published: 1, 2, 3)."""
    connections: tuple[str, ...] = CONNECTIONS
    """The cross-level connections of the network, from the eight in ``CONNECTIONS``. Connections between levels that a
    shallower network does not have, or joins anyway, are left out."""
    upsample: str = "mix"
    """The decoder's upsampling: mix (learned, of bilinear and bicubic), bilinear or bicubic."""

    def __post_init__(self) -> None:
        for name in ("width", "passes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"network.{name}: {getattr(self, name)} is below 1; give a positive whole number")
        for name, known in (("form", FORMS), ("stem", STEMS), ("norm", NORMS), ("upsample", MIXES)):
            if getattr(self, name) not in known:
                listed = ", ".join(map(str, known))
                raise ConfigError(f"network.{name}: {getattr(self, name)!r} is not one of {listed}; choose one of them")
        if not 2 <= self.depth <= MAX_DEPTH:
            raise ConfigError(f"network.depth: {self.depth} is not within 2 to {MAX_DEPTH}; choose one of these")
        if not 0 <= self.refine < self.depth:
            raise ConfigError(f"network.refine: {self.refine} is not within 0 to {self.depth - 1}; choose one of these")
        if not self.dilations or min(self.dilations) < 1:
            raise ConfigError(f"network.dilations: {list(self.dilations)} is not a list of dilations; give some of 1 or more")
        if self.form == "mixed" and self.width < len(self.dilations):
            raise ConfigError(
                f"network.width: {self.width} has no channel for each of the {len(self.dilations)} dilations; raise it"
            )
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

    @property
    def encoded(self) -> tuple[int, ...]:
        """Channels of all encoders together, for each level."""
        encoders = len(self.dilations) if self.form == "separate" else 1
        return tuple(encoders * self.width * multiple for multiple in MULTIPLES[self.form][: self.depth])

    @property
    def decoded(self) -> tuple[int, ...]:
        """Channels of the decoder for each level but the deepest."""
        return tuple(int(self.width * multiple) for multiple in DECODED[self.form][: self.depth - 1])


class RDMC(Restorer):
    """The network. Input and output are (N, 3, H, W), RGB, 0 to 1, any height and width; the output is not clamped."""

    config: RDMCConfig

    def __init__(self, config: RDMCConfig) -> None:
        super().__init__(config)
        colours, wide, dec = 3 * config.stem**2, config.encoded, config.decoded
        double: Callable[..., DoubleBlock] = DoubleBlock
        if config.form == "mixed":
            double = partial(DoubleBlock, slope=SLOPE, padding=PADDING)
        upwards = range(config.depth - 2, -1, -1)  # the decoder's levels, deep to shallow, counted from 0
        self.encoders = nn.ModuleList(_encoders(config, 2 * colours))
        self.upsample = Upsample(config.upsample)
        self.decoders = nn.ModuleList(
            double((wide if level == upwards[0] else dec)[level + 1] + wide[level], dec[level], config.norm)
            for level in upwards
        )
        self.head = nn.Conv2d(dec[0], colours, 1)
        chosen = [name for name in CONNECTIONS if name in config.connections]  # the order does not depend on the config's
        self.recruit = nn.ModuleDict({name: _connection(config, name) for name in chosen})
        self.strength = nn.ParameterDict({name: nn.Parameter(1e-3 * torch.randn(())) for name in chosen})
        self._initialise()

    def _initialise(self) -> None:
        """Apply He initialisation for the activation, and a small head so that the first estimate is nearly the rainy image.

        The head is small and not zero: a residual of exactly zero makes denormal gradients, which are slow on CPUs.
        """
        slope = SLOPE if self.config.form == "mixed" else 0.0
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=slope, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        mixed = [module for module in self.modules() if isinstance(module, MixedBlock)]
        for block in mixed:
            block.initialise()
        for block in mixed[:1]:
            block.initialise_first(self.config.stem**2)
        nn.init.normal_(self.head.weight, std=1e-2)

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """Return the estimate after every pass, each (N, 3, H, W)."""
        x = estimate = self._folded(rainy)
        coarse: list[Tensor] = []
        found = []
        for _ in range(self.config.passes):
            estimate, coarse = self._passed(x, estimate, coarse)
            found.append(cropped(F.pixel_shuffle(estimate, self.config.stem), *rainy.shape[-2:]))
        return found

    def truncated(self, rainy: Tensor, first: int = 0) -> list[Tensor]:
        """Return one estimate per image, (N, 3, H, W), by one pass that starts from the result of 0 to ``passes`` - 1 others.

        Gradients reach that one pass only. This is backpropagation through the recursion, truncated to its last step, as
        diffusion models learn to continue from their own estimate (self-conditioning, arXiv 2208.04202). Image i has had
        (``first`` + i) modulo ``passes`` earlier passes, so the passes share a batch evenly on any number of ranks.

        With ``refine``, later passes need the first one's features and not its estimate alone: all estimates are returned.
        """
        if self.config.refine:
            return self.estimates(rainy)
        x = self._folded(rainy)
        done = [(first + index) % self.config.passes for index in range(len(x))]
        estimate = x.clone()
        with torch.no_grad(), statistics_kept(self):
            for number in range(1, self.config.passes):
                chosen = [index for index, passes in enumerate(done) if passes >= number]
                if chosen:
                    estimate[chosen] = self._passed(_taken(x, chosen), _taken(estimate, chosen))[0]
        derained = F.pixel_shuffle(self._passed(x, estimate)[0], self.config.stem)
        return [cropped(derained, *rainy.shape[-2:])]

    def _folded(self, image: Tensor) -> Tensor:
        """Pad and fold (N, 3, H, W) to (N, 3*stem^2, h, w), h and w multiples of 2^(depth - 1)."""
        return F.pixel_unshuffle(pad_to_multiple(image, self.config.multiple), self.config.stem)

    def _passed(self, x: Tensor, estimate: Tensor, coarse: Sequence[Tensor] = ()) -> tuple[Tensor, list[Tensor]]:
        """Return the next estimate, folded as the inputs are, and the ``coarse`` features for the passes after it."""
        residual, *kept = recomputed(self, self.residual, self._seen(x, estimate), *coarse)
        return x + residual, kept

    def _seen(self, x: Tensor, estimate: Tensor) -> Tensor:
        """Return what a pass sees, (N, 6*stem^2, h, w): the rainy image and the estimate.

        The mixed form sees them less a mean grey, and as the rain that was removed so far. That is the same information, and
        the first pass of a recursion then begins like a network without one: with a second input of zero.
        """
        if self.config.form == "mixed":
            return torch.cat([x - GREY, x - estimate], 1)
        return torch.cat([x, estimate], 1)

    def residual(self, x: Tensor, *coarse: Tensor) -> tuple[Tensor, ...]:
        """Run one pass: (N, 6*stem^2, h, w) -> (N, 3*stem^2, h, w), h and w multiples of 2^(depth - 1).

        What follows the residual is ``coarse``, for later passes that compute the ``refine`` finest levels only: the decoder's
        output one level below those, then the encoder's levels from there on. Given that, only those levels are computed.
        """
        refine = self.config.refine
        enc = self.encode(x, refine) + list(coarse[1:]) if coarse else self.encode(x, self.config.depth)
        below = refine if coarse else self.config.depth - 1  # the level, counted from 0, whose decoded features are known
        out, kept = (coarse[0] if coarse else enc[-1]), list(coarse)
        for level, decoder in zip(range(self.config.depth - 2, -1, -1), self.decoders, strict=True):
            if refine and level == refine - 1 and not coarse:
                kept = [out, *enc[refine:]]
            if level < below:
                out = decoder(torch.cat([self.upsample(out), enc[level]], 1))
                out = self._recruit(out, f"dec{level + 1}", x, enc)
        return (self._recruit(self.head(out), "output", x, enc), *kept)

    def features(self, image: Tensor, levels: int) -> list[Tensor]:
        """Return the encoders' first levels for an image that is both the rainy input and the estimate."""
        x = self._folded(image)
        return self.encode(self._seen(x, x), levels)

    def encode(self, x: Tensor, levels: int) -> list[Tensor]:
        """Return the encoders' first levels, concatenated; level l: (N, ``config.encoded``[l], h / 2**l, w / 2**l)."""
        return [torch.cat(same, 1) for same in zip(*(encoder(x, levels) for encoder in self.encoders), strict=True)]

    def _recruit(self, out: Tensor, target: str, x: Tensor, enc: list[Tensor]) -> Tensor:
        """Add the outputs of the connections that end at ``target``, each times its learned strength."""
        for name, block in self.recruit.items():
            source, end = name.split("->")
            if end == target:
                given = x if source == "input" else enc[int(source[3]) - 1]
                out = out + self.strength[name].to(out.dtype) * block(given)
        return out


def _encoders(config: RDMCConfig, inputs: int) -> list[Encoder]:
    """Return the three separate encoders, or the mixed one."""
    widths = [config.width * multiple for multiple in MULTIPLES[config.form][: config.depth]]
    if config.form == "mixed":
        return [Encoder(inputs, widths, partial(MixedBlock, kind=config.norm, dilations=config.dilations))]
    return [Encoder(inputs, widths, partial(DoubleBlock, kind=config.norm, dilation=d)) for d in config.dilations]


def _connection(config: RDMCConfig, name: str) -> Downward | Upward:
    """Return the block of a cross-level connection: from the input or an encoder's level to a decoder's or the output."""
    colours = 3 * config.stem**2
    source, target = name.split("->")
    inputs = 2 * colours if source == "input" else config.encoded[int(source[3]) - 1]
    outputs = colours if target == "output" else config.decoded[int(target[3]) - 1]
    if CONNECTIONS.index(name) < 4:
        return Downward(inputs, outputs, config.norm, stride=1 if source == "input" else 2)
    return Upward(inputs, outputs, config.norm, scale=1 if target == "output" else 2)


def _taken(images: Tensor, chosen: list[int]) -> Tensor:
    """Return some images of a batch in the channels-last layout of training, which indexing does not keep."""
    return images[chosen].contiguous(memory_format=torch.channels_last)
