"""VGG19 up to its third block, a feature space for the contrastive prior (Simonyan & Zisserman, arXiv 1409.1556).

This project may not ship its ImageNet weights: params.yaml names a file or URL of torchvision's state dict.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch
from safetensors import safe_open
from torch import Tensor, nn

from rdmc.download import cache_folder, download
from rdmc.errors import CheckpointError
from rdmc.files import file_digest
from rdmc.training.config import VGG19_TAPS

CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256)}
"""Input and output channels of the 3x3 convolutions, by their index in torchvision's ``features``."""
POOLINGS = (4, 9)
WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of the levels in the loss (published)."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB, 0 to 1, which the weights expect."""
LARGEST = 1 << 30
"""Most bytes of a file of weights. torchvision's file, with the classifier, has a little more than half of that."""


class VGG19(nn.Module):
    """VGG19's layers up to the ``levels``-th tap. The weights are constants; the gradient reaches the image."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.weights = WEIGHTS[:levels]
        self.layers = nn.ModuleList(_layer(index) for index in range(VGG19_TAPS[levels - 1] + 1))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W), RGB, 0 to 1, 16 or more pixels a side, to the taps, (N, 64 to 256, H to H / 4, W to W / 4)."""
        x, found = (image - self.mean) / self.deviation, []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in VGG19_TAPS:
                found.append(x)
        return found


def load_vgg19(source: str, sha256: str, levels: int) -> VGG19:
    """Return VGG19 with the weights of ``source``, on the CPU. Raises what ``find_weights`` and ``read_weights`` raise."""
    path = find_weights(source, sha256)
    network = VGG19(levels)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.layers.state_dict().items()}
    network.layers.load_state_dict(read_weights(path, wanted))
    return network


def find_weights(source: str, sha256: str) -> Path:
    """Return the file of a path or https:// URL, and check its digest if one is given. A download is kept in the user's cache.

    Raises ServiceError for a URL that cannot be reached, CheckpointError for a missing file or another digest.
    """
    if source.startswith("https://"):
        suffix = PurePosixPath(source.partition("?")[0]).suffix
        return download(source, sha256, cache_folder(), LARGEST, suffix if suffix == ".safetensors" else ".pth")
    path = Path(source).expanduser().absolute()
    try:
        found = file_digest(path) if sha256 else ""
        path.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"loss.vgg19_weights: {path}: {error.strerror}; name torchvision's VGG19 weights") from None
    if found != sha256:
        raise CheckpointError(f"loss.vgg19_sha256: {path} has {found}, not {sha256}; correct one of the two")
    return path


def read_weights(path: Path, wanted: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the tensors ``wanted`` (shapes by name, without ``features.``) as float32. Only tensors are unpickled.

    Raises CheckpointError if the file cannot be read, or a tensor is missing or has another shape.
    """
    try:
        found = _safetensors(path, wanted) if path.suffix == ".safetensors" else _pickled(path, wanted)
    except Exception as error:  # noqa: BLE001  for a damaged file the readers raise errors of any kind
        kind = type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as weights ({kind}); give a .pth or .safetensors file") from None
    for name, shape in wanted.items():
        if name not in found or tuple(found[name].shape) != shape:
            has = tuple(found[name].shape) if name in found else "missing"
            raise CheckpointError(f"{path}: features.{name} is {has}, VGG19's is {shape}; give torchvision's VGG19 weights")
    return {name: tensor.float() for name, tensor in found.items()}


def _safetensors(path: Path, wanted: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        there = set(file.keys())
        return {name: file.get_tensor(f"features.{name}") for name in wanted if f"features.{name}" in there}


def _pickled(path: Path, wanted: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("not a state dict")
    there = {name: state.get(f"features.{name}") for name in wanted}
    return {name: tensor for name, tensor in there.items() if isinstance(tensor, Tensor)}


def _layer(index: int) -> nn.Module:
    """Return the layer at ``index``. No layer works in place: a tap may be just before a ReLU."""
    if index in CONVOLUTIONS:
        return nn.Conv2d(*CONVOLUTIONS[index], 3, padding=1)
    return nn.MaxPool2d(2) if index in POOLINGS else nn.ReLU()
