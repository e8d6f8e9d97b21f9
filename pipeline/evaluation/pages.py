"""Tables of figures in the pages of docs/, which commands write between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdmc.errors import ConfigError
from rdmc.files import write_text


def markdown_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table without a newline at its end; the first column is left-aligned, the others right."""
    ruler = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ruler, *cells))


def between_markers(text: str, name: str, content: str, source: str) -> str:
    """``text`` with ``content`` in place of what is between the lines ``<!-- name: begin -->`` and ``<!-- name: end -->``.

    Raises ConfigError that names ``source`` where ``text`` does not have both markers in order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise ConfigError(f"{source}: needs the lines {begin} and {end} in this order; add them where the table should be")
    return f"{before}{begin}\n{content}{end}{after}"


def read_page(path: Path, name: str) -> str:
    """The text of a page with the markers of ``name``. Raises ConfigError where it cannot be read or lacks the markers."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; name a text file with the table's markers, such as docs/{name}.md") from None
    between_markers(text, name, "", str(path))
    return text


def fill_page(path: Path, name: str, content: str) -> None:
    """Write ``content`` between the markers of ``name`` in a page. Raises ConfigError as ``read_page`` does."""
    write_text(path, between_markers(read_page(path, name), name, content, str(path)))
