"""The names of figures in MLflow."""

from __future__ import annotations

from pipeline.stages.train import HISTORY, TERMS
from pipeline.tracking.metric_names import GROUPS, NAMES, figures_on_tests, metric_name


def test_validation_test_losses_and_rates_have_groups_of_their_own() -> None:
    names = {short: metric_name(short) for short in (*HISTORY, "images_per_second", *TERMS) if short != "step"}
    assert names == {
        "epoch": "progress/epoch",
        "loss": "loss/total",
        "lr": "rate/lr",
        "psnr_y": "validation/psnr_y",
        "ssim_y": "validation/ssim_y",
        "images_per_second": "rate/images_per_second",
        **{term: f"loss/{term}" for term in TERMS},
    }
    assert metric_name("strength/enc1-to-dec1") == "strength/enc1-to-dec1"
    assert len(NAMES) == len(GROUPS), "no two figures get the same name"


def test_figures_on_tests_are_found_under_both_names() -> None:
    metrics = {"evaluate/a/gain": 1.0, "evaluate/b/gain": 2.0, "test/a/gain": 3.0, "validation/psnr_y": 4.0}
    assert figures_on_tests(metrics) == {"a/gain": 3.0, "b/gain": 2.0}, "the newer one counts"
