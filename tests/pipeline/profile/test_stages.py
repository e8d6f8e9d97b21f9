"""The stages apart from the project: data is prepared once, and again only after a change of its params.

tests/pipeline/reference/test_make.py runs all stages, with a kill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.paths import Paths
from pipeline.profile import stages
from pipeline.stages import prepare as prepare_stage
from rdmc.data.shards import MANIFEST, read_manifest
from tests.support.data import make_dataset, tiny_params

SKIPPED = "nothing has changed, skipped"


def test_shards_are_made_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def prepare(name: str, rule: Any, rules: Any, seed: int, out: Path) -> None:
        made.append(name)
        make_dataset(Paths(tmp_path), name)

    monkeypatch.setattr(prepare_stage, "run", prepare)
    datasets = {name: {"source": "embedded", "rain": name, "variants": 1} for name in ("light", "heavy")}
    first = stages.prepared_shards(tiny_params({"datasets": datasets}), Paths(tmp_path))
    assert made == ["light", "heavy"]
    assert (tmp_path / "data/leaks.json").is_file()
    assert read_manifest(Paths(tmp_path).shards("heavy") / MANIFEST).dataset == "heavy"
    capsys.readouterr()
    assert stages.prepared_shards(tiny_params({"datasets": datasets}), Paths(tmp_path)) == first
    assert capsys.readouterr().out.count(SKIPPED) == 5, "two datasets are prepared and packed, and compared once"

    datasets["heavy"]["variants"] = 2
    stages.prepared_shards(tiny_params({"datasets": datasets}), Paths(tmp_path))
    assert made == ["light", "heavy", "heavy"]
