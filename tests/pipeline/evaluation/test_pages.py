"""Tables in pages: exact Markdown, and their place between two markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.evaluation.pages import between_markers, fill_page, markdown_table, read_page
from rdmc.errors import ConfigError
from tests.support.imports import ROOT

BEGIN, END = "<!-- fruit: begin -->", "<!-- fruit: end -->"


def test_the_first_column_is_left_aligned_and_the_others_right() -> None:
    assert markdown_table(["", "dB"], [["plum", "1.00"]]) == "|  | dB |\n| --- | ---: |\n| plum | 1.00 |"


def test_content_replaces_the_text_between_the_markers() -> None:
    text = between_markers(f"before\n{BEGIN}\nold\n{END}\nafter\n", "fruit", "new\n", "page.md")
    assert text == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert between_markers(text, "fruit", "new\n", "page.md") == text
    for bad in ("", BEGIN, f"{END}{BEGIN}", text.replace("fruit", "other")):
        with pytest.raises(ConfigError, match=rf"^page\.md: needs the lines {BEGIN} and {END} in this order"):
            between_markers(bad, "fruit", "new\n", "page.md")


def test_a_page_is_filled_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fill_page(page, "fruit", "new\n")
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("name", ["ablation", "reference"])
def test_the_pages_have_the_markers_of_their_commands(name: str) -> None:
    assert read_page(ROOT / f"docs/{name}.md", name)


def test_a_page_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.md: .*such as docs/fruit.md"):
        read_page(tmp_path / "none.md", "fruit")
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary.md: .*such as docs/fruit.md"):
        read_page(tmp_path / "binary.md", "fruit")
    (tmp_path / "plain.md").write_text("no markers")
    with pytest.raises(ConfigError, match="plain.md: needs the lines"):
        read_page(tmp_path / "plain.md", "fruit")
