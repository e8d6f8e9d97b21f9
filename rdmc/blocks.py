"""The blocks of RDMC: double convolutions, the learned upsampling mix, the two kinds of cross-level connection.

Tensors are (N, C, H, W) floats. Facts from docs/rdmc.md; the journal version is DRNet, Pattern Recognition 158, 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError

NORMS = ("none", "group", "batch")


def norm(kind: str, channels: int) -> nn.Module:
    """A normalisation layer: ``none``, ``group`` (groups of 8 channels or fewer) or ``batch``."""
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        groups = max(g for g in range(1, max(1, channels // 8) + 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    raise ConfigError(f"network.norm: {kind!r} is not one of {', '.join(NORMS)}; choose one of them")


class DoubleBlock(nn.Sequential):
    """conv3x3-norm-ReLU twice; ``dilation`` widens the second convolution. Keeps height and width."""

    def __init__(self, inputs: int, outputs: int, kind: str, dilation: int = 1) -> None:
        bias = kind == "none"
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias),
            norm(kind, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias),
            norm(kind, outputs),
            nn.ReLU(inplace=True),
        )


class Upsample(nn.Module):
    """A learned softmax mix of bilinear and bicubic upsampling by 2, as in differentiable architecture search.

    Both are fixed linear filters, so the mix is one filter too: a single depthwise transposed convolution gives what two
    calls of ``F.interpolate`` (align_corners=False) and their weighted sum do, several times faster on a CPU.
    """

    BILINEAR = (0, 0, 64, 192, 192, 64, 0, 0)
    BICUBIC = (-9, -27, 67, 225, 225, 67, -27, -9)
    """What one pixel gives to the 8 pixels of the doubled line around it, in 1/256; bicubic with a = -0.75, as in torch."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(1e-3 * torch.randn(2))
        line = torch.tensor([self.BILINEAR, self.BICUBIC]) / 256
        self.register_buffer("kernels", line[:, :, None] * line[:, None, :], persistent=False)  # (2, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 2H, 2W)."""
        channels = x.shape[1]
        kernel = (self.mix.softmax(0)[:, None, None] * self.kernels).sum(0).to(x.dtype)
        around = F.pad(x, (2, 2, 2, 2), mode="replicate")  # F.interpolate repeats the border too
        return F.conv_transpose2d(around, kernel.expand(channels, 1, 8, 8), stride=2, padding=7, groups=channels)


class Downward(nn.Sequential):
    """Shallow to deep: conv-norm-LeakyReLU(0.2); ``stride`` 2 is a 3x3 convolution, 1 a 1x1 one."""

    def __init__(self, inputs: int, outputs: int, kind: str, stride: int) -> None:
        size = 3 if stride == 2 else 1
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=kind == "none"),
            norm(kind, outputs),
            nn.LeakyReLU(0.2, inplace=True),
        )


class Upward(nn.Module):
    """Deep to shallow: bilinear upsampling by ``scale`` (1: none), then a double block."""

    def __init__(self, inputs: int, outputs: int, kind: str, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.block = DoubleBlock(inputs, outputs, kind)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, scale*H, scale*W)."""
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        out: Tensor = self.block(x)
        return out
