"""The images of a comparison: packed datasets, folders in several layouts, benchmarks that are recognised, and bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.comparison.sets import pair_sets
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from rdmc.data.images import write_png
from rdmc.errors import ConfigError, DataError
from tests.support.comparison import pair_folder
from tests.support.data import scene
from tests.support.imports import ROOT

DATA = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


def test_a_dataset_of_the_params_gives_its_test_pairs(
    tmp_path: Path, params: Params, make_workspace: Callable[..., Paths]
) -> None:
    project = Project(params, Settings(), make_workspace(tmp_path, tests=(3, 0)))
    (found,) = pair_sets(["light"], project)
    assert (found.name, len(found.pairs), found.entry, found.whole) == ("light", 3, None, False)
    with pytest.raises(DataError, match="heavy: has no test pairs"):
        pair_sets(["heavy"], project)


def test_a_folder_gives_its_pairs_and_what_was_set_aside(tmp_path: Path) -> None:
    root = pair_folder(tmp_path / "set", 5)
    write_png(root / "rain/9.png", scene(9))
    write_png(root / "norain/3.png", scene(3, height=40))
    (root / "rain/4.png").write_bytes(b"no picture")
    (found,) = pair_sets([str(root)], None)
    assert [key for key, _ in found.pairs.labels()] == ["set/0", "set/1", "set/2"]
    assert np.array_equal(found.pairs[1].clean, scene(1))
    reasons = {Path(fault.file).name: fault.reason for fault in found.faults}
    assert reasons.keys() == {"9.png", "3.png", "4.png"}
    assert "has no clean image of its name" in reasons["9.png"]
    assert "the rule is one size" in reasons["3.png"]


def test_the_test_pairs_are_taken_where_folders_name_splits(tmp_path: Path) -> None:
    pair_folder(tmp_path / "set/train", 3)
    pair_folder(tmp_path / "set/test", 2)
    both = pair_sets([str(tmp_path / "set"), str(tmp_path / "set/train")], None)
    assert [len(one.pairs) for one in both] == [2, 3]
    assert [one.name for one in both] == ["set", "train"]


def test_pairs_of_one_clean_image_are_one_scene_and_the_digest_is_of_the_pixels(tmp_path: Path) -> None:
    root = pair_folder(tmp_path / "a", 3)
    write_png(root / "norain/2.png", scene(0))
    (found,) = pair_sets([str(root)], None)
    assert len({scene for _, scene in found.pairs.labels()}) == 2
    (again,) = pair_sets([str(pair_folder(tmp_path / "b", 3))], None)
    (same,) = pair_sets([str(pair_folder(tmp_path / "c", 3, "input", "target"))], None)
    assert again.pairs.digest == same.pairs.digest != found.pairs.digest


def test_what_is_neither_a_dataset_nor_a_folder_of_pairs_is_one_line(
    tmp_path: Path, params: Params, make_workspace: Callable[..., Paths]
) -> None:
    project = Project(params, Settings(), make_workspace(tmp_path / "project"))
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "single/a.png", scene(0))
    bad = pair_folder(tmp_path / "bad", 2)
    for number in range(2):
        (bad / f"rain/{number}.png").write_bytes(b"")
    for name, error, message in (
        ("rain100l", ConfigError, r"rain100l: neither a dataset of params.yaml \(light, heavy\) nor a folder"),
        (str(tmp_path / "empty"), DataError, "holds no pictures"),
        (str(tmp_path / "single"), DataError, "comparing needs pairs"),
        (str(bad), DataError, "no pair of 2 can be used .first: "),
    ):
        with pytest.raises(error, match=message) as caught:
            pair_sets([name], project)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="there is no params.yaml here"):
        pair_sets(["light"], None)
    with pytest.raises(ConfigError, match="no data is named"):
        pair_sets([], None)


@needs_data
def test_published_copies_are_recognised_by_their_fingerprint() -> None:
    found = pair_sets([str(DATA / "rain200h-samples"), str(DATA / "rain1400-sample")], None)
    assert [(one.name, len(one.pairs)) for one in found] == [("rain200h", 5), ("rain1400", 28)]
    assert [one.copy.what for one in found if one.copy] == ["sample in the authors' repository", "scenes 901 and 902"]
    assert not any(one.whole for one in found)
    both = pair_sets([str(DATA / "rain200h-samples"), str(DATA / "rain200h-samples/train")], None)
    assert [(one.name, len(one.pairs)) for one in both] == [("rain200h", 5), ("rain200h-train", 20)]
    assert len({scene for _, scene in found[1].pairs.labels()}) == 2, "fourteen rains of one clean image are one scene"
