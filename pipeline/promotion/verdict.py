"""Store a verdict with its version: as files in the version's run, and as tags and a description that MLflow shows.

Used inside ``pipeline.registry.client.registry``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.evaluation.model_figures import ModelFigures
from pipeline.promotion.gate import Verdict
from pipeline.registry.versions import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEADING = "## Verdict"
DESCRIPTION = 5000
"""Most characters of a description that MLflow's databases take."""


def file_verdict(client: MlflowClient, version: Version, verdict: Verdict, figures: Sequence[ModelFigures], basis: str) -> str:
    """Log verdict.json, verdict.md and images.csv, set the version's tags and write its description. Returns the files' folder.

    Each verdict has its own folder, so a later one overwrites no file. Tags and description show the last verdict. The folder's
    name ends with ``basis``, a digest of everything that the verdict depends on.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    folder = f"verdicts/{version.model}-{version.number}-{stamp}-{basis}"
    client.log_text(version.run_id, verdict.to_json(), f"{folder}/verdict.json")
    client.log_text(version.run_id, verdict.to_markdown(), f"{folder}/verdict.md")
    client.log_text(version.run_id, images_csv(figures), f"{folder}/images.csv")
    number = str(version.number)
    for name, value in (("verdict", verdict.line), ("verdict_at", stamp), ("verdict_artifact", folder)):
        client.set_model_version_tag(version.model, number, name, value)
    client.update_model_version(version.model, number, described(version.description, verdict, folder))
    return folder


def described(description: str, verdict: Verdict, folder: str) -> str:
    """The version's description with this verdict below it in place of an earlier one; at most ``DESCRIPTION`` characters."""
    above = description.partition(f"\n\n{HEADING}")[0]
    rows = [f"- {'holds' if check.passed else '**fails**'}: {check.said}" for check in verdict.checks]
    head = f"{HEADING}: {'passed' if verdict.passed else 'refused'}, against {verdict.champion}"
    room = DESCRIPTION - len(above) - 4
    return f"{above}\n\n" + "\n".join([head, "", f"In full: `{folder}` of the run.", "", *rows])[:room]


def images_csv(figures: Sequence[ModelFigures]) -> str:
    """CSV text with one row per image: dataset, name, scene, digest, and each model's figures in columns with its label."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = [model.label for model in figures]
    writer.writerow(
        ["dataset", "image", "scene", "digest", *(f"{label} {kind}" for label in labels for kind in ("psnr_y", "ssim_y"))]
    )
    for index, image in enumerate(figures[0].images):
        values = [f"{value:.6f}" for model in figures for value in (model.psnr_y[index], model.ssim_y[index])]
        writer.writerow([image.dataset, image.name, image.scene, image.digest, *values])
    return text.getvalue()
