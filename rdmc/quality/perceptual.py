"""LPIPS and DISTS of images, from files of weights that a user has.

Neither the authors' weights nor the networks' ImageNet weights come with this project. A figure depends on all of them, so
``digest`` names both files. Images are compared whole, in their own size: DISTS' authors offer to shrink them to 256 pixels
first, which gives other figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rdmc.errors import CheckpointError, ConfigError, DataError
from rdmc.files import file_digest
from rdmc.metrics import Image, check_pair
from rdmc.quality.backbones import ALEXNET, VGG16, BackboneLayout, load_backbone
from rdmc.quality.dists import L2Pool, load_dists
from rdmc.quality.lpips import LPIPS, read_linear

SMALLEST = 32
"""Fewest pixels of a side: below it, the networks' last features have no position."""
OPTIONS = {ALEXNET.title: "--alexnet", VGG16.title: "--vgg16"}
"""How a user names the weights of a backbone."""


@dataclass(frozen=True)
class PerceptualFiles:
    """The files of weights that a user names."""

    lpips: Path | None = None
    """LPIPS' channel weights: alex.pth or vgg.pth."""
    dists: Path | None = None
    """DISTS' alpha and beta: weights.pt."""
    alexnet: Path | None = None
    """torchvision's AlexNet."""
    vgg16: Path | None = None
    """torchvision's VGG16."""


@dataclass(frozen=True)
class PerceptualMeasure:
    """One measure with its weights; lower is better."""

    name: str
    """``LPIPS-alex``, ``LPIPS-vgg`` or ``DISTS``."""
    digest: str
    """SHA-256 of both files of weights."""
    network: nn.Module
    """Maps two batches (N, 3, H, W), RGB, 0 to 1, to their distances (N)."""

    def measure(self, output: Image, clean: Image, device: str | torch.device = "cpu") -> float:
        """Return the distance of two images (H, W, 3), RGB, 0 to 255.

        Raises DataError for other types, two sizes or a side below ``SMALLEST``, and CheckpointError for a result that is not
        finite.
        """
        check_pair(output, clean)
        if min(clean.shape[:2]) < SMALLEST:
            size = f"{clean.shape[1]}x{clean.shape[0]}"
            raise DataError(f"an image of {size}: {self.name} needs sides of at least {SMALLEST} pixels; leave the image out")
        self.network.to(device)
        with torch.inference_mode():
            a, b = (torch.from_numpy(np.array(one)).to(device).permute(2, 0, 1)[None].float() / 255 for one in (output, clean))
            found = float(self.network(a, b))
        if not np.isfinite(found):
            raise CheckpointError(f"{self.name} is not finite: its weights cannot be used; download them again")
        return found


def load_measures(files: PerceptualFiles) -> list[PerceptualMeasure]:
    """Return the measures whose weights are named, on the CPU; none if none are.

    Raises ConfigError for a measure without its backbone and for a backbone without a measure, CheckpointError for a file that
    is missing or damaged, holds anything else than tensors, or has the weights of something else.
    """
    found, used = [], set()
    if files.lpips:
        layout, weights = read_linear(files.lpips)
        backbone = _backbone(layout, files, f"--lpips {files.lpips}")
        name = {ALEXNET.title: "LPIPS-alex", VGG16.title: "LPIPS-vgg"}[layout.title]
        network: nn.Module = LPIPS(load_backbone(layout, backbone), weights).eval()
        found.append(PerceptualMeasure(name, _digest(files.lpips, backbone), network))
        used.add(backbone)
    if files.dists:
        backbone = _backbone(VGG16, files, f"--dists {files.dists}")
        network = load_dists(load_backbone(VGG16, backbone, L2Pool), files.dists)
        found.append(PerceptualMeasure("DISTS", _digest(files.dists, backbone), network))
        used.add(backbone)
    for title, path in _named(files).items():
        if path and path not in used:
            raise ConfigError(
                f"{OPTIONS[title]} {path}: no measure that is named uses it; add --lpips or --dists, or leave it out"
            )
    return found


def _named(files: PerceptualFiles) -> dict[str, Path | None]:
    return {ALEXNET.title: files.alexnet, VGG16.title: files.vgg16}


def _backbone(layout: BackboneLayout, files: PerceptualFiles, measure: str) -> Path:
    path = _named(files)[layout.title]
    if path is None:
        raise ConfigError(f"{measure}: needs {layout.title}; name torchvision's weights of it: {OPTIONS[layout.title]} FILE")
    return path


def _digest(*paths: Path) -> str:
    return " ".join(file_digest(path) for path in paths)
