"""What tests of everything that loads weights share: damaged files, and the random state that a load must not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def damage(path: Path, content: bytes | None) -> None:
    """Replace a file's content; None removes the file."""
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Assert that the block draws no random number from torch's global generator, and does not seed it."""
    torch.manual_seed(5)  # a seed that nothing else uses
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "the random state has changed"
