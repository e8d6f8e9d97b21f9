"""Store a verdict with its version: as files in the version's run, and as tags and a description that MLflow shows.

Used inside ``pipeline.registry.client.registry``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.evaluation.model_figures import ModelFigures
from pipeline.promotion.gate import Verdict
from pipeline.promotion.log import PromotionLog
from pipeline.registry.versions import Version, experiment_of, known_version
from pipeline.tracking.links import artifact_page

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEADING, REIGN = "## Verdict", "## Made champion"
"""The headings of the two sections below what ``register`` wrote: of the last verdict, and of how it became champion."""
DESCRIPTION = 5000
"""Most characters of a description that MLflow's databases take."""
LONGEST = 1200
"""Most characters of the section on how a version became champion."""


def file_verdict(client: MlflowClient, version: Version, verdict: Verdict, figures: Sequence[ModelFigures], basis: str) -> str:
    """Log verdict.json, verdict.md, images.csv and, if the rule on robustness is on, rains.csv. Returns the files' folder.

    The version gets its tags and its description.

    Each verdict has its own folder, so a later one overwrites no file. Tags and description show the last verdict. The folder's
    name ends with ``basis``, a digest of everything that the verdict depends on.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    folder = f"verdicts/{version.model}-{version.number}-{stamp}-{basis}"
    client.log_text(version.run_id, verdict.to_json(), f"{folder}/verdict.json")
    client.log_text(version.run_id, verdict.to_markdown(), f"{folder}/verdict.md")
    client.log_text(version.run_id, images_csv(figures), f"{folder}/images.csv")
    if any(model.rains for model in figures):
        client.log_text(version.run_id, rains_csv(figures), f"{folder}/rains.csv")
    number = str(version.number)
    for name, value in (("verdict", verdict.line), ("verdict_at", stamp), ("verdict_artifact", folder)):
        client.set_model_version_tag(version.model, number, name, value)
    page = _page(client, version, folder)
    client.update_model_version(version.model, number, described(version.description, verdict, page))
    return folder


def described(description: str, verdict: Verdict, page: str) -> str:
    """The version's description with this verdict at its end in place of an earlier one; at most ``DESCRIPTION`` characters.

    ``page``: the address of the whole verdict.
    """
    above = description.partition(f"\n\n{HEADING}")[0]
    rows = [f"- {'holds' if check.passed else '**fails**'}: {check.said}" for check in verdict.ordered]
    head = f"{HEADING}: {'passed' if verdict.passed else 'refused'}, against {verdict.champion}"
    room = max(0, DESCRIPTION - len(above) - 4)
    return f"{above}\n\n" + "\n".join([head, "", f"[The whole verdict]({page})", "", *rows])[:room]


def show_reign(client: MlflowClient, model: str, log: PromotionLog) -> None:
    """Write into the champion's description how it became that, and the verdict by which it reigns.

    A version that was deleted meanwhile is left alone.
    """
    version = known_version(client, model, log.champion)
    if version:
        text = reign(log, lambda folder: _page(client, version, folder))
        client.update_model_version(model, str(version.number), with_reign(version.description, text))


def reign(log: PromotionLog, page: Callable[[str], str]) -> str:
    """How the champion of a log became that, in Markdown: the last entry, and the verdict of its last promotion.

    After a rollback, or if the alias was moved by hand, that verdict is in an earlier entry. ``page`` gives the address of a
    verdict's folder.
    """
    last = log.counted[-1]
    how = {
        "promote": "It passed the gate.",
        "force": "It was promoted by force, although the gate refused it.",
        "rollback": "It came back by a rollback.",
        "adopt": "Its alias was moved outside of this program.",
    }[last.kind]
    judged = next(
        (entry for entry in log.counted[::-1] if entry.after == last.after and entry.kind in ("promote", "force")), None
    )
    why = f" Reason: {last.why}." if last.why else ""
    lines = [f"{REIGN}: {last.at}", f"{how}{why} By {last.who}; champion before: {last.before or 'none'}."]
    if judged:
        address = page(judged.document) if judged.document else ""
        link = f" ([the whole verdict]({address}))" if address else ""
        lines.append(f"The verdict by which it reigns{link}: {judged.verdict}")
    else:
        lines.append("The gate has not judged it.")
    text = "\n\n".join(lines)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def with_reign(description: str, text: str) -> str:
    """The description with this section in place of an earlier one; the last verdict stays below, within ``DESCRIPTION``."""
    above, heading, verdict = description.partition(f"\n\n{HEADING}")
    above = above.partition(f"\n\n{REIGN}")[0]
    return f"{above}\n\n{text}{heading}{verdict}"[:DESCRIPTION]


def _page(client: MlflowClient, version: Version, folder: str) -> str:
    """The address of a verdict's page, for Markdown in MLflow's own pages; empty if the version's run is gone."""
    experiment = experiment_of(client, version)
    return artifact_page(experiment, version.run_id, f"{folder}/verdict.md") if experiment else ""


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


def rains_csv(figures: Sequence[ModelFigures]) -> str:
    """CSV text with one row per rain and photograph: the gain (dB of PSNR-Y) of each model that was measured under rains."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    known = [model for model in figures if model.rains]
    writer.writerow(["rain", "photograph", *(f"{model.label} gain_psnr_y" for model in known)])
    for rain, gains in known[0].rains.items():
        writer.writerows([rain, at, *(f"{model.rains[rain][at]:.6f}" for model in known)] for at in range(len(gains)))
    return text.getvalue()
