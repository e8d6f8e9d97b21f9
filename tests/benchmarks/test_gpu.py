"""benchmarks.gpu: it measures the network of params.yaml, needs few packages, and its checks can fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_right
from benchmarks.gpu_pictures import shards
from benchmarks.gpu_steps import DEFAULT, LOSS, RECIPE
from pipeline.config.params import read_params
from rdmc.data.loader import PairStore
from rdmc.training.meter import Meter
from tests.support.imports import ROOT

NEEDED = ("cv2", "numpy", "PIL", "safetensors", "torch")
ABSENT = ("boto3", "botocore", "dvc", "mlflow", "pipeline", "pydantic", "ray", "ruamel", "scipy", "skimage", "webdataset")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return shards(tmp_path_factory.mktemp("gpu"), 4)


def test_the_network_and_recipe_are_those_of_params_yaml() -> None:
    params = read_params(ROOT / "params.yaml")
    assert params.network == DEFAULT
    assert params.loss == LOSS
    assert replace(params.train, steps=RECIPE.steps, validate_every=RECIPE.validate_every) == RECIPE


def test_it_imports_without_the_pipelines_packages() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); import benchmarks.gpu"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert set(NEEDED).isdisjoint(ABSENT)


def test_png_and_raw_shards_hold_the_same_pictures(folders: dict[str, Path]) -> None:
    png, raw = (PairStore([folders[kind]], "train") for kind in ("png", "raw"))
    assert [pair for pair, _ in png.labels()] == [pair for pair, _ in raw.labels()]
    for index in range(len(png)):
        assert (png[index].rainy == raw[index].rainy).all()
        assert (png[index].clean == raw[index].clean).all()
        assert (png[index].rainy != png[index].clean).any()


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_right, "RECIPE", replace(RECIPE, global_batch_size=2, crop=32))


@pytest.mark.slow
def test_the_checks_pass_here(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    found = gpu_right.right(PairStore([folders["raw"]], "train"))
    assert found["weights changed by a NaN"] == 0
    assert found["loss, fp32, recorded"] <= gpu_right.LOSSES
    assert 1e-4 < found["gradient, bf16"] < 0.1, "bf16 rounds, or the comparison compares nothing"


@pytest.mark.slow
def test_a_nan_that_changes_weights_is_found(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    monkeypatch.setattr(Meter, "check", lambda *_: None)
    with pytest.raises(SystemExit, match="was not found"):
        gpu_right._changed_by_nan(PairStore([folders["raw"]], "train"))


def test_a_difference_from_the_cpu_is_refused() -> None:
    with pytest.raises(SystemExit, match="loss: 0.1 from the CPU"):
        gpu_right._required(gpu_right._apart([1.0, 2.0], [1.1, 2.0]), gpu_right.LOSSES, "loss")
    with pytest.raises(SystemExit):
        gpu_right._required(float("nan"), gpu_right.LOSSES, "loss")


def test_the_operations_of_a_step_grow_with_its_batch(folders: dict[str, Path]) -> None:
    store = PairStore([folders["raw"]], "train")
    config = replace(RECIPE, global_batch_size=2, crop=32)
    once, twice = (gpu._flops(DEFAULT, replace(config, global_batch_size=size), store) for size in (2, 4))
    assert twice == 2 * once
