"""The settings and files that docs/cluster.md names are the real ones."""

from __future__ import annotations

import re

from pipeline.config.settings import Settings
from tests.support.imports import ROOT

TEXT = (ROOT / "docs/cluster.md").read_text()


def as_documented(value: object) -> str:
    return "unset" if value is None else "empty" if value == "" else f"`{value}`"


def test_the_table_has_each_setting_with_its_default_and_no_other() -> None:
    table = dict(re.findall(r"^\| `(RDMC_\w+)` \| (\S+) \|", TEXT, re.MULTILINE))
    assert table == {f"RDMC_{name.upper()}": as_documented(field.default) for name, field in Settings.model_fields.items()}


def test_the_files_that_it_names_exist() -> None:
    named = set(re.findall(r"\binfra/[\w./-]*\w", TEXT)) - {"infra/.env"}
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
