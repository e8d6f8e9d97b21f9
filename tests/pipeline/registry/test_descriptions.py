"""What MLflow's pages say about a version and its run."""

from __future__ import annotations

from pipeline.registry.descriptions import describe, describe_run, pages_of
from pipeline.registry.publish import Registered

GROUP = {"images": 2, "rainy": {"psnr_y": 20.0}, "derained": {"psnr_y": 25.5, "ssim_y": 0.9}, "gain_psnr_y": 5.5}
MADE = Registered("rdmc", 3, "ab")


def test_a_version_has_a_table_of_its_figures() -> None:
    assert "| light | 2 | 20.00 | 25.50 | +5.50 | 0.9000 |" in describe({"light": GROUP})


def test_a_run_links_to_the_version_and_a_later_one_replaces_it() -> None:
    first = describe_run("Training of rdmc.", MADE, GROUP)
    assert first.startswith("Training of rdmc.\n\nRegistered as [rdmc version 3](#/models/rdmc/versions/3?")
    assert "25.50 dB PSNR-Y on the test images, +5.50 dB" in first
    second = describe_run(first, Registered("rdmc", 4, "ab"), GROUP)
    assert second.startswith("Training of rdmc.\n\nRegistered as [rdmc version 4](")
    assert second.count("Registered as") == 1
    assert describe_run("", MADE, GROUP).startswith("Registered as"), "a run without a description"


def test_the_pages_of_a_version() -> None:
    assert {name: page.partition("?")[0] for name, page in pages_of(MADE, "1", "cd").items()} == {
        "run": "#/experiments/1/runs/cd",
        "curves": "#/experiments/1/runs/cd/model-metrics",
        "model": "#/models/rdmc/versions/3",
        "experiment": "#/experiments/1/runs",
    }
