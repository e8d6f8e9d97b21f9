"""A stack's folder for a test; what was started in it ends with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.stack.commands import NAMES
from pipeline.stack.service import bring_down
from pipeline.stack.state import State


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """The folder of a new stack. Nothing runs or lies outside of it after the test."""
    made = State.here(tmp_path)
    made.make()
    yield made
    if made.root.exists():
        for name in (*reversed(NAMES), "toy"):
            bring_down(made, name)
        made.delete()
