"""The parts of a page: text, tables, and the page around them. Every text is escaped. A page needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

LONG = 20
"""A table with more rows than this can be sorted and is scrolled."""
WIDE = 24
"""More characters than a figure and its interval have."""
WORDS = ' class="words"'
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the page may load, for the browser to hold it to: its own styles, script and pictures, and nothing else."""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page. ``parts`` are HTML, made by the functions here and by ``pictures`` and ``plots`` beside this module."""
    style, script = (files(__package__).joinpath(name).read_text() for name in ("report.css", "report.js"))
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>",
            *parts,
            f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n",
        ]
    )


def heading(text: str) -> str:
    """A heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """A list of plain lines; empty without any."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def definitions(facts: Mapping[str, str]) -> str:
    """A list of names, each with a text."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in facts.items())}</dl>"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text. A long one has buttons in its head that sort it, and is scrolled inside its own frame."""
    long = len(rows) > LONG
    head = "".join(
        f'<th scope="col"><button type="button">{escape(column)}</button></th>'
        if long
        else f'<th scope="col">{escape(column)}</th>'
        for column in columns
    )
    body = "\n".join(f'<tr><th scope="row">{escape(row[0])}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in rows)
    kind = "frame long" if long else "frame"
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(title)}"><table><caption>{escape(title)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """A cell; words are on the left and may fill several lines."""
    return f"<td{WORDS if len(text) > WIDE else ''}>{escape(text)}</td>"
