"""params.yaml: what is accepted, and the one-line error for everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.data import Embedded
from pipeline.config.params import Params, read_params
from pipeline.config.recipe import with_overrides
from rdmc.datasets.rain import KINDS
from rdmc.errors import ConfigError
from rdmc.models.rdmc import RDMCConfig
from tests.support.imports import ROOT


@pytest.fixture(scope="module")
def params() -> Params:
    return read_params(ROOT / "params.yaml")


def test_the_default_file_is_read(params: Params) -> None:
    assert set(params.datasets) == {"light", "heavy", "wild"}
    assert isinstance(params.train.lr, float)  # YAML 1.2: 1e-3 is a number
    assert isinstance(params.network, RDMCConfig)
    assert params.network.connections == ("input->dec1", "enc1->dec2", "enc2->dec3")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.lr", "fast", "train.lr: 'fast': Input should be a valid number"),
        ("train.lr", -1.0, "train.lr: -1.0 is not above 0"),
        ("train.steps", 1.5, "train.steps: 1.5: Input should be a valid integer"),
        ("train.steps", True, "train.steps: True"),
        ("train.warmup_steps", 10**9, "train.warmup_steps: 1000000000 is not within"),
        ("train.precision", "fp8", "train.precision: 'fp8' is not one of fp32, bf16"),
        ("train.crop", 8, "train.crop: 8 is below 16"),
        ("train.crops_per_decode", 0, "train.crops_per_decode: 0 is below 1"),
        ("train.shuffle_shards", 0, "train.shuffle_shards: 0 is below 1"),
        ("train.weights", {"light": 0}, "train.weights.light: 0.0 is not within"),
        ("train.weights", {"lihgt": 2}, "train.weights.lihgt: is not a dataset .light, heavy, wild.; fix"),
        ("network.width", 0, "network.width: 0 is below 1"),
        ("network.norm", "layer", "network.norm: 'layer' is not one of"),
        ("network.connections", ["enc1->moon"], "network.connections: 'enc1->moon' is not a connection"),
        ("network.kind", "vgg", "network.kind: 'vgg': Input should be 'rdmc', 'prenet' or 'unet'"),
        ("network.prenet.passes", 0, "network.prenet.passes: 0 is below 1"),
        ("network.unet.stem", 3, "network.unet.stem: 3 is not one of 1, 2, 4"),
        ("network.unet", {"depth": 3}, "network.unet.depth: unknown key"),
        ("network.unet", {"kind": "rdmc"}, "network.unet.kind: 'rdmc'"),
        ("loss.pixel", "l3", "loss.pixel: 'l3' is not one of"),
        ("loss.prior", "triplet", "loss.prior: 'triplet' is not one of ratio, infonce"),
        ("loss.features", "vgg19", "loss.vgg19_weights: '' and loss.features is vgg19"),
        ("loss.temperature", 0, "loss.temperature: 0.0 is not above 0"),
        ("loss.levels", 6, "loss.levels: 6 exceeds the 4 levels that the network has"),
        ("loss.recursion", "truncated", "loss.recursion: truncated needs whole passes, and network.refine is 1; set"),
        ("train.optimiser", "sgd", "train.optimiser: 'sgd' is not one of adamw, muon"),
        ("architecture", "", "architecture: ''"),
        ("search.held_out", 1.0, "search.held_out: 1.0 is not between 0 and 1"),
        ("search.betas", [0.5], "search.betas.1: missing"),
        ("search.by", "pixel", "search.by: 'pixel' is not one of scene, sample"),
        ("prepare.max_quarantined", 2, "prepare.max_quarantined: 2"),
        ("seed", None, "seed: None"),
        ("datasets", {}, "datasets: {}"),
        ("datasets", {"Bad Name": {"source": "embedded", "rain": "light", "variants": 1}}, "Bad Name"),
        ("datasets", {"x": {"source": "moon"}}, "datasets.x"),
        (
            "datasets",
            {"x": {"source": "embedded", "rain": "fog", "variants": 1}},
            "datasets.x.rain: 'fog' is not one of heavy, ",
        ),
        ("datasets", {"x": {"source": "embedded", "rain": "light", "variants": -1}}, "datasets.x.variants: -1: "),
        ("datasets", {"x": {"source": "folders"}}, "datasets.x: .*names no images"),
        ("datasets", {"x": {"source": "folders", "train": {"rainy": "a"}}}, r"datasets.x.train.clean: missing"),
        ("datasets", {"x": {"source": "folders", "train": {"images": "a", "left": "top"}}}, "datasets.x.train.left: 'top'"),
        ("datasets", {"x": {"source": "folders", "train": "a"}}, "datasets.x.train: 'a': .*rainy and clean, or images and"),
        ("datasets", {"folders": {"source": "folders", "train": {"clean": "a"}}}, "datasets.folders.train.rainy: missing"),
        ("datasets", {"overall": {"source": "embedded", "rain": "light", "variants": 1}}, "datasets.overall: .*all datasets"),
        ("seed", 2**32, "seed: 4294967296: Input should be less than 4294967296"),
        ("tune.space", {"train.lr": {"uniform": [1]}}, "tune.space.train.lr.uniform.1: missing"),
        ("tune.space", {"train.lr": {"uniform": [1, 1]}}, r"tune.space.train.lr.uniform: \[1, 1\]: The first bound should be"),
        ("tune.space", {"train.lr": {"uniform": [1, float("inf")]}}, "tune.space.train.lr.uniform.1: inf"),
        ("tune.space", {"train.lr": {"loguniform": [1e-3]}}, "tune.space.train.lr.loguniform.1: missing"),
        ("tune.space", {"train.lr": {"loguniform": [0, 1]}}, "tune.space.train.lr.loguniform.0: 0: .*greater than 0"),
        (
            "tune.space",
            {"train.lr": [1, 2]},
            r"train.lr: \[1, 2\]: .*with choice, or uniform, or loguniform, or integer",
        ),
        ("tune.grace_steps", 10**6, "grace_steps 1000000 exceeds"),
        ("register.alias", "No Spaces", "register.alias: 'No Spaces'"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(params: Params, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        with_overrides(params, {key: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_rain_can_be_named(params: Params, kind: str) -> None:
    found = with_overrides(
        params, {"datasets": {"x": {"source": "embedded", "rain": kind, "variants": 0}}, "train.weights": {}}
    )
    assert isinstance(found.datasets["x"], Embedded)
    assert (found.datasets["x"].rain, found.datasets["x"].variants) == (kind, 0)


def test_unknown_and_missing_keys_are_refused(params: Params, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  crop:", "  corp:"))
    with pytest.raises(ConfigError, match="train.corp: unknown key"):
        read_params(path)
    path.write_text(text.replace("seed: 0", ""))
    with pytest.raises(ConfigError, match="seed: missing"):
        read_params(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not YAML"),
        ("- 1", "is a list, not a map"),
        ("# later", "is empty"),
        ("\x00", "not YAML"),
        ("seed: 2020-01-01", "holds what params cannot"),
        ("seed: &self {a: *self}", "holds what params cannot"),
    ],
)
def test_a_file_without_params_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"{path}: {message}") as error:
        read_params(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_params(tmp_path / "none.yaml")
