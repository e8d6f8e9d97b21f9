"""The parts of a page: escaped text, tables that sort, and no address of anything else."""

from __future__ import annotations

from pipeline.evaluation.report.html import LONG, POLICY, bullets, heading, page, paragraph, table

EVIL = '"><script>alert(1)</script>&'


def test_text_is_escaped_everywhere() -> None:
    made = page(EVIL, [heading(EVIL), paragraph(EVIL), bullets([EVIL]), table(EVIL, [EVIL], [[EVIL, EVIL]])])
    assert made.count("<script>") == 1, "the page's own"
    assert "alert(1)&lt;/script&gt;&amp;" in made


def test_a_page_names_nothing_to_load() -> None:
    made = page("x", [])
    assert POLICY in made
    assert not [word for word in ("http://", "https://", "<link", " src=", "@import", "url(") if word in made]


def test_only_a_long_table_sorts() -> None:
    short, long = (table("t", ["a", "b"], [["x", str(number)] for number in range(count)]) for count in (LONG, LONG + 1))
    assert "<button" not in short
    assert long.count("<button") == 2
    assert short.count('<th scope="row">x</th>') == LONG
    assert bullets([]) == ""


def test_words_may_fill_several_lines_and_figures_may_not() -> None:
    made = table("t", ["a", "b", "c"], [["x", "23.13 to 27.43", "tables of several papers, which agree"]])
    assert '<td>23.13 to 27.43</td><td class="words">tables' in made
