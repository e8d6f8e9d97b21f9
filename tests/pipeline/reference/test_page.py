"""docs/reference.md has the figures of the card in the package, and the cells are exact."""

from __future__ import annotations

from pipeline.evaluation.pages import between_markers, read_page
from pipeline.reference.page import MARKERS, page, rows
from rdmc.models.rdmc import RDMCConfig
from rdmc.reference import ReferenceCard, ReferenceFacts, ReferenceFigures, ReferenceTraining, reference_card
from tests.support.imports import ROOT

FIGURES = ReferenceFigures(4, 27.1, 0.89, 31.25, 0.95, -0.004, 40.0)
TRAINING = ReferenceTraining(3, 100, 80, {"light": {"source": "embedded", "rain": "light", "variants": 2}}, {})
CARD = ReferenceCard(
    RDMCConfig(width=2, passes=1, stem=2), "ab" * 32, ReferenceFacts({}, "", TRAINING, {"light": FIGURES, "overall": FIGURES})
)


def test_a_row_for_each_dataset_with_its_gain() -> None:
    row = ["4", "27.10", "31.25", "+4.15", "+0.00", "0.8900", "0.9500", "40.00"]
    assert rows(CARD) == [["light", *row], ["overall", *row]]


def test_the_text_says_what_the_model_was_made_from() -> None:
    text = " ".join(page(CARD).split())
    assert "Version `abababababab`" in text
    assert "Trained for 100 steps with seed 3; the weights are those of step 80" in text
    assert "`light` (source: embedded, rain: light, variants: 2)" in text
    assert max(len(line) for line in page(CARD).splitlines() if not line.startswith("|")) <= 128


def test_the_document_states_the_card_of_the_package() -> None:
    path = ROOT / "docs/reference.md"
    text = read_page(path, MARKERS)
    assert between_markers(text, MARKERS, page(reference_card()), "x") == text, "run `make reference`, or write the page again"
