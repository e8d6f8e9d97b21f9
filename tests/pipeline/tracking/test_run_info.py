"""What a run's page says: name, source, user, description, and only the params of what ran."""

from __future__ import annotations

import getpass
import re

import pytest

from pipeline.config.params import Params
from pipeline.config.recipe import flatten
from pipeline.tracking.run_info import REGISTERED, TRAINED, only, run_tags, run_title, user


def test_a_title_says_network_data_and_day() -> None:
    assert re.fullmatch(r"unet width 8 on a\+b, \d{4}-\d\d-\d\d", run_title("unet", 8, ["a", "b"]))
    assert run_title("rdmc", 24, list("abcde"), "sweep").startswith("sweep: rdmc width 24 on a+b+c+2 more, ")


def test_source_user_and_description_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    tags = run_tags("train", "What it is.", "c0ffee")
    assert tags == {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "python -m pipeline train",
        "mlflow.source.git.commit": "c0ffee",
        "mlflow.user": "ada",
        "mlflow.note.content": "What it is.",
    }
    assert "mlflow.source.git.commit" not in run_tags("train", "")


def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user() == "unknown"


def test_params_of_sections_that_did_not_run_are_left_out(params: Params) -> None:
    everything = flatten(params)
    trained, registered = only(everything, TRAINED), only(everything, REGISTERED)
    assert {"seed", "train.lr", "loss.prior", "network.width", "datasets.light.rain"} <= set(trained)
    assert not [name for name in trained if name.partition(".")[0] in ("tune", "ablation", "search", "gate", "pack")]
    assert set(trained) < set(registered)
    assert {name.partition(".")[0] for name in everything.keys() - registered.keys()} == {"search", "gate", "tune", "ablation"}
