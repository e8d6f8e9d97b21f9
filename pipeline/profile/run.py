"""``profile``: run prepare, leaks, pack, train and evaluate with the params of a profile, in ``runs/NAME``.

It is an experiment beside the project, whose own data, checkpoints and metrics stay as they are; nothing is registered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.profile.stages import run_stages, set_apart

COLUMNS = ["test images", "number", "rainy PSNR-Y, dB", "derained", "gain", "rainy SSIM-Y", "derained"]


def run(project: Project[Params], name: str) -> None:
    """Run the stages for a project with the params of the profile ``name``, and show the gains and where the files are.

    A stopped command resumes, and steps whose inputs have not changed are skipped. Raises the errors of the stages.
    """
    project = set_apart(project, name)
    run_stages(project)
    paths = project.paths
    table(f"profile {name}: mean over test images", COLUMNS, rows(json.loads(paths.evaluate_metrics.read_text())))
    say(f"model: {paths.best}")
    say(f"metrics: {paths.evaluate_metrics}, every image: {paths.images}, history: {paths.history}")
    say(f"pictures: {paths.pictures}, all on one page: {paths.report}")


def rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table, from the content of metrics/evaluate.json: a row per dataset, then one over all."""
    return [
        [
            name,
            str(found["images"]),
            f"{found['rainy']['psnr_y']:.2f}",
            f"{found['derained']['psnr_y']:.2f}",
            f"{found['gain_psnr_y']:+z.2f}",
            f"{found['rainy']['ssim_y']:.4f}",
            f"{found['derained']['ssim_y']:.4f}",
        ]
        for name, found in metrics.items()
    ]
