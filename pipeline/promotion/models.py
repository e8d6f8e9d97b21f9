"""The command ``models``: the versions in the registry, which of them are in use, and what each was made from."""

from __future__ import annotations

import json
import time
from typing import Any

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.promotion.champion import look
from pipeline.registry.client import registry
from pipeline.registry.versions import AGAIN, Version, all_versions, figures

UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def run(project: Project[Params], as_json: bool = False) -> None:
    """Show every version: aliases, figures, digests of data, weights and code, age, verdict. ``as_json`` shows them in full.

    Raises ServiceError if MLflow is unavailable.
    """
    names = project.params.register_
    with registry(project.settings) as client:
        _, difference = look(client, names)
        known = [(version, figures(client, version)) for version in all_versions(client, names.model)]
    if as_json:
        say(json.dumps([_plain(version, means) for version, means in known], indent=1))
        return
    rows = [_row(version, means) for version, means in known]
    if not rows:
        say(f"no version of {names.model!r} is registered; run `make repro`, or {AGAIN} if that has nothing to do")
        return
    columns = ["version", "aliases", "PSNR-Y", "gain", "SSIM-Y", "data", "weights", "code", "age", "verdict"]
    table(f"versions of {names.model}", columns, rows)
    if difference:
        say(difference)


def age(created: int, now: float) -> str:
    """The time from ``created`` (ms since 1970) to ``now`` (s since 1970) in the largest unit that fits, such as ``3 d``."""
    seconds = max(0, int(now - created / 1000))
    return next((f"{seconds // size} {unit}" for unit, size in UNITS if seconds >= size), f"{seconds} s")


def _plain(version: Version, means: dict[str, float]) -> dict[str, Any]:
    """A version with all its figures, tags and digests, for a program; ``created`` is in seconds since 1970."""
    return {
        "model": version.model,
        "version": version.number,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "created": version.created / 1000,
        "figures": means,
        "data": version.data,
        "tags": dict(version.tags),
    }


def _row(version: Version, known: dict[str, float]) -> list[str]:
    means = [("derained/psnr_y", ".2f"), ("gain_psnr_y", "+.2f"), ("derained/ssim_y", ".4f")]
    shown = [format(known[f"overall/{name}"], form) if f"overall/{name}" in known else "-" for name, form in means]
    data = " ".join(f"{name}:{digest[:6]}" for name, digest in sorted(version.data.items()))
    dirty = "" if version.tags.get("code") == "committed" else "*"
    code = version.tags.get("registered_commit", "")[:8]
    return [
        str(version.number),
        " ".join(version.aliases) or "-",
        *shown,
        data or "-",
        version.tags.get("model_sha256", "")[:8] or "-",
        f"{code}{dirty}" if code else "-",
        age(version.created, time.time()),
        version.tags.get("verdict", "").partition(":")[0] or "-",
    ]
