import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.config.data import Dataset, Embedded, Folders, Pack, PairFolders, Prepare, Published, SideBySide


def parse(value: dict[str, Any]) -> Dataset:
    parsed: Dataset = TypeAdapter(Dataset).validate_json(json.dumps(value))
    return parsed


def test_embedded_and_folders_are_read_with_both_layouts() -> None:
    assert isinstance(parse({"source": "embedded", "rain": "light", "variants": 2}), Embedded)
    assert isinstance(parse({"source": "embedded", "rain": "light", "variants": 0}), Embedded), "without training pairs"
    found = parse(
        {
            "source": "folders",
            "train": {"rainy": "r/*.png", "clean": "c/*.png"},
            "test": {"images": "t/*.jpg", "left": "clean"},
        }
    )
    assert isinstance(found, Folders)
    assert isinstance(found.train, PairFolders)
    assert isinstance(found.test, SideBySide)
    assert found.validation is None


def test_a_benchmark_is_read_with_its_defaults() -> None:
    found = parse({"source": "benchmark", "name": "rain800", "path": "raw/rain800", "split": "test"})
    assert isinstance(found, Published)
    assert (found.partial, found.validation_share) == (False, 0.05)


@pytest.mark.parametrize(
    "value",
    [
        {"source": "benchmark", "name": "rain800"},
        {"source": "benchmark", "name": "rain800", "path": "x", "split": "all"},
        {"source": "web"},
        {"source": "embedded", "rain": 1, "variants": 2},
        {"source": "embedded", "rain": "light", "variants": -1},
        {"source": "embedded", "rain": "light", "variants": "2"},
        {"source": "embedded", "rain": "light", "variants": 2, "colour": "red"},
        {"source": "folders"},
        {"source": "folders", "train": {"rainy": "r/*"}},
        {"source": "folders", "train": {"rainy": "r/*", "clean": "c/*", "left": "clean"}},
        {"source": "folders", "test": {"images": "t/*", "left": "top"}},
        {"source": "folders", "test": {"images": "t/*", "left": "clean"}, "validation_share": 1},
    ],
)
def test_an_invalid_dataset_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(value)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_the_share_of_bad_pairs_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(ValidationError):
        Prepare(max_quarantined=share)


def test_a_shard_size_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError):
        Pack(shard_mb=0, pixels="original")
