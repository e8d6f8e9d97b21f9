"""Profiles: what a merge gives, and one line for a profile that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.params import read_params
from pipeline.config.profiles import merged, profile_path
from pipeline.config.recipe import with_architecture
from rdmc.errors import ConfigError
from rdmc.models.rdmc import RDMCConfig
from tests.support.imports import ROOT

RAIN800 = {
    "source": "benchmark",
    "name": "rain800",
    "path": "raw/rain800",
    "split": None,
    "partial": False,
    "validation_share": 0.05,
}
DATA = {"seed": 0, "train": {"steps": 10, "lr": 0.1}, "seeds": [0, 1], "space": {"a": {"uniform": [0, 1]}}}


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    """A copy of params.yaml with a folder of profiles beside it."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "profiles").mkdir()
    return path


def write(params: Path, text: str, name: str = "longer") -> None:
    (params.parent / f"profiles/{name}.yaml").write_text(text)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": {"steps": 20}}, {**DATA, "train": {"steps": 20, "lr": 0.1}}),
        ({"seed": 1, "seeds": [7]}, {**DATA, "seed": 1, "seeds": [7]}),
        ({"space": {"a": {"uniform": None, "choice": [1]}}}, {**DATA, "space": {"a": {"choice": [1]}}}),
        ({"train": None}, {name: value for name, value in DATA.items() if name != "train"}),
        ({"train": 5, "seed": {"a": 1}}, {**DATA, "train": 5, "seed": {"a": 1}}),
        ({"new": {"a": 1}}, {**DATA, "new": {"a": 1}}),
    ],
)
def test_maps_are_merged_and_everything_else_is_replaced(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    before = repr(DATA)
    assert merged(DATA, changes, "p.yaml") == expected
    assert repr(DATA) == before


def test_a_profile_changes_only_what_it_names(params_file: Path) -> None:
    write(params_file, "train: {steps: 77, warmup_steps: 5}\ndatasets: {light: {variants: 9}, heavy: null, wild: null}\n")
    plain, changed = read_params(params_file), read_params(params_file, "longer")
    assert (changed.train.steps, changed.train.warmup_steps, changed.train.lr) == (77, 5, plain.train.lr)
    assert list(changed.datasets) == ["light"]
    assert changed.datasets["light"].model_dump() == {"source": "embedded", "rain": "light", "variants": 9}
    assert changed.model_copy(update={"train": plain.train, "datasets": plain.datasets}) == plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {steps: 5}", "trian: unknown key; remove it or fix its spelling"),
        ("train: {stesp: 5}", "train.stesp: unknown key; remove it or fix its spelling"),
        ("train: {steps: many}", "train.steps: 'many': Input should be a valid integer; fix it there"),
        ("train: {steps: 0}", "train.steps: 0 is below 1"),
        ("train: 5", "train: 5: "),
        ("seed: null", "seed: missing"),
        ("train: {stesp: null}", "train.stesp: null removes a param, and there is none; fix its name"),
        ("", "is empty; write the params that differ"),
        ("{}", "is empty; write the params that differ"),
        ("- 1", "is a list, not a map of params; write the params that differ"),
        ("seed: 1\nseed: 2", "not YAML"),
        ("train: &self {steps: *self}", "holds what params cannot"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named_with_the_reason(params_file: Path, text: str, message: str) -> None:
    write(params_file, text)
    with pytest.raises(ConfigError) as caught:
        read_params(params_file, "longer")
    assert str(caught.value).startswith(f"{params_file.parent}/profiles/longer.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_profile_of_the_project_fits_params_yaml(path: Path) -> None:
    params = read_params(ROOT / "params.yaml", path.stem)
    assert params != read_params(ROOT / "params.yaml")
    assert with_architecture(params, ROOT).network.kind == "rdmc"
    if path.stem.startswith("rain800"):
        assert [dataset.model_dump() for dataset in params.datasets.values()] == [RAIN800]
        assert params.leaks.exclude


def test_the_gpu_profile_has_the_published_network() -> None:
    network = with_architecture(read_params(ROOT / "params.yaml", "rain800-gpu"), ROOT).network
    assert network == RDMCConfig(norm="batch")


def test_an_error_in_params_yaml_is_not_blamed_on_the_profile(params_file: Path) -> None:
    write(params_file, "train: {steps: 5}")
    params_file.write_text(params_file.read_text().replace("  crop:", "  corp:"))
    with pytest.raises(ConfigError, match=f"^{params_file}: train.corp: unknown key"):
        read_params(params_file, "longer")


@pytest.mark.parametrize("name", ["shorter", "", "../params", "longer.yaml", "Longer"])
def test_only_an_existing_profile_can_be_named(params_file: Path, name: str) -> None:
    write(params_file, "seed: 1")
    write(params_file, "seed: 2", "other")
    with pytest.raises(ConfigError, match=r"is not a profile in .*profiles \(longer, other\); name one of these"):
        profile_path(params_file, name)


def test_a_project_without_profiles_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are none"):
        profile_path(tmp_path / "params.yaml", "longer")
