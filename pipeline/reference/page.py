"""The tables of docs/reference.md, from the card of the reference model."""

from __future__ import annotations

import textwrap
from pathlib import Path

from pipeline.evaluation.pages import fill_page, markdown_table
from rdmc.models.cost import SIDE, cost
from rdmc.reference import FORMAT, ReferenceCard

MARKERS = "reference"
"""Name of the markers between which `python -m pipeline reference --write FILE` writes."""
COLUMNS = [
    "test images",
    "number",
    "rainy PSNR-Y, dB",
    "derained",
    "gain",
    "worst gain",
    "rainy SSIM-Y",
    "derained",
    "a clean image keeps, dB",
]


def rows(card: ReferenceCard) -> list[list[str]]:
    """The cells of the table of figures: a row per dataset, then one over all test images."""
    return [
        [
            name,
            str(found.images),
            f"{found.rainy_psnr_y:.2f}",
            f"{found.derained_psnr_y:.2f}",
            f"{found.derained_psnr_y - found.rainy_psnr_y:+z.2f}",
            f"{found.worst_gain_psnr_y:+z.2f}",
            f"{found.rainy_ssim_y:.4f}",
            f"{found.derained_ssim_y:.4f}",
            f"{found.clean_psnr_y:.2f}",
        ]
        for name, found in card.facts.figures.items()
    ]


def write_page(path: Path, card: ReferenceCard) -> None:
    """Write what ``page`` returns between the markers of a page. Raises ConfigError for a page without them."""
    fill_page(path, MARKERS, page(card))


def page(card: ReferenceCard) -> str:
    """What stands between the markers: the table of figures, and what the model was made from."""
    training = card.facts.training
    datasets = "; ".join(f"`{name}` {_described(rule)}" for name, rule in training.datasets.items())
    text = (
        f"Version `{card.version}`, the start of the SHA-256 of `rdmc/weights/reference.safetensors` (card format {FORMAT}). "
        f"Network: {card.network.kind}, {cost(card.network)} for {SIDE}x{SIDE} pixels, weights in float16. Trained for "
        f"{training.steps} steps with seed {training.seed}; the weights are those of step {training.best_step}, the best on "
        f"the validation images. Datasets: {datasets}. The figures are those of the float16 weights on whole test images."
    )
    about = textwrap.fill(text, 128, break_long_words=False, break_on_hyphens=False)
    return f"{markdown_table(COLUMNS, rows(card))}\n\n{about}\n"


def _described(rule: object) -> str:
    values = rule.items() if isinstance(rule, dict) else ()
    return "(" + ", ".join(f"{name}: {value}" for name, value in values) + ")"
