"""The reference model: a round trip, the package's own copy, and one line for everything that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import rdmc
from rdmc import reference
from rdmc.errors import CheckpointError
from rdmc.files import write_bytes
from rdmc.models.base import Restorer
from rdmc.models.baselines import PReNet, PReNetConfig
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.reference import (
    CARD,
    LARGEST,
    WEIGHTS,
    ReferenceFacts,
    ReferenceFigures,
    ReferenceTraining,
    as_stored,
    load_reference,
    reference_card,
    write_reference,
)
from tests.support.loading import damage, random_state_kept

FIGURES = ReferenceFigures(4, 27.5, 0.81, 31.25, 0.9, -0.5, 40.0)
TRAINING = ReferenceTraining(0, 100, 80, {"light": {"source": "embedded", "rain": "light", "variants": 2}}, {"train.lr": 0.001})
FACTS = ReferenceFacts({"light": "a" * 64}, "b" * 64, TRAINING, {"light": FIGURES, "overall": FIGURES})


@pytest.fixture(scope="module")
def network() -> Restorer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RDMC(RDMCConfig(width=2, passes=1, stem=2, norm="batch"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, network: Restorer) -> Path:
    folder = tmp_path_factory.mktemp("written") / "weights"
    write_reference(folder, network, FACTS)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A reference model that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "weights"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the card; the weights stay."""
    data = json.loads((folder / CARD).read_text())
    change(data)
    (folder / CARD).write_text(json.dumps(data))


def replace_weights(folder: Path, data: bytes) -> None:
    """Put other weights in place, with their own digest in the card."""
    (folder / WEIGHTS).write_bytes(data)
    rewrite(folder, lambda card: card.update(sha256=sha256(data).hexdigest()))


def test_what_is_written_is_loaded_rounded_to_float16(folder: Path, network: Restorer) -> None:
    found, card = load_reference(folder), reference_card(folder)
    assert (card.network, card.facts) == (network.config, FACTS)
    assert card.version == card.sha256[:12] == sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]
    assert not found.training
    for name, value in network.state_dict().items():
        loaded = found.state_dict()[name]
        assert (loaded.device.type, loaded.dtype) == ("cpu", value.dtype)
        assert loaded.equal(value.half().float() if value.is_floating_point() else value), name
    stored = load((folder / WEIGHTS).read_bytes())
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}
    image = torch.rand(1, 3, 20, 33)
    assert found(image).equal(as_stored(network)(image))
    assert found(image).equal(load_reference(folder)(image))


def test_the_same_model_is_written_as_the_same_bytes_without_a_date(folder: Path, network: Restorer, tmp_path: Path) -> None:
    write_reference(tmp_path / "again", load_reference(folder), FACTS)
    for name in (WEIGHTS, CARD):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS], "no temporary file is left"
    keys = set(json.loads((folder / CARD).read_text()))
    assert keys == {"format", "sha256", "network", "data", "code", "training", "figures"}


def test_loading_does_not_change_the_random_state(folder: Path) -> None:
    with random_state_kept():
        load_reference(folder)


def test_other_kinds_of_network_can_be_the_reference(tmp_path: Path) -> None:
    write_reference(tmp_path, PReNet(PReNetConfig(width=2)), FACTS)
    assert isinstance(load_reference(tmp_path), PReNet)


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"\xff", None])
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str, content: bytes | None) -> None:
    damage(folder / name, content)
    with pytest.raises(CheckpointError, match=f"{name}: .*; restore it with `git checkout rdmc/weights`") as error:
        load_reference(folder)
    assert "\n" not in str(error.value)


def test_one_changed_bit_of_a_weight_is_found(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-3] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}: has SHA-256 .*…, {CARD} names .*…; restore"):
        load_reference(folder)


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None])
def test_another_format_version_is_refused(folder: Path, version: object) -> None:
    rewrite(folder, lambda card: card.update(format=version))
    for read in (load_reference, reference_card):
        with pytest.raises(CheckpointError, match=f"format {version!r} is not 1"):
            read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card["network"].update(kind="vgg"), "'vgg' is not one of"),
        (lambda card: card["network"].update(shape=1), "unexpected keyword"),
        (lambda card: card["network"].pop("kind"), "'kind'"),
        (lambda card: card.update(network=[]), "not a card of format 1"),
        (lambda card: card.pop("code"), "ReferenceFacts has exactly the keys data, code, training, figures"),
        (lambda card: card.update(when="today"), "ReferenceFacts has exactly the keys"),
        (lambda card: card["training"].update(steps="many"), "steps: 'many' is not of type int"),
        (lambda card: card["training"].update(steps=True), "steps: True is not of type int"),
        (lambda card: card["figures"].pop("overall"), "figures: has no overall"),
        (lambda card: card["figures"]["light"].update(clean_psnr_y=None), "clean_psnr_y: None is not of type float"),
        (lambda card: card.update(sha256="abc"), "sha256: 'abc' is not a SHA-256 digest"),
        (lambda card: card.pop("sha256"), "'sha256'"),
    ],
)
def test_a_card_that_is_not_one_is_refused(folder: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=message) as error:
        load_reference(folder)
    assert str(error.value).startswith(str(folder / CARD))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["NaN", "1e999"])
