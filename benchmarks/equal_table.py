"""The tables of benchmarks.equal_time in Markdown: the networks, their figures over seeds, and the differences seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.pages import markdown_table
from rdmc.models.cost import SIDE

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Results by network and seed, as ``benchmarks.equal_runs.train_and_test`` returns them."""


def markdown(results: Results, step_seconds: Mapping[str, float], seeds: Sequence[int]) -> str:
    """The three tables for these seeds. Differences are those of the first network minus the others, so it is RDMC's place."""
    chosen = {name: {seed: by_seed[str(seed)] for seed in seeds if str(seed) in by_seed} for name, by_seed in results.items()}
    chosen = {name: by_seed for name, by_seed in chosen.items() if by_seed}
    tables = [_networks(chosen, step_seconds), _figures(chosen)]
    if len(chosen) > 1:
        tables.append(_differences(chosen))
    return "\n\n".join(tables)


def mean_and_spread(values: Sequence[float], form: str) -> str:
    """The mean of the values, and the smallest and largest if they are several."""
    mean = format(sum(values) / len(values), form)
    return mean if len(values) == 1 else f"{mean} ({format(min(values), form)} to {format(max(values), form)})"


def gain(found: Mapping[str, Any]) -> float:
    """The mean gain in PSNR-Y (dB) on one dataset."""
    return float(found["derained"]["psnr_y"] - found["rainy"]["psnr_y"])


def _networks(results: Mapping[str, Mapping[int, Any]], step_seconds: Mapping[str, float]) -> str:
    head = ["network", "parameters", f"GFLOP {SIDE}x{SIDE}", "learning rate", "ms per step", "steps", "seconds of training"]
    rows = []
    for name, by_seed in results.items():
        first = next(iter(by_seed.values()))
        seconds = [found["seconds"] for found in by_seed.values()]
        timed = f"{1e3 * step_seconds[name]:.0f}" if name in step_seconds else "-"
        size = [f"{first['parameters'] / 1e3:.0f} k", f"{first['gflop']:.2f}", f"{first['lr']:g}"]
        rows.append([name, *size, timed, str(first["steps"]), mean_and_spread(seconds, ".0f")])
    return markdown_table(head, rows)


def _figures(results: Mapping[str, Mapping[int, Any]]) -> str:
    head = ["test images", "network", "seeds", "gain PSNR-Y, dB", "PSNR-Y", "SSIM-Y", "PSNR RGB", "worst gain of an image"]
    rows = []
    for name in _datasets(results):
        sample = next(iter(next(iter(results.values())).values()))["datasets"][name]
        rainy = [f"{sample['rainy']['psnr_y']:.2f}", f"{sample['rainy']['ssim_y']:.4f}", f"{sample['rainy']['psnr_rgb']:.2f}"]
        rows.append([f"{name} ({len(sample['gains'])})", "rainy", "", "", *rainy, ""])
        for network, by_seed in results.items():
            found = [result["datasets"][name] for result in by_seed.values()]
            figures = [
                mean_and_spread([gain(one) for one in found], "+z.2f"),
                f"{sum(one['derained']['psnr_y'] for one in found) / len(found):.2f}",
                mean_and_spread([one["derained"]["ssim_y"] for one in found], ".4f"),
                mean_and_spread([one["derained"]["psnr_rgb"] for one in found], ".2f"),
                mean_and_spread([min(one["gains"].values()) for one in found], "+z.2f"),
            ]
            rows.append([name, network, str(len(found)), *figures])
    return markdown_table(head, rows)


def _differences(results: Mapping[str, Mapping[int, Any]]) -> str:
    """The first network minus each other one in PSNR-Y (dB) and SSIM-Y, over the seeds that both have."""
    first, *others = results
    head = [f"{first} minus", "test images", "seeds", "PSNR-Y, dB", "SSIM-Y", f"seeds in which {first} has the higher PSNR-Y"]
    rows = []
    for other in others:
        shared = [seed for seed in results[first] if seed in results[other]]
        for name in _datasets(results) if shared else ():
            pairs = [[results[network][seed]["datasets"][name]["derained"] for network in (first, other)] for seed in shared]
            psnr, ssim = ([one[figure] - two[figure] for one, two in pairs] for figure in ("psnr_y", "ssim_y"))
            wins = f"{sum(value > 0 for value in psnr)} of {len(psnr)}"
            spread = [mean_and_spread(psnr, "+z.2f"), mean_and_spread(ssim, "+z.4f")]
            rows.append([other, name, str(len(shared)), *spread, wins])
    return markdown_table(head, rows)


def _datasets(results: Mapping[str, Mapping[int, Any]]) -> list[str]:
    return list(next(iter(next(iter(results.values())).values()))["datasets"])
