"""The segmenter that the act trains where none is given: regions of colour and height, learned from clean photographs.

It is a stand-in, which says so. Its labels come of no person: each pixel of a clean photograph belongs to the nearest of eight
centres in colour (CIE Lab, blurred) and height in the picture, which k-means finds with a fixed seed. A small network learns
to tell them from a photograph. What is measured is how much of its labelling of a clean image survives the rain.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from rdmc.data.images import Image
from rdmc.downstream.segmentation import Labels

CLASSES = 8
"""Regions."""
SHRINK = 2
"""By how much pictures are smaller when they are labelled."""
BLUR = 2.0
"""Standard deviation, in pixels of the smaller picture, of the blur before colours are compared."""
HEIGHT = 60.0
"""By how many levels of Lab the top and the bottom of a picture differ."""
SAMPLED = 2000
"""Pixels of each photograph that k-means sees."""
CROP, BATCH, STEPS, RATE = 64, 4, 400, 1e-2
"""Of the training."""
WIDTH = 16
"""Channels of the network."""


class ColourRegions:
    """Labels images (H, W, 3), RGB, 0 to 255, at half their size."""

    def __init__(self, photographs: Sequence[Image], seed: int = 0, steps: int = STEPS) -> None:
        """Train on clean photographs. The same photographs, seed and number of threads give the same segmenter."""
        rng = np.random.default_rng(seed)
        planes = [_features(image) for image in photographs]
        self._centres = _centres(
            np.concatenate([plane[rng.integers(len(plane), size=SAMPLED)] for plane in map(_rows, planes)]), seed
        )
        labels = [_nearest(plane, self._centres) for plane in planes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _network()
        _train(self._network, [_small(image) for image in photographs], labels, rng, steps)

    def __call__(self, image: Image) -> Labels:
        """What the network says of an image."""
        with torch.inference_mode():
            return np.asarray(self._network(_tensor([_small(image)]))[0].argmax(0).numpy(), np.int64)

    def rule(self, image: Image) -> Labels:
        """What the rule says of an image; the network has learned it from clean photographs."""
        return _nearest(_features(image), self._centres)


def _network() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(5, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    for dilation in (2, 4):
        convolution = nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation)
        layers += [convolution, nn.BatchNorm2d(WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, CLASSES, 1))


def _train(
    network: nn.Sequential, images: Sequence[Image], labels: Sequence[Labels], rng: np.random.Generator, steps: int
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    tensors = [_tensor([image])[0] for image in images]
    for _ in range(steps):
        crops, wanted = [], []
        for number in rng.integers(len(images), size=BATCH):
            side = min(CROP, *labels[number].shape)
            y, x = (int(rng.integers(length - side + 1)) for length in labels[number].shape)
            crops.append(tensors[number][:, y : y + side, x : x + side])
            wanted.append(torch.from_numpy(labels[number][y : y + side, x : x + side]))
        loss = functional.cross_entropy(network(torch.stack(crops)), torch.stack(wanted))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    network.eval()


def _small(image: Image) -> Image:
    size = (max(1, image.shape[1] // SHRINK), max(1, image.shape[0] // SHRINK))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _tensor(images: Sequence[Image]) -> torch.Tensor:
    """(n, 5, H, W): the colours, 0 to 1, and the height and the side of each pixel, -1 to 1."""
    found = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    rows, columns = (torch.linspace(-1, 1, length) for length in found.shape[2:])
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return torch.cat([found, place.expand(len(images), -1, -1, -1)], 1)


def _features(image: Image) -> NDArray[np.float32]:
    """(H, W, 4) at the smaller size: blurred Lab colour, and the height in the picture in levels of Lab."""
    lab = cv2.cvtColor(_small(image).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    blurred = cv2.GaussianBlur(lab, (0, 0), BLUR)
    down = np.linspace(0, HEIGHT, len(blurred), dtype=np.float32)[:, None, None]
    return np.concatenate([blurred, np.broadcast_to(down, (*blurred.shape[:2], 1))], 2)


def _rows(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    return plane.reshape(-1, plane.shape[-1])


def _centres(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    from sklearn.cluster import KMeans  # takes a second to import

    return np.asarray(KMeans(CLASSES, n_init=1, random_state=seed).fit(rows).cluster_centers_, np.float32)


def _nearest(plane: NDArray[np.float32], centres: NDArray[np.float32]) -> Labels:
    distance = np.stack([((plane - centre) ** 2).sum(-1) for centre in centres])
    return np.asarray(distance.argmin(0), np.int64)
