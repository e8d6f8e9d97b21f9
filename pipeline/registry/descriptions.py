"""What MLflow's pages say about a version and about the run that it comes from, in Markdown."""

from __future__ import annotations

from typing import Any

from pipeline.registry.publish import Registered
from pipeline.tracking.links import curves_page, experiment_page, model_page, run_page

BECAME = "Registered as"
"""How the last paragraph of a run's description begins."""


def describe_run(description: str, made: Registered, overall: dict[str, Any]) -> str:
    """The run's description with a last paragraph on the version that has its model, in place of an earlier such one."""
    above = description.partition(f"\n\n{BECAME}")[0]
    name = f"[{made.name} version {made.version}]({model_page(made.name, made.version)})"
    quality, gain = overall["derained"]["psnr_y"], overall["gain_psnr_y"]
    figures = f"{quality:.2f} dB PSNR-Y on the test images, {gain:+.2f} dB over the rainy ones"
    return f"{above}\n\n{BECAME} {name}: {figures}.".lstrip()


def pages_of(made: Registered, experiment: str, run_id: str) -> dict[str, str]:
    """The pages in MLflow that show what was registered, by name."""
    return {
        "run": run_page(experiment, run_id),
        "curves": curves_page(experiment, run_id),
        "model": model_page(made.name, made.version),
        "experiment": experiment_page(experiment),
    }


def describe(evaluation: dict[str, Any]) -> str:
    """A version's description in Markdown: what the model does, and a table of its figures."""
    lines = [
        f"| {name} | {group['images']} | {group['rainy']['psnr_y']:.2f} | {group['derained']['psnr_y']:.2f} "
        f"| {group['gain_psnr_y']:+.2f} | {group['derained']['ssim_y']:.4f} |"
        for name, group in evaluation.items()
    ]
    head = ["| test images of | images | rainy PSNR-Y, dB | derained | gain | SSIM-Y |", "|---|---|---|---|---|---|"]
    return "\n".join(["RDMC: removes rain from 8-bit RGB images of any size, (N, H, W, 3) in and out.", "", *head, *lines])
