"""The tree of errors, and messages of other programs cut to one line without passwords."""

from __future__ import annotations

import pytest

from rdmc import errors
from rdmc.errors import LONGEST, DataError, MissingError, RdmcError, ServiceError, SizeError, one_line

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def test_every_error_belongs_to_the_one_tree() -> None:
    assert len(CLASSES) == 8
    assert all(issubclass(kind, RdmcError) and kind.exit_code == 1 for kind in CLASSES)
    assert issubclass(SizeError, DataError)
    assert issubclass(MissingError, ServiceError)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\n  lines\tand tabs ", "two lines and tabs"),
        ("https://rain:s3cret@host/x: refused", "https://host/x: refused"),
        ("s3://token@bucket and http://a:b@c", "s3://bucket and http://c"),
        ("cannot connect to rain:s3cret@host:5432", "cannot connect to host:5432"),
        ("postgres://rain:a@b@host/db", "postgres://host/db"),
        ("write to me@example.org", "write to me@example.org"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_a_message_is_one_line_without_credentials(text: str, line: str) -> None:
    assert one_line(ValueError(text)) == line


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_error_without_text_is_named_by_its_class(text: str) -> None:
    assert one_line(KeyboardInterrupt(text)) == "KeyboardInterrupt"


def test_a_long_message_is_cut() -> None:
    assert one_line("x" * LONGEST) == "x" * LONGEST
    assert one_line("x" * (LONGEST + 1)) == "x" * LONGEST + "…"
