"""The contrastive prior: in a feature space, it pulls the derained image to the clean one and away from the rainy one.

Two forms share one interface, ``Prior``: the published ratio of distances, and InfoNCE over patches, whose loss gives a lower
bound of the mutual information of derained and clean features. Each form is a pure function and a module that calls it.

A feature space returns levels of (N, C, H, W), finest first (``rdmc.training.features``, ``rdmc.training.vgg19``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from rdmc.data.sampling import patch_generator

SHORTEST = 1e-3
"""Vectors shorter than this are divided by it. If all features are zero, the gradient of a direction would be unbounded."""


def contrastive_ratio(
    derained: Sequence[Tensor], clean: Sequence[Tensor], rainy: Sequence[Tensor], *, weights: Sequence[float] | None = None
) -> Tensor:
    """Return how near the derained image is to the clean one, compared to the rainy one; a scalar in [0, 1], 0 is best.

    With d the L1 distance of features, averaged per image and level, it is the mean of

        d(derained, clean) / (d(derained, clean) + d(derained, rainy))

    over images and levels. The levels are weighted by ``weights`` (equally if None). The term is r / (1 + r) for the
    published ratio r = d(derained, clean) / d(derained, rainy). It has the same order and the same minimum, but it is
    bounded. r is not, as long as the first estimates still equal the rainy image. Features of ``clean`` and ``rainy`` are
    constants; the gradient reaches the derained image through *both* distances.

    Each argument lists levels of (N, C, H, W).
    """
    terms = []
    for d, c, r in zip(derained, clean, rainy, strict=True):
        positive = (d - c.detach()).abs().mean((1, 2, 3))
        negative = (d - r.detach()).abs().mean((1, 2, 3))
        terms.append((positive / (positive + negative + 1e-6)).mean())
    return _weighted_mean(terms, weights or [1.0] * len(terms))


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the mean of -log softmax(similarity / temperature) of each query's positive among all candidates, a scalar.

    The similarity is the dot product. Row i of ``positive`` (Q, D) belongs to row i of ``query`` (Q, D). It is a negative
    for every other query, and so is each row of ``negatives`` (M, D). A query has K = Q + M candidates, and log(K) minus the
    loss is a lower bound of the mutual information of query and positive (van den Oord et al., arXiv 1807.03748).
    """
    similarity = torch.cat([query @ positive.T, query @ negatives.T], 1) / temperature  # (Q, K)
    return F.cross_entropy(similarity, torch.arange(len(query), device=query.device))


class Prior(nn.Module):
    """Interface of both forms: features of three images in, ``contrastive`` and figures to log out.

    ``first`` is the position of the first image in the training's stream; the others follow it.
    """

    def forward(
        self, derained: Sequence[Tensor], clean: Sequence[Tensor], rainy: Sequence[Tensor], first: int = 0
    ) -> dict[str, Tensor]:
        """Return scalars by name. Each argument lists levels of (N, C, H, W)."""
        raise NotImplementedError


class Ratio(Prior):
    """``contrastive_ratio`` with a fixed weight for each level."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def forward(
        self, derained: Sequence[Tensor], clean: Sequence[Tensor], rainy: Sequence[Tensor], first: int = 0
    ) -> dict[str, Tensor]:
        """Return ``contrastive``, in [0, 1]."""
        d, c, r = ([level.float() for level in image] for image in (derained, clean, rainy))
        return {"contrastive": contrastive_ratio(d, c, r, weights=self.weights)}


class InfoNCE(Prior):
    """``info_nce`` over patches. A patch is a position of a feature map: a vector that depends on its receptive field.

    The query is a patch of the derained image. Its positive is the clean patch at the same place. Its negatives are the rainy
    patch at that place, and the clean and rainy patches of all other places drawn: of the same image, of the batch's other
    images and of the other ranks' images (those as constants). The places depend on (seed, position in the stream), so a run
    draws the same places with any number of ranks, resumed or not.

    With ``projection``, each level has a head of two linear layers that is trained with the network and is not part of it.
    Queries and candidates pass the same head, candidates without gradient. A collapse is not rewarded: if all vectors are
    equal the loss is log(K), that of guessing.
    """

    def __init__(
        self,
        channels: Sequence[int],
        weights: Sequence[float],
        temperature: float,
        patches: int,
        projection: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.weights, self.temperature, self.patches, self.seed = tuple(weights), temperature, patches, seed
        self.heads = nn.ModuleList(_head(count, projection) if projection else nn.Identity() for count in channels)

    def forward(
        self, derained: Sequence[Tensor], clean: Sequence[Tensor], rainy: Sequence[Tensor], first: int = 0
    ) -> dict[str, Tensor]:
        """Return ``contrastive``, and ``mi_bound``: the lower bound of the mutual information, log(K) - loss, in nats."""
        generators = [patch_generator(self.seed, first + index) for index in range(len(derained[0]))]
        losses, bounds = [], []
        with torch.autocast(derained[0].device.type, enabled=False):  # similarities / temperature need all digits
            for head, d, c, r in zip(self.heads, derained, clean, rainy, strict=True):
                places = draw_places(generators, d.shape[2] * d.shape[3], self.patches).to(d.device)
                query = unit_vectors(head, d, places)
                with torch.no_grad():
                    positive, same_place = unit_vectors(head, c, places), unit_vectors(head, r, places)
                    negatives = torch.cat([same_place, of_other_ranks(torch.cat([positive, same_place]))])
                losses.append(info_nce(query, positive, negatives, self.temperature))
                bounds.append(math.log(len(positive) + len(negatives)) - losses[-1].detach())
        return {"contrastive": _weighted_mean(losses, self.weights), "mi_bound": _weighted_mean(bounds, self.weights)}


def draw_places(generators: Sequence[np.random.Generator], count: int, patches: int) -> Tensor:
    """Draw distinct places, 0 to ``count`` - 1, for each generator's image: (N, ``patches``), or (N, ``count``) if smaller."""
    drawn = [generator.choice(count, min(patches, count), replace=False) for generator in generators]
    return torch.from_numpy(np.stack(drawn))


def unit_vectors(head: nn.Module, level: Tensor, places: Tensor) -> Tensor:
    """Return the output of ``head`` for a level (N, C, H, W) at ``places`` (N, P): (N * P, D), each of length 1."""
    vectors = level.float().permute(0, 2, 3, 1).flatten(1, 2)  # (N, H * W, C)
    chosen = vectors.take_along_dim(places[..., None], 1).flatten(0, 1)
    return F.normalize(head(chosen), dim=1, eps=SHORTEST)


def of_other_ranks(vectors: Tensor) -> Tensor:
    """Return the vectors (M, D) of all other ranks, as constants; none in a single process. Every rank has the same M."""
    vectors = vectors.detach().contiguous()
    if not distributed.is_initialized():
        return vectors[:0]
    found = [torch.empty_like(vectors) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, vectors)
    del found[distributed.get_rank()]
    return torch.cat([vectors[:0], *found])


def _head(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width))


def _weighted_mean(terms: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    weighed = [weight * term for weight, term in zip(weights, terms, strict=True)]
    return torch.stack(weighed).sum() / sum(weights)
