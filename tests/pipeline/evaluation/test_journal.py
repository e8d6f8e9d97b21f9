"""The journal of finished images: what a killed process leaves is read, and nothing of other inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.evaluation import journal
from pipeline.evaluation.journal import ImageJournal, measuring_code, network_digest
from rdmc.models.rdmc import RDMC, RDMCConfig


def test_what_was_finished_is_known_to_the_next_process(tmp_path: Path) -> None:
    with ImageJournal(tmp_path, "model", "data") as first:
        first.add(3, {"psnr_y": 30.123456789012345, "name": "a"})
        first.add(0, {"psnr_y": float("inf")})
    assert ImageJournal(tmp_path, "model", "data").rows == {
        3: {"psnr_y": 30.123456789012345, "name": "a"},
        0: {"psnr_y": float("inf")},
    }


def test_a_line_is_on_disk_before_the_next_image_begins(tmp_path: Path) -> None:
    with ImageJournal(tmp_path, "model") as first:
        first.add(0, {"x": 1})
        assert ImageJournal(tmp_path, "model").rows == {0: {"x": 1}}


def test_half_a_line_of_a_killed_process_is_dropped_and_the_next_line_is_whole(tmp_path: Path) -> None:
    with ImageJournal(tmp_path, "model") as first:
        first.add(0, {"x": 1})
    for rest in ('[1, {"x"', '[1, {"x": 2}]', "\xff", "[]\n"):
        first.path.write_bytes(first.path.read_bytes() + rest.encode("latin-1"))
        with ImageJournal(tmp_path, "model") as second:
            assert second.rows in ({0: {"x": 1}}, {})  # bytes that are no text spoil the whole file
            second.rows.setdefault(0, {"x": 1})
            second.add(1, {"x": 3})
        assert ImageJournal(tmp_path, "model").rows == {0: {"x": 1}, 1: {"x": 3}}
        first.path.write_text('[0, {"x": 1}]\n')


def test_other_inputs_and_other_code_have_other_journals(tmp_path: Path) -> None:
    paths = {ImageJournal(tmp_path, *inputs).path for inputs in (("a", "b"), ("ab",), ("b", "a"))}
    assert len(paths) == 3


def test_other_versions_of_the_libraries_have_other_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ImageJournal(tmp_path, "model").path
    monkeypatch.setattr(journal, "VERSIONS", ["another"])
    assert ImageJournal(tmp_path, "model").path != before


def test_further_folders_of_code_count_where_they_are_named() -> None:
    assert measuring_code() == measuring_code()
    assert measuring_code("promotion") != measuring_code()


def test_a_network_is_its_weights_and_its_config() -> None:
    config = RDMCConfig(width=2, passes=1)
    network = RDMC(config)
    more_passes, changed, same = RDMC(replace(config, passes=2)), RDMC(config), RDMC(config)
    for other in (more_passes, changed, same):
        other.load_state_dict(network.state_dict())
    with torch.no_grad():
        next(changed.parameters()).flatten()[0] += 1e-3
    assert network_digest(network) == network_digest(same)
    assert len({network_digest(one) for one in (network, more_passes, changed)}) == 3
    assert network_digest(network.bfloat16()) != network_digest(same)


def test_a_removed_journal_is_gone(tmp_path: Path) -> None:
    with ImageJournal(tmp_path, "model") as first:
        first.add(0, {"x": 1})
        first.remove()
    assert not first.path.exists()
    ImageJournal(tmp_path, "never written").remove()
