"""The command ``diff``: how two versions differ in params, data, code and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.registry.client import registry
from pipeline.registry.versions import Version, figures, find_version, params_of

CODE = ("git_commit", "registered_commit", "code", "model_sha256", "leaks")
SHOWN = ("derained/psnr_y", "gain_psnr_y", "derained/ssim_y")


def run(project: Project[Params], first: str, second: str, as_json: bool = False) -> None:
    """Show what differs between two versions, each given by number or alias; ``as_json`` for a program.

    Raises ServiceError if one does not exist.
    """
    with registry(project.settings) as client:
        a, b = (find_version(client, project.params.register_.model, text) for text in (first, second))
        chosen = [params_of(client, version) for version in (a, b)]
        means = [figures(client, version) for version in (a, b)]
    if as_json:
        both = {"params": changed(*chosen), "data": changed(a.data, b.data), "code": changed(_code(a), _code(b))}
        plain: dict[str, Any] = {
            kind: {name: [old if old != "-" else None, new if new != "-" else None] for name, old, new in rows}
            for kind, rows in both.items()
        }
        names = sorted({name for mean in means for name in mean if name.partition("/")[2] in SHOWN})
        plain["figures"] = {name: [mean.get(name) for mean in means] for name in names}
        say(json.dumps({"versions": [a.number, b.number], **plain}, indent=1))
        return
    heads = ["", a.label, b.label]
    _show("params", heads, changed(*chosen))
    _show("data", heads, changed(a.data, b.data))
    _show("code", heads, changed(_code(a), _code(b)))
    rows = compared(*means)
    if rows:
        table("figures on the test images", [*heads, "difference"], rows)
    else:
        say("figures: none is known of either; versions that `make repro` made have them")


def changed(a: Mapping[str, str], b: Mapping[str, str]) -> list[list[str]]:
    """Rows of name and both values, for the values that differ; ``-`` stands for a missing value."""
    return [[name, a.get(name, "-"), b.get(name, "-")] for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


def compared(a: Mapping[str, float], b: Mapping[str, float]) -> list[list[str]]:
    """Rows of name, both values, and second minus first, for each dataset's figures; ``-`` stands for a missing value."""
    names = [name for name in sorted(a.keys() | b.keys()) if name.partition("/")[2] in SHOWN]
    return [
        [name, *(f"{means[name]:.4f}" if name in means else "-" for means in (a, b)), _difference(a, b, name)] for name in names
    ]


def _difference(a: Mapping[str, float], b: Mapping[str, float], name: str) -> str:
    return f"{b[name] - a[name]:+.4f}" if name in a and name in b else "-"


def _code(version: Version) -> dict[str, str]:
    return {name: version.tags[name] for name in CODE if name in version.tags}


def _show(title: str, heads: list[str], rows: list[list[str]]) -> None:
    if rows:
        table(title, heads, rows)
    else:
        say(f"{title}: no difference")
