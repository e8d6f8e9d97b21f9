"""The command ``datasets``: the registry of rain benchmarks as a table, one benchmark in full, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from pipeline.console import say, table
from rdmc.datasets.benchmarks.facts import Benchmark, PublishedResult
from rdmc.datasets.benchmarks.registry import BENCHMARKS, benchmark


def run(name: str, as_json: bool = False) -> None:
    """Show all benchmarks, or everything known about ``name`` unless it is empty. Raises ConfigError for an unknown name."""
    if as_json:
        shown = asdict(benchmark(name)) if name else {entry.name: asdict(entry) for entry in BENCHMARKS.values()}
        say(json.dumps(shown, indent=1, default=sorted))
    elif name:
        _show(benchmark(name))
    else:
        rows = [[entry.name, entry.kind, counts(entry), inputs(entry)] for entry in BENCHMARKS.values()]
        table("rain benchmarks", ["name", "rain", "pairs", "input PSNR-Y, dB"], rows)
        say("details of one:  python -m pipeline datasets rain800")


def counts(entry: Benchmark) -> str:
    """The pair counts of the whole benchmark, such as ``700 train, 100 test``."""
    return _joined({split: str(count) for split, count in entry.copies[0].pairs.items()} if entry.copies else {})


def inputs(entry: Benchmark) -> str:
    """The mean input PSNR-Y (dB) of the whole benchmark, such as ``22.59 test``. It identifies a copy."""
    return _joined({split: f"{psnr:.2f}" for split, psnr in entry.copies[0].psnr_y.items()} if entry.copies else {})


def markdown() -> str:
    """The registry as Markdown, for docs/datasets.md."""
    lines = ["| name | rain | pairs | input PSNR-Y, dB | layouts met | licence |", "|---|---|---|---|---|---|"]
    for entry in BENCHMARKS.values():
        layouts = "; ".join(entry.layouts)
        name = f"[{entry.name}]({entry.home})"
        lines.append(f"| {name} | {entry.kind} | {counts(entry)} | {inputs(entry)} | {layouts} | {entry.licence} |")
    for entry in BENCHMARKS.values():
        lines += ["", f"**{entry.name}**: {entry.title}. {entry.paper}. Split: {entry.split}.", ""]
        for copy in entry.copies:
            figures = _joined({split: f"{psnr:.2f} dB" for split, psnr in copy.psnr_y.items()})
            source = f"{copy.source}; {copy.psnr_source}" if copy.psnr_source else copy.source
            lines.append(f"- {copy.what}: {_joined({s: str(n) for s, n in copy.pairs.items()})}; input {figures} ({source})")
        lines += [f"- {note.text} ({note.source})" for note in entry.notes]
        for convention in dict.fromkeys(result.convention for result in entry.results):
            shown = [_result(result) for result in entry.results if result.convention == convention]
            lines.append(f"- published, {convention}: {', '.join(shown)}")
    return "\n".join(lines) + "\n"


def _joined(values: Mapping[str, str]) -> str:
    return ", ".join(f"{value} {split}" for split, value in values.items()) or "unknown"


def _result(result: PublishedResult) -> str:
    """A published figure with its source, such as ``PReNet 37.48/0.979 (source; trained on ...)``."""
    ssim = "" if result.ssim is None else f"/{result.ssim:.3f}"
    trained = f"; trained on {result.training}" if result.training else ""
    return f"{result.method} {result.psnr:.2f}{ssim} ({result.source}{trained})"


def _show(entry: Benchmark) -> None:
    say(f"{entry.name}: {entry.title} ({entry.kind})")
    for label, text in (("home", entry.home), ("paper", entry.paper), ("split", entry.split)):
        say(f"  {label + ':':<9} {text}")
    say(f"  licence:  {entry.licence} ({entry.licence_source})")
    say(f"  layouts:  {'; '.join(entry.layouts)}")
    for copy in entry.copies:
        figures = ", ".join(f"{split} {psnr:.2f} dB" for split, psnr in copy.psnr_y.items()) or "unknown"
        say(f"  copy:     {copy.what}: {_joined({split: str(count) for split, count in copy.pairs.items()})} ({copy.source})")
        say(f"            input PSNR-Y: {figures}" + (f" ({copy.psnr_source})" if copy.psnr_source else ""))
    for note in entry.notes:
        say(f"  note:     {note.text} ({note.source})")
    for result in entry.results:
        ssim = "" if result.ssim is None else f", SSIM {result.ssim:.3f}"
        trained = f"; trained on {result.training}" if result.training else ""
        say(f"  result:   {result.method} {result.psnr:.2f} dB{ssim}, {result.convention} ({result.source}{trained})")
    if entry.kind != "unpaired":
        say(f"  params:   {entry.name}: {{source: benchmark, name: {entry.name}, path: raw/{entry.name}}}")
