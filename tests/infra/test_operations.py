"""docs/operations.md says what is so."""

from __future__ import annotations

import re

from pipeline.config.settings import Settings
from tests.support.imports import ROOT

TEXT = (ROOT / "docs/operations.md").read_text()


def shown(value: object) -> str:
    return "unset" if value is None else "empty" if value == "" else f"`{value}`"


def test_the_table_has_every_setting_with_its_default_and_no_other() -> None:
    table = dict(re.findall(r"^\| `(RDMC_\w+)` \| (\S+) \|", TEXT, re.MULTILINE))
    assert table == {f"RDMC_{name.upper()}": shown(field.default) for name, field in Settings.model_fields.items()}


def test_the_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"\binfra/[\w./-]*\w", TEXT)) - {"infra/.env"}
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