def test_a_figure_that_is_not_finite_is_refused(folder: Path, text: str) -> None:
    (folder / CARD).write_text((folder / CARD).read_text().replace("40.0", text))
    with pytest.raises(CheckpointError, match="not.* finite"):
        reference_card(folder)


def test_weights_that_do_not_fit_the_network_are_refused(folder: Path) -> None:
    weights = load((folder / WEIGHTS).read_bytes())  # load_file maps the file, which is replaced here
    first = next(iter(weights))
    replace_weights(folder, save({**weights, "extra": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="unknown tensor 'extra': another network's weights; restore"):
        load_reference(folder)
    replace_weights(folder, save({**weights, first: torch.zeros(1, 2, 3)}))
    with pytest.raises(CheckpointError, match=r"is \(1, 2, 3\), the network needs .*; restore"):
        load_reference(folder)
    replace_weights(folder, b"no tensors")
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: .*; restore"):
        load_reference(folder)
    rewrite(folder, lambda card: card["network"].update(width=2.5))
    replace_weights(folder, save(weights))
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: .*; restore"):
        load_reference(folder)


def test_a_network_that_is_too_large_or_not_finite_is_not_written(folder: Path) -> None:
    before = (folder / WEIGHTS).read_bytes()
    large = RDMC(RDMCConfig(width=12))
    with pytest.raises(CheckpointError, match=f"bytes exceed {LARGEST:,}"):
        write_reference(folder, large, FACTS)
    for value in (float("nan"), 1e6):  # 1e6 is above what float16 takes
        network = RDMC(RDMCConfig(width=2, stem=2))
        torch.nn.init.constant_(network.head.weight, value)
        with pytest.raises(CheckpointError, match="head.weight: holds numbers that are not finite in float16"):
            write_reference(folder, network, FACTS)
        with pytest.raises(CheckpointError, match="not finite in float16"):
            as_stored(network)
    figures = {"overall": replace(FIGURES, worst_gain_psnr_y=float("nan"))}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_reference(folder, load_reference(folder), replace(FACTS, figures=figures))
    assert (folder / WEIGHTS).read_bytes() == before
    load_reference(folder)


def test_a_writer_that_is_killed_between_its_files_leaves_a_model_that_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, data: bytes) -> None:
        if path == folder / CARD:
            raise KeyboardInterrupt
        write_bytes(path, data)

    monkeypatch.setattr(reference, "write_bytes", write)
    with pytest.raises(KeyboardInterrupt):
        write_reference(folder, RDMC(RDMCConfig(width=3, stem=2)), FACTS)
    with pytest.raises(CheckpointError, match="has SHA-256"):
        load_reference(folder)


def test_the_package_has_a_model_with_the_digest_of_its_card() -> None:
    card = reference_card()
    weights = reference.FOLDER / WEIGHTS
    assert sha256(weights.read_bytes()).hexdigest() == card.sha256
    assert weights.stat().st_size <= LARGEST == 3_000_000
    assert sorted(path.name for path in reference.FOLDER.iterdir()) == [CARD, WEIGHTS]
    network = rdmc.load_reference()
    assert network.config == card.network
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    derained = rdmc.derain_image(network, image)
    assert (derained.shape, str(derained.dtype)) == (image.shape, "uint8")
    assert set(card.facts.figures) == {*card.facts.training.datasets, "overall"} == {*card.facts.data, "overall"}


def test_the_card_and_its_weights_are_part_of_an_installed_package(tmp_path: Path) -> None:
    """What setuptools would install of this checkout."""
    code = "from setuptools import setup; setup()"
    place = reference.FOLDER.parents[1]
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    for name in ("rdmc", "pipeline"):
        (tmp_path / name).symlink_to(place / name)
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "build_py", "--build-lib", str(tmp_path / "built")],
        cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "built/rdmc/weights").iterdir()) == [CARD, WEIGHTS]
