"""Saved outputs: found by the name of their image, and refused where they are absent, double or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.comparison.outputs import Outputs
from rdmc.data.images import write_png
from rdmc.errors import DataError
from tests.support.comparison import save_outputs
from tests.support.data import scene


def test_outputs_are_found_by_name_and_by_their_datasets_folder(tmp_path: Path) -> None:
    save_outputs(tmp_path / "heavy", [scene(0)])
    save_outputs(tmp_path / "x/light", [scene(1), scene(2)])
    found = Outputs(tmp_path)
    assert np.array_equal(found.read("heavy", "0"), scene(0))
    assert np.array_equal(found.read("light", "1"), scene(2))
    assert np.array_equal(Outputs(tmp_path / "heavy").read("any", "0"), scene(0)), "one dataset needs no folder of its name"


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    first = Outputs(save_outputs(tmp_path, [scene(0)])).digest
    assert Outputs(tmp_path).digest == first
    write_png(tmp_path / "0.png", scene(1))
    assert Outputs(tmp_path).digest != first


def test_absent_double_and_damaged_outputs_are_one_line(tmp_path: Path) -> None:
    save_outputs(tmp_path, [scene(0), scene(1)])
    write_png(tmp_path / "again/1.png", scene(1))
    (tmp_path / "0.png").write_bytes(b"no picture")
    found = Outputs(tmp_path)
    for image, message in (("0", "0.png"), ("1", "rain/1: has 2 outputs"), ("2", "rain/2: has no output in")):
        with pytest.raises(DataError, match=message) as caught:
            found.read("rain", image)
        assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        Outputs(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        Outputs(tmp_path / "none")
