"""Links to MLflow's pages, as commands print them."""

from __future__ import annotations

import pytest

from pipeline.config.settings import Settings
from pipeline.tracking.links import (
    artifact_page,
    curves_page,
    experiment_page,
    model_page,
    page_lines,
    run_page,
    served_at,
    show_pages,
)

TRAINING = "?workflowType=machine_learning"


def test_every_page_opens_in_the_view_for_training() -> None:
    pages = [
        experiment_page("1"),
        run_page("1", "ab"),
        curves_page("1", "ab"),
        artifact_page("1", "ab", "cards/1 b.md"),
        model_page("a b", 3),
    ]
    assert pages == [
        f"#/experiments/1/runs{TRAINING}",
        f"#/experiments/1/runs/ab{TRAINING}",
        f"#/experiments/1/runs/ab/model-metrics{TRAINING}",
        f"#/experiments/1/runs/ab/artifacts/cards/1%20b.md{TRAINING}",
        f"#/models/a%20b/versions/3{TRAINING}",
    ]
    assert model_page("rdmc") == f"#/models/rdmc{TRAINING}"


def test_links_name_the_server_or_say_how_to_serve_the_pages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example/team/")
    show_pages(Settings(), {"run": "#/run", "experiment": "#/experiment"})
    shown = capsys.readouterr().out
    assert shown.splitlines() == [
        "  run         https://mlflow.example/team/#/run",
        "  experiment  https://mlflow.example/team/#/experiment",
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert served_at(Settings()) == ""
    show_pages(Settings(), {"run": "#/run"})
    assert capsys.readouterr().out.splitlines() == ["look at it:  make mlflow, then open", "  run  http://127.0.0.1:5000/#/run"]
    assert page_lines("http://a", {}) == []
