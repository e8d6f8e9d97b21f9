"""docs/reference.md has the figures of the card in the package, and the cells are exact."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.reference.page import page, rows, write_page
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


def test_a_page_gets_the_tables_between_its_markers(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- reference: begin -->\nold\n<!-- reference: end -->\nafter\n")
    write_page(path, CARD)
    assert path.read_text() == f"before\n<!-- reference: begin -->\n{page(CARD)}<!-- reference: end -->\nafter\n"


def test_the_document_states_the_card_of_the_package(tmp_path: Path) -> None:
    path = ROOT / "docs/reference.md"
    written = Path(shutil.copy(path, tmp_path))
    write_page(written, reference_card())
    cure = "write_page(Path('docs/reference.md'), reference_card()) writes it again, and so does `make reference`"
    assert written.read_text() == path.read_text(), cure
