"""The contrastive prior: its values against other implementations, its gradients, and the error in the released code."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rdmc.data.sampling import patch_generator
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.features import encoder_features
from rdmc.training.prior import InfoNCE, Ratio, contrastive_ratio, draw_places, info_nce, unit_vectors

LEVELS = 3
Levels = list[Tensor]
Term = Callable[[Levels, Levels, Levels], Tensor]
Images = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def images() -> Images:
    """Return (derained, clean, rainy): the rainy one is brighter in places, the derained one half way."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 32, 48, generator=generator)
    rainy = clean + 0.3 * (torch.rand(2, 1, 32, 48, generator=generator) > 0.8)
    return 0.5 * clean + 0.5 * rainy, clean, rainy


@pytest.fixture
def space() -> Callable[[Tensor], Levels]:
    torch.manual_seed(0)
    return partial(encoder_features, RDMC(RDMCConfig(width=4, passes=2)), levels=LEVELS)


@pytest.fixture
def infonce(space: Callable[[Tensor], Levels], images: Images) -> InfoNCE:
    torch.manual_seed(1)
    return InfoNCE([level.shape[1] for level in space(images[0])], [1.0] * LEVELS, 0.1, patches=16, projection=8)


def check_pull(term: Term, closeness: Callable[[Levels, Levels], float], space: Callable[[Tensor], Levels], at: Images) -> None:
    """Check that a small step down the term's gradient moves the image closer to the clean one and away from the rainy one."""
    derained, clean, rainy = at
    image = derained.clone().requires_grad_()
    value = term(space(image), space(clean), space(rainy)) + 0 * image.sum()
    (gradient,) = torch.autograd.grad(value, image)
    assert gradient.abs().max() > 0, "no gradient"
    stepped = derained - 1e-3 * gradient / gradient.abs().max()
    with torch.no_grad():
        before, after, wet = space(derained), space(stepped), space(rainy)
        dry = space(clean)
        assert closeness(after, dry) > closeness(before, dry)
        assert closeness(after, wet) < closeness(before, wet)
        assert term(after, dry, wet) < term(before, dry, wet)


def minus_distance(a: Levels, b: Levels) -> float:
    return -sum((x - y).abs().mean().item() for x, y in zip(a, b, strict=True))


def similarity(prior: InfoNCE, a: Levels, b: Levels) -> float:
    """Return the mean similarity of projected patches at the same places, over all places."""
    total = 0.0
    for head, x, y in zip(prior.heads, a, b, strict=True):
        places = torch.arange(x.shape[2] * x.shape[3]).expand(len(x), -1)
        total += (unit_vectors(head, x, places) * unit_vectors(head, y, places)).sum(1).mean().item()
    return total


