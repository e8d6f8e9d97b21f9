"""What the documents name exists: linked files and headings, commands, make targets, modules."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer.main

from pipeline.__main__ import command_line
from tests.support.imports import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
CHANGELOG = ROOT / "CHANGELOG.md"  # its older entries may name commands and files that are gone
README_LINES = 120
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
COMMAND = re.compile(r"python -m pipeline(?:`|[ \t]+([a-z][\w-]*))")
TARGET = re.compile(r"(?:^|[`(;&|]|\bor )\s*make ([a-z][a-z-]*)", re.MULTILINE)
FILE = re.compile(r"(?<![\w./-])((?:rdmc|pipeline|infra|tests|benchmarks|architectures)/[\w./-]*\w)")
OTHER_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:")
WRITTEN_LATER = {"infra/.env", "architectures/searched"}
"""What a user or a command writes."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def each_page() -> pytest.MarkDecorator:
    """Run a test once for each page."""
    return pytest.mark.parametrize("page", PAGES, ids=_name)


def prose(text: str) -> str:
    """Markdown without its code blocks, fenced or indented after an empty line."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?:(?<=\n\n)|\A)(?: {4}.*\n)+", "", text)


def code(text: str) -> str:
    """The code blocks of a Markdown text and its code spans in backticks, one piece a line."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:(?<=\n\n)|\A)(?: {4}.*\n)+", text)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]
    return "\n".join([*fenced, *indented, *spans])


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ +(.+?)\s*$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links of a page to a file that is not there or to a heading that the file does not have."""
    links = [link for link in LINK.findall(prose(text)) if not OTHER_ADDRESS.match(link)]
    return [link for link in links if not _leads_somewhere(link, page, text)]


def _leads_somewhere(link: str, page: Path, text: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = page.parent / path
    if path and not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text() if path else text)


def commands() -> set[str]:
    """The commands of ``python -m pipeline``."""
    group = typer.main.get_command(command_line())
    return set(group.commands)  # type: ignore[attr-defined]


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def named(pattern: re.Pattern[str], text: str) -> set[str]:
    """What follows the pattern in a page's code."""
    return {name for name in pattern.findall(code(text)) if name}


@pytest.mark.parametrize("page", [*PAGES, CHANGELOG], ids=_name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert dead_links(page, page.read_text()) == []


@each_page()
def test_the_commands_exist(page: Path) -> None:
    assert sorted(named(COMMAND, page.read_text()) - commands()) == []


@each_page()
def test_the_make_targets_exist(page: Path) -> None:
    assert sorted(named(TARGET, page.read_text()) - targets()) == []


@each_page()
def test_the_files_of_the_project_exist(page: Path) -> None:
    files = named(FILE, page.read_text()) - WRITTEN_LATER
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_each_page_of_docs_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(prose(page.read_text()))
        if not OTHER_ADDRESS.match(link)
    }
    pages = [page for page in PAGES if page.parent != ROOT / "docs/decisions" and page != ROOT / "README.md"]
    assert [_name(page) for page in pages if page not in linked] == []


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading: with `code`, twice\n\n    # not a heading\n")
    page = tmp_path / "page.md"
    good = "[1](there.md) [2](there.md#a-heading-with-code-twice) [3](#mine) [4](https://x.example/#y)\n\n## Mine\n"
    assert dead_links(page, good) == []
    assert dead_links(page, "[1](gone.md) [2](there.md#not-a-heading) [two\nlines](#yours)") == [
        "gone.md",
        "there.md#not-a-heading",
        "#yours",
    ]
    text = "Run `python -m pipeline\nserv` or `make  it`.\n\n    python -m pipeline train   # or make nothing\n\nDo make.\n"
    assert named(COMMAND, text) - commands() == {"serv"}
    assert named(TARGET, text) == {"it", "nothing"}
    assert named(FILE, "`pipeline/x.py`, `tests/y/` and rdmc/prose.py, `../rdmc/z.py`") == {"pipeline/x.py", "tests/y"}


def test_the_lists_that_pages_are_held_against_are_not_empty() -> None:
    assert {"train", "serve", "rebuild"} <= commands()
    assert {"repro", "test", "test-slow"} <= targets()
    readme = (ROOT / "README.md").read_text()
    assert {"derain", "serve", "export", "promote"} <= named(COMMAND, readme)
    assert {"repro", "test", "tune"} <= named(TARGET, readme)
