"""The model card: what a version is made of, how good it is and where it fails, in Markdown, from the results of the stages."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.data import Dataset
from pipeline.evaluation.bootstrap import CONFIDENCE, FEWEST, RESAMPLES, shown_interval
from pipeline.registry.provenance import COMMITTED
from rdmc.datasets.benchmarks.registry import BENCHMARKS
from rdmc.errors import DataError

WORST = 5
"""How many images are listed as known failures, at most."""
PUBLIC = "photographs inside scikit-image, scikit-learn and ai-benchmark, with rain rendered over them (docs/decisions/0005)"


@dataclass(frozen=True)
class Used:
    """A dataset that the model was trained or measured on."""

    name: str
    digest: str
    """SHA-256 of its manifest."""
    pairs: Mapping[str, int]
    """Pairs by split."""
    rule: Dataset
    """Its entry in params.yaml."""


def write_card(
    model: str,
    network: Mapping[str, Any],
    used: Sequence[Used],
    images: Path,
    facts: Mapping[str, str],
    params: Mapping[str, Any],
) -> str:
    """The card as Markdown.

    Args:
        model: name of the model in the registry.
        network: kind, parameters and cost of the network, by name.
        used: the datasets that the model was trained or measured on.
        images: images.csv, with one row per test image.
        facts: ``run_id``, ``version``, ``date``, ``model_sha256`` and, if known, ``registered_commit``, ``code`` and
            ``rebuild``, as ``register`` records them.
        params: the params that the model was trained with, by dotted name.

    Raises:
        DataError: images.csv cannot be read.
    """
    rows = read_images(images)
    parts = [
        f"# {model}, version {facts['version']}, {facts['date']}",
        "Removes rain from 8-bit RGB photographs of any size. Made for rain that is streaks and veils; not for drops on glass, "
        "fog, or snow. It changes pixels by guessing, so its output is no evidence of what was there.",
        _section("The network", _table(["", ""], [[name, str(value)] for name, value in network.items()])),
        _section("Data", _table(["dataset", "pairs", "licence", "digest"], [_dataset_row(one) for one in used])),
        _section("Test images", _figures(rows)),
        _section("Known failures", _failures(rows)),
        _section("How to make it again", _commands(facts, params)),
    ]
    return "\n\n".join(parts) + "\n"


def read_images(path: Path) -> list[dict[str, Any]]:
    """The rows of images.csv: dataset, image, scene and figures. Raises DataError if the file is missing or damaged."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return [{**row, "scene": row["scene"], "gain": float(row["gain_psnr_y"]), **_floats(row)} for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: {error}; make it with `dvc repro evaluate`") from None


def _floats(row: Mapping[str, str]) -> dict[str, float]:
    return {name: float(row[name]) for name in ("rainy_psnr_y", "derained_psnr_y", "derained_ssim_y")}


def _figures(rows: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["dataset"], []).append(row)
    if len(groups) > 1:
        groups["overall"] = list(rows)
    table = [
        [name, str(len(group)), str(len(set(own))), *(_mean(group, own, column, digits) for column, digits in COLUMNS)]
        for name, group in groups.items()
        for own in ([row["scene"] for row in group],)
    ]
    head = ["dataset", "images", "scenes", "rainy PSNR-Y, dB", "derained", "gain", "SSIM-Y"]
    drawn = f"{CONFIDENCE:.0%} intervals by {RESAMPLES:,} bootstrap draws over the scenes"
    about = f"Means, with {drawn} where there are at least {FEWEST}."
    return f"{about}\n\n{_table(head, table)}"


COLUMNS = (("rainy_psnr_y", 2), ("derained_psnr_y", 2), ("gain", 2), ("derained_ssim_y", 4))


def _mean(rows: Sequence[Mapping[str, Any]], scenes: Sequence[str], column: str, digits: int) -> str:
    values = np.array([row[column] for row in rows])
    found = shown_interval(values, np.zeros(len(values)), scenes)
    shown = f" ({found.low:.{digits}f} to {found.high:.{digits}f})" if np.isfinite(found.low) else ""
    return f"{found.mean:.{digits}f}{shown}"


def _failures(rows: Sequence[Mapping[str, Any]]) -> str:
    worse = sorted((row for row in rows if row["gain"] < 0), key=lambda row: row["gain"])
    if not worse:
        return f"None of the {len(rows)} test images came out worse than it went in."
    table = [[row["dataset"], row["image"], f"{row['derained_psnr_y']:.2f}", f"{row['gain']:+.2f}"] for row in worse[:WORST]]
    which = "The worst of them:" if len(worse) > WORST else "These:"
    intro = f"{len(worse)} of {len(rows)} test images came out worse than they went in. {which}"
    return f"{intro}\n\n{_table(['dataset', 'image', 'derained PSNR-Y, dB', 'gain'], table)}"


def _dataset_row(used: Used) -> list[str]:
    pairs = ", ".join(f"{count} {split}" for split, count in used.pairs.items() if count)
    return [used.name, pairs, licence(used.rule), f"`{used.digest[:16]}`"]


def licence(rule: Dataset) -> str:
    """The licence of a dataset of params.yaml, as far as it is known."""
    if rule.source == "embedded":
        return PUBLIC
    if rule.source == "benchmark":
        known = BENCHMARKS[rule.name]
        return f"{known.title}: {known.licence} ({known.licence_source})"
    return "not known here: files of those who trained it"


def _commands(facts: Mapping[str, str], params: Mapping[str, Any]) -> str:
    digest = f"The weights' SHA-256 is `{facts.get('model_sha256', 'unknown')}`; seed {params.get('seed')}."
    code = facts.get("code", "not known")
    if code != COMMITTED or not facts.get("rebuild"):
        reason = f"It cannot be made again from what is recorded: its code is {code}."
        return f"{reason} The run `{facts.get('run_id')}` has its params.\n\n{digest}"
    rebuild = f"    .venv/bin/python -m pipeline rebuild {facts['version']}"
    lines = [
        f"    git checkout {facts['registered_commit']} && make setup",
        f"{rebuild} ../rebuilt            # fetches data and weights by digest and measures again",
        f"{rebuild} ../trained --train    # trains again too",
    ]
    kept = f"`{facts['rebuild']}` of the run `{facts.get('run_id')}` has its dvc.lock and params.yaml."
    return "\n".join(lines) + f"\n\n{kept} {digest}"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in cells)])