def released(derained: Levels, clean: Levels, rainy: Levels) -> Tensor:
    """The error of the released code: the distance detaches its second argument, which is the restored image in both cases."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b.detach()).abs().mean()

    terms = [distance(c, d) / (distance(r, d) + 1e-7) for d, c, r in zip(derained, clean, rainy, strict=True)]
    return torch.stack(terms).sum()


def test_ratio_pulls_to_clean_and_away_from_rainy(space: Callable[[Tensor], Levels], images: Images) -> None:
    check_pull(contrastive_ratio, minus_distance, space, images)


def test_infonce_pulls_to_clean_and_away_from_rainy(
    infonce: InfoNCE, space: Callable[[Tensor], Levels], images: Images
) -> None:
    def term(derained: Levels, clean: Levels, rainy: Levels) -> Tensor:
        terms: dict[str, Tensor] = infonce(derained, clean, rainy)
        return terms["contrastive"]

    check_pull(term, partial(similarity, infonce), space, images)


def test_released_ratio_fails_the_same_check(space: Callable[[Tensor], Levels], images: Images) -> None:
    with pytest.raises(AssertionError, match="no gradient"):
        check_pull(released, minus_distance, space, images)


def test_released_ratio_has_the_value_of_one_that_learns(space: Callable[[Tensor], Levels], images: Images) -> None:
    """The value looks right, so the error is easy to miss."""
    ratios = [(d - c).abs().mean() / (d - r).abs().mean() for d, c, r in zip(*map(space, images), strict=True)]
    assert released(*map(space, images)).item() == pytest.approx(sum(ratios).item(), rel=1e-4)


def test_ratio_by_hand() -> None:
    derained, clean, rainy = (torch.full((1, 2, 2, 2), value) for value in (0.3, 0.0, 0.4))
    assert contrastive_ratio([derained], [clean], [rainy]).item() == pytest.approx(0.3 / (0.3 + 0.1), rel=1e-4)
    weighed = contrastive_ratio([derained, rainy], [clean] * 2, [rainy] * 2, weights=[1, 3])  # a second level of ratio 1
    assert weighed.item() == pytest.approx((1 * 0.75 + 3 * 1) / 4, rel=1e-4)
    assert contrastive_ratio([clean], [clean], [rainy]).item() == 0


def test_ratio_averages_images() -> None:
    derained, clean, rainy = (torch.tensor(v).reshape(2, 1, 1, 1) for v in ([0.3, 0.1], [0.0, 0.0], [0.4, 0.2]))
    assert contrastive_ratio([derained], [clean], [rainy]).item() == pytest.approx((0.75 + 0.5) / 2, rel=1e-4)


def test_ratio_module_is_the_function(space: Callable[[Tensor], Levels], images: Images) -> None:
    levels = [space(image) for image in images]
    weights = [0.25, 0.5, 1.0]
    assert torch.equal(Ratio(weights)(*levels)["contrastive"], contrastive_ratio(*levels, weights=weights))


def test_info_nce_against_loops() -> None:
    generator = torch.Generator().manual_seed(2)
    query, positive, negatives = (torch.randn(rows, 6, generator=generator) for rows in (5, 5, 7))
    losses = []
    for index, q in enumerate(query):
        others = [p for place, p in enumerate(positive) if place != index] + list(negatives)
        logits = torch.tensor([[float((q * c).sum()) / 0.3 for c in (positive[index], *others)]])  # the positive first
        losses.append(F.cross_entropy(logits, torch.tensor([0])).item())
    assert info_nce(query, positive, negatives, 0.3).item() == pytest.approx(sum(losses) / 5, rel=1e-5)


def test_info_nce_of_equal_vectors_is_the_loss_of_guessing() -> None:
    assert info_nce(torch.ones(4, 2), torch.ones(4, 2), torch.ones(4, 2), 0.1).item() == pytest.approx(math.log(8))


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    query, positive, negatives = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda q: info_nce(q, positive, negatives, 0.5), query.requires_grad_())
    derained, clean, rainy = torch.rand(3, 2, 2, 3, 3, dtype=torch.float64, generator=generator)
    ratio = torch.autograd.gradcheck(lambda d: contrastive_ratio([d], [clean], [rainy]), derained.requires_grad_())
    assert ratio


def test_infonce_module_is_the_function(infonce: InfoNCE, space: Callable[[Tensor], Levels], images: Images) -> None:
    """The reference loops over images and places; the candidates are the clean and rainy patches of all places drawn."""
    levels = [space(image) for image in images]
    generators = [patch_generator(0, position) for position in (40, 41)]
    losses, bounds = [], []
    for index, head in enumerate(infonce.heads):
        d, c, r = (image[index].detach() for image in levels)
        count = d.shape[2] * d.shape[3]
        places = [g.choice(count, min(16, count), replace=False) for g in generators]
        picked = [(n, divmod(int(p), d.shape[3])) for n in range(2) for p in places[n]]
        query, positive, negatives = (
            torch.stack([F.normalize(head(x[n, :, row, column]), dim=0) for n, (row, column) in picked]) for x in (d, c, r)
        )
        losses.append(info_nce(query, positive, negatives, 0.1))
        bounds.append(math.log(2 * len(picked)) - losses[-1].item())
    found = infonce(*levels, first=40)
    assert found["contrastive"].item() == pytest.approx(torch.stack(losses).sum().item() / LEVELS, rel=1e-5)
    assert found["mi_bound"].item() == pytest.approx(sum(bounds) / LEVELS, rel=1e-5)
    assert infonce(*levels, first=41)["contrastive"].item() != found["contrastive"].item()


def test_candidates_are_constants_and_the_head_learns(
    infonce: InfoNCE, space: Callable[[Tensor], Levels], images: Images
) -> None:
    leaves = [[level.detach().requires_grad_() for level in space(image)] for image in images]
    infonce(*leaves)["contrastive"].backward()
    assert all(level.grad is not None and level.grad.abs().max() > 0 for level in leaves[0])
    assert all(level.grad is None for candidates in leaves[1:] for level in candidates)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in infonce.heads.parameters())


def test_zero_features_have_a_bounded_gradient() -> None:
    prior = InfoNCE([4], [1.0], 0.1, patches=4)
    level = torch.zeros(1, 4, 4, 4, requires_grad=True)
    prior([level], [torch.rand(1, 4, 4, 4)], [torch.rand(1, 4, 4, 4)])["contrastive"].backward()
    assert level.grad is not None
    assert level.grad.isfinite().all()
    assert level.grad.abs().max() < 1e5


def test_places_are_distinct_and_depend_only_on_seed_and_position() -> None:
    together = draw_places([patch_generator(7, position) for position in (0, 1, 2)], 100, 30)
    assert together.shape == (3, 30)
    assert all(len(set(row.tolist())) == 30 for row in together)
    assert together.min() >= 0
    assert together.max() < 100
    assert torch.equal(draw_places([patch_generator(7, 2)], 100, 30)[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(draw_places([patch_generator(8, 2)], 100, 30)[0], together[2])
    assert sorted(draw_places([patch_generator(0, 0)], 9, 30)[0].tolist()) == list(range(9))
