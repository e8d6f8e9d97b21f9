"""The time of each stage of the pipeline, and the peak memory of all its processes together.

    python -m benchmarks.stages [--out FILE.json]

Runs every stage of dvc.yaml again (``dvc repro --force --single-item``), then ``dvc repro`` with nothing to do. Memory is
the sum of the proportional set sizes of the command and its descendants, sampled twice a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import psutil

from pipeline.console import table

STAGES = ("prepare@light", "prepare@heavy", "leaks", "pack@light", "pack@heavy", "train", "evaluate", "register")


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MB of a command and its descendants. Exits where the command fails."""
    started, peak = time.monotonic(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, _held(root))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; run it by itself to see why")
    return time.monotonic() - started, peak


def _held(root: psutil.Process) -> float:
    """Present memory of a process and its descendants, MB, with shared pages counted in proportion."""
    total = 0.0
    try:
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    except psutil.NoSuchProcess:
        return 0.0
    return total / 2**20


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    rows = {stage: measure(["dvc", "repro", "--force", "--single-item", stage]) for stage in STAGES}
    rows["nothing changed"] = measure(["dvc", "repro"])
    total = sum(seconds for stage, (seconds, _) in rows.items() if stage in STAGES)
    shown = [[stage, f"{seconds:.1f}", f"{peak:.0f}"] for stage, (seconds, peak) in rows.items()]
    shown.append(["all stages", f"{total:.1f}", f"{max(peak for _, peak in rows.values()):.0f}"])
    table(f"dvc repro on {os.cpu_count()} cores", ["stage", "seconds", "peak MB"], shown)
    if arguments.out:
        figures = {stage: {"seconds": seconds, "peak_mb": peak} for stage, (seconds, peak) in rows.items()}
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
