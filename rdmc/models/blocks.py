"""The blocks of RDMC: convolutions at one or several scales, the learned upsampling mix, and the cross-level connections.

Tensors are (N, C, H, W) floats. The facts are from arXiv 2305.18092 and its journal version, Pattern Recognition 158, 2025.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.models.normalisation import BatchNorm

Padding = Literal["zeros", "replicate"]
NORMS = ("none", "group", "batch")
MIXES = ("mix", "bilinear", "bicubic")


def norm(kind: str, channels: int) -> nn.Module:
    """Return a normalisation: ``none``, ``group`` (groups of 8 channels or a few more) or ``batch``. Raises ConfigError."""
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return BatchNorm(channels)
    if kind == "group":
        groups = max(g for g in range(1, max(1, channels // 8) + 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    raise ConfigError(f"network.norm: {kind!r} is not one of {', '.join(NORMS)}; choose one of them")


class Dilated(nn.Conv2d):
    """A convolution whose weights have a finite gradient in bf16 on a CPU too.

    With channels last, a dilation of 2 or more, and more than 16 input channels that are no multiple of 16, oneDNN returns NaN
    for that gradient (torch 2.13, AVX512-BF16). With channels first the same gradient is right.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if max(self.dilation) > 1 and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            x, weight = x.contiguous(), weight.contiguous()
        out: Tensor = super()._conv_forward(x, weight, bias)
        return out


class DoubleBlock(nn.Sequential):
    """Twice conv3x3-norm-ReLU. ``dilation`` widens the second convolution. Height and width stay the same.

    ``slope`` is the gradient of the activation below zero: 0 for ReLU. ``padding`` is the ``padding_mode`` of torch's
    convolutions: how a map continues beyond its border.
    """

    def __init__(
        self, inputs: int, outputs: int, kind: str, dilation: int = 1, slope: float = 0.0, padding: Padding = "zeros"
    ) -> None:
        bias = kind == "none"
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias, padding_mode=padding),
            norm(kind, outputs),
            activation(slope),
            Dilated(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias, padding_mode=padding),
            norm(kind, outputs),
            activation(slope),
        )


def activation(slope: float) -> nn.Module:
    """Return ReLU for a ``slope`` of 0, else LeakyReLU with that gradient below zero."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def pyramid(blocks: Iterable[nn.Module], x: Tensor, levels: int) -> list[Tensor]:
    """Apply the first ``levels`` blocks with 2x2 max-pooling between them; level l is (N, C_l, H / 2**l, W / 2**l)."""
    found: list[Tensor] = []
    for block in list(blocks)[:levels]:
        x = block(F.max_pool2d(x, 2) if found else x)
        found.append(x)
    return found


class Upsample(nn.Module):
    """Upsampling by 2: bilinear, bicubic, or a learned softmax mix of both, as in differentiable architecture search.

    Both are fixed linear filters, so the mix is one filter too. A single depthwise transposed convolution gives the same as
    two calls of ``F.interpolate`` (align_corners=False) and their weighted sum, several times faster on a CPU. For small
    maps two matrix products are faster still; the convolution's backward pass takes ten times as long there.
    """

    SMALL = 24
    """Pixels a side up to which the matrix products are used."""

    BILINEAR = (0, 0, 64, 192, 192, 64, 0, 0)
    BICUBIC = (-9, -27, 67, 225, 225, 67, -27, -9)
    """Weights of one pixel in the 8 pixels around it in the doubled line, in 1/256; bicubic with a = -0.75, as in torch."""

    kernels: Tensor

    def __init__(self, kind: str = "mix") -> None:
        super().__init__()
        self.kind = kind
        if kind == "mix":
            self.mix = nn.Parameter(1e-3 * torch.randn(2))
        line = torch.tensor([self.BILINEAR, self.BICUBIC]) / 256
        self.register_buffer("kernels", line[:, :, None] * line[:, None, :], persistent=False)  # (2, 8, 8)

    def shares(self) -> Tensor:
        """Return the shares of bilinear and bicubic, (2,), which add up to 1."""
        if self.kind == "mix":
            return self.mix.softmax(0)
        return self.kernels.new_tensor([self.kind == "bilinear", self.kind == "bicubic"])

    def forward(self, x: Tensor) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W)."""
        if not torch.compiler.is_exporting() and max(x.shape[2:]) <= self.SMALL:  # one graph for every size
            return self._by_matrices(x)
        channels = x.shape[1]
        kernel = (self.shares()[:, None, None] * self.kernels).sum(0).to(x.dtype)
        around = F.pad(x, (2, 2, 2, 2), mode="replicate")  # F.interpolate repeats the border too
        return F.conv_transpose2d(around, kernel.expand(channels, 1, 8, 8), stride=2, padding=7, groups=channels)

    def _by_matrices(self, x: Tensor) -> Tensor:
        """Upsample by two matrix products, along the rows and then the columns of the map, channels innermost."""
        n, c, h, w = x.shape
        rows, columns = (doubling(side, x.device).to(x.dtype) for side in (w, h))  # (2, 2w, w) and (2, 2h, h)
        wide = torch.matmul(rows[:, None, None], x.permute(0, 2, 3, 1))  # (2, n, h, 2w, c), bilinear and bicubic
        mixed = self.shares()[:, None, None].to(x.dtype) * columns
        tall = torch.matmul(mixed[:, None], wide.reshape(2, n, h, 2 * w * c)).sum(0)
        return tall.view(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def doubling(side: int, device: torch.device) -> Tensor:
    """Return bilinear and bicubic interpolation of a line of ``side`` pixels as matrices, (2, 2 * side, side)."""
    with torch.inference_mode(False):  # cached for training too, whatever mode the first caller is in
        line = torch.eye(side, device=device)[None, :, :, None]  # each channel is one pixel of the line
        modes = [F.interpolate(line, size=(2 * side, 1), mode=mode, align_corners=False) for mode in ("bilinear", "bicubic")]
        return torch.stack([found[0, :, :, 0].T for found in modes])


class Downward(nn.Sequential):
    """A connection from shallow to deep: conv-norm-LeakyReLU(0.2). ``stride`` 2 is a 3x3 convolution, 1 a 1x1 one."""

    def __init__(self, inputs: int, outputs: int, kind: str, stride: int) -> None:
        size = 3 if stride == 2 else 1
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=kind == "none"),
            norm(kind, outputs),
            nn.LeakyReLU(0.2, inplace=True),
        )


class Upward(nn.Module):
    """A connection from deep to shallow: bilinear upsampling by ``scale`` (1: none), then a double block."""

    def __init__(self, inputs: int, outputs: int, kind: str, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.block = DoubleBlock(inputs, outputs, kind)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, scale*H, scale*W)."""
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        out: Tensor = self.block(x)
        return out
