"""Files of random weights, written once."""

from __future__ import annotations

import pytest

from tests.support.perceptual import WeightFiles, weight_files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> WeightFiles:
    """Of both backbones, LPIPS and DISTS."""
    return weight_files(tmp_path_factory.mktemp("weights"))
