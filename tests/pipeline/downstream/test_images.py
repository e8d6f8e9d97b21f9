"""The images that are looked at: datasets, folders of pairs, and folders of photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.downstream.images import case_sets
from rdmc.data.images import write_png
from rdmc.data.pairs import Fault
from rdmc.errors import ConfigError, DataError
from tests.support.comparison import pair_folder
from tests.support.data import scene


def test_pairs_have_a_clean_image_and_photographs_have_none(
    tmp_path: Path, params: Params, make_workspace: Callable[..., Paths]
) -> None:
    project = Project(params, Settings(), make_workspace(tmp_path, tests=(2, 0)))
    folder = pair_folder(tmp_path / "set", 3)
    write_png(folder / "rain/9.png", scene(9))
    write_png(tmp_path / "real/deep/a.png", scene(5))
    (tmp_path / "real/b.jpg").write_bytes(b"no picture")
    packed, pairs, photographs = case_sets(["light", str(folder), str(tmp_path / "real")], project)
    faults: list[Fault] = []
    assert [len(one) for one in (packed, pairs, photographs)] == [2, 3, 2]
    assert all(case.clean is not None for case in packed.cases(faults))
    (_, second, _) = pairs.cases(faults)
    assert second.name == "1"
    assert second.clean is not None
    assert np.array_equal(second.clean, scene(1))
    assert [Path(fault.file).name for fault in pairs.faults()] == ["9.png"]
    assert faults == []
    (one,) = photographs.cases(faults)
    assert (one.name, one.clean) == ("a", None)
    assert [Path(fault.file).name for fault in faults] == ["b.jpg"]


def test_sets_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    pairs = [str(pair_folder(tmp_path / parent / "set", 2)) for parent in ("one", "two")]
    real = [tmp_path / parent / "real" for parent in ("one", "two")]
    for folder in real:
        folder.mkdir()
        write_png(folder / "a.png", scene(1))
    found = case_sets([*pairs, *map(str, real)], None)
    assert [one.name for one in found] == ["set", "two-set", "real", "two-real"]


def test_photographs_of_one_name_stay_apart(tmp_path: Path) -> None:
    for name in ("one/a.png", "two/a.png", "two/a.bmp", "b.png"):
        write_png(tmp_path / "x.png", scene(1))
        (tmp_path / "real" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").replace(tmp_path / "real" / name)
    (found,) = case_sets([str(tmp_path / "real")], None)
    assert sorted(case.name for case in found.cases([])) == ["b", "one-a.png", "two-a.bmp", "two-a.png"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a dataset"):
        case_sets(["none"], None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        case_sets([str(tmp_path / "empty")], None)
