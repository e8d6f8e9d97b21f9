"""Scale on paper: 1 to 1,024 workers and a million samples, simulated; writes a table, JSON and a plot.

    python -m benchmarks.scale [--out FILE.json] [--plot docs/scale.png]

Shards are exact, by the project's sampling. Times are drawn under the assumptions of ``benchmarks.scale_model.Assumed``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.scale_model import (
    Assumed,
    cache_hits,
    checkpoint_stall,
    fetched,
    idle_share,
    opened,
    order,
    preempted,
    shard_of,
    step_times,
)
from pipeline.config.settings import Settings
from pipeline.console import table
from rdmc.data.sampling import Part, Sampling

WORLDS = tuple(2**power for power in range(11))
PAIRS, SHARD_PAIRS, SHARD_MB = 1_000_000, 200, 16
EACH, NODE = 16, 8
"""Crops per worker and step, and workers per node."""
INTERVALS = (50, 300, 1000)
"""Steps between two checkpoints."""
SEED, STEPS, HOURS = 0, 2000, 2000.0


def plan(world: int, epochs: int = 1) -> tuple[Sampling, int]:
    """Return the sampling of a training of ``world`` workers, and the whole steps of ``epochs`` epochs."""
    batch = EACH * world
    return Sampling(SEED, (Part((SHARD_PAIRS,) * (PAIRS // SHARD_PAIRS)),), batch), PAIRS * epochs // batch


def simulate(assumed: Assumed) -> dict[str, Any]:
    """Return the assumptions and the figures by number of workers."""
    most, steps = plan(WORLDS[-1])
    positions = order(most, steps).reshape(-1)  # one crop a pair: the n-th sample is the same for any number of workers
    shards, rows = shard_of(most), []
    whole = len(fetched(most, steps))  # the loader fetches whole windows, whatever slots are its own
    for world in WORLDS:
        _, count = plan(world)
        count = min(count, len(positions) // (EACH * world))
        samples = positions[: count * EACH * world].reshape(count, -1)
        node = min(NODE, world)
        drawn = step_times(assumed, STEPS, world, SEED)
        step_s = float(drawn.max(axis=1).mean())
        rows.append(
            {
                "workers": world,
                "nodes": world // node,
                "idle": idle_share(drawn),
                "step_s": step_s,
                "samples_per_s": EACH * world / step_s,
                "needs_gb": len(opened(samples, shards, range(node), world)) * SHARD_MB / 1000,
                "fetches_gb": whole * SHARD_MB / 1000,
                "stall_s": checkpoint_stall(assumed, 50 * step_s, STEPS, SEED)[0],
                "resume": {every: preempted(assumed, world, every, step_s, HOURS, SEED) for every in INTERVALS},
            }
        )
    orders = Sampling(SEED, most.parts, SHARD_PAIRS * 16)  # a step is a window
    windows = [sorted(shard for _, shard in orders.shards_of(step)) for step in range(2 * PAIRS // orders.global_batch_size)]
    rooms = {mb: mb // SHARD_MB for mb in (Settings.model_fields["shard_cache_mb"].default, 40_000, 80_000)}
    hits = {mb: cache_hits(windows, room, len(windows) // 2 + 1) for mb, room in rooms.items()}
    stalls = {seconds: checkpoint_stall(assumed, seconds, STEPS, SEED) for seconds in (2.0, 5.0, 15.0, 60.0)}
    return {"assumed": asdict(assumed), "workers": rows, "hits_second_epoch": hits, "stall_by_interval": stalls}


def draw(found: dict[str, Any], path: Path) -> None:
    """Write the plot: waiting, data per node, and the share of time that counts, by number of workers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = found["workers"]
    worlds = [row["workers"] for row in rows]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    left.plot(worlds, [100 * row["idle"] for row in rows], "o-")
    left.set_title("waiting for the slowest, % (simulated)", fontsize=9)
    middle.plot(worlds, [row["fetches_gb"] for row in rows], "o-", label="fetched by the loader")
    middle.plot(worlds, [row["needs_gb"] for row in rows], "o-", label="with a sample of the node's")
    middle.set_title("GB of shards a node and epoch (exact)", fontsize=9)
    middle.legend(fontsize=8)
    for every in INTERVALS:
        right.plot(worlds, [100 * row["resume"][every][1] for row in rows], "o-", label=f"every {every} steps")
    right.set_title("time that makes steps which count, % (simulated)", fontsize=9)
    right.legend(fontsize=8, title="checkpoints")
    for axes in (left, middle, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("workers")
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Simulate, print the table, write JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    parser.add_argument("--plot", type=Path, help="write the plot here")
    arguments = parser.parse_args()
    found = simulate(Assumed())
    heads = ["workers", "idle %", "crops/s", "needs GB", "fetches GB", "stall s", *(f"lost, useful % ({n})" for n in INTERVALS)]
    lines = [
        [
            str(row["workers"]),
            f"{100 * row['idle']:.1f}",
            f"{row['samples_per_s']:.0f}",
            f"{row['needs_gb']:.1f}",
            f"{row['fetches_gb']:.1f}",
            f"{row['stall_s']:.2f}",
            *(f"{lost:.0f}, {100 * share:.1f}" for lost, share in row["resume"].values()),
        ]
        for row in found["workers"]
    ]
    table("a million pairs, simulated", heads, lines)
    print(json.dumps({key: found[key] for key in ("hits_second_epoch", "stall_by_interval")}))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.plot:
        draw(found, arguments.plot)


if __name__ == "__main__":
    main()
