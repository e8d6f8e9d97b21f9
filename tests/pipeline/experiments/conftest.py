"""Fixtures of the ablation's tests."""

from __future__ import annotations

import pytest

from pipeline.experiments.ablation import Score, Trial
from tests.support.ablation import known_scores, two_variants


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Two variants with three seeds each."""
    return two_variants()


@pytest.fixture
def scores() -> dict[str, Score]:
    """The known result of each trial."""
    return known_scores()
