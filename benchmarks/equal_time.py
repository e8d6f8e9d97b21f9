"""RDMC's default against the baselines: each trains for the same wall-clock time and is tested on the same images.

    python -m benchmarks.equal_time --minutes 10 --seeds 0 1 2
    python -m benchmarks.equal_time --data rain800 --minutes 10 --seeds 0 1 2
    python -m benchmarks.equal_time --steps 300 --split validation --kinds rdmc unet --variant one-pass network.passes=1

With --minutes, the steps of all networks are first timed in turn in one process, so that a change of the machine's speed
affects all of them equally. The training time divided by the time of a step gives each network's number of steps, and so its
cosine schedule. With --steps, all networks take the same number of steps. Then each network is trained and tested with each
seed in a fresh process by rdmc.training.loop.Run on two threads, with the loss, batch, crop and averaging of params.yaml and
its own learning rate. All training pairs are decoded before the clock starts. Trainings whose results are in the JSON file are
skipped, so a stopped run resumes, and a later run can add seeds and networks.

Choices between variants are made with --split validation. The test images are for the result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.equal_runs import (
    LONG,
    THREADS,
    Entry,
    decoded,
    entry,
    in_fresh_process,
    parse_overrides,
    shards,
    step_seconds,
    with_rain800,
)
from benchmarks.equal_table import markdown
from pipeline.config.params import Params, read_params
from pipeline.console import say
from rdmc.errors import ConfigError, RdmcError
from rdmc.files import write_text

KINDS = ("rdmc", "unet", "prenet")
WORK = Path(tempfile.gettempdir()) / "rdmc-equal-time"
SHARE = 0.05
"""Share of Rain800's training scenes that validates, with --split test too, so that choices and results have the same pairs."""


def entries(arguments: argparse.Namespace, params: Params) -> dict[str, Entry]:
    """The networks by name: the kinds, then the variants. Raises ConfigError for a name that is there twice."""
    rates = dict(arguments.lr)
    changes = [(kind, {"network.kind": kind}) for kind in arguments.kinds]
    changes += [(name, parse_overrides(text)) for name, text in arguments.variant]
    names = [name for name, _ in changes]
    if repeated := next((name for name in names if names.count(name) > 1), ""):
        raise ConfigError(f"{repeated!r}: is the name of two networks; rename the variant")
    if unknown := next((name for name in rates if name not in names), ""):
        raise ConfigError(f"--lr {unknown}: is not one of the networks ({', '.join(names)}); fix its name")
    return {name: entry(params, overrides, rates.get(name)) for name, overrides in changes}


def compare(arguments: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Time all networks, then train and test those without results; every result is written immediately."""
    chosen = entries(arguments, params)
    folders, digests = shards(params, arguments.work / arguments.data)
    state = _state(arguments, params, digests)
    for name, own in chosen.items():
        if state["entries"].setdefault(name, asdict(own)) != asdict(own):
            raise ConfigError(f"{arguments.json}: has {name} with other params; rename it, or name another file with --json")
    if not arguments.steps and chosen.keys() - state["step_seconds"].keys():
        known = {name: Entry(**plain) for name, plain in state["entries"].items()}
        recipes = {name: own.recipe(params, params.seed, LONG) for name, own in known.items()}
        state["step_seconds"] = _joined(state["step_seconds"], step_seconds(recipes, decoded(folders)))
    _write(arguments, state)
    for seed in arguments.seeds:
        for name, own in chosen.items():
            results = state["results"].setdefault(name, {})
            if str(seed) not in results:
                steps = arguments.steps or max(1, round(60 * arguments.minutes / state["step_seconds"][name]))
                say(f"{name}, seed {seed}: {steps} steps")
                recipe = own.recipe(params, seed, steps)
                results[str(seed)] = in_fresh_process(recipe, folders, arguments.split, arguments.test, arguments.device)
                _write(arguments, state)
    return {**state, "results": {name: state["results"][name] for name in chosen}}


def _state(arguments: argparse.Namespace, params: Params, digests: Mapping[str, str]) -> dict[str, Any]:
    """What the JSON file has, or an empty state. Raises ConfigError for a file of other settings."""
    settings = {
        "minutes": None if arguments.steps else arguments.minutes,
        "steps": arguments.steps,
        "split": arguments.split,
        "test": arguments.test,
        "threads": THREADS,
        "device": arguments.device,
        "data": dict(digests),
        "params": params.model_dump(mode="json", include={"seed", "architecture", "loss", "train", "network_"}),
    }
    if not arguments.json.is_file():
        return {"settings": settings, "entries": {}, "step_seconds": {}, "results": {}}
    state: dict[str, Any] = json.loads(arguments.json.read_text())
    if state.get("settings") != settings or "results" not in state:
        raise ConfigError(f"{arguments.json}: has results with other settings; name another file with --json")
    return state


def _joined(earlier: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Seconds per step of all networks. Earlier ones stay, and new ones are converted to the machine's speed of then."""
    ratios = [earlier[name] / now[name] for name in earlier]
    speed = statistics.median(ratios) if ratios else 1.0
    return {name: earlier.get(name, seconds * speed) for name, seconds in now.items()}


def _write(arguments: argparse.Namespace, state: Mapping[str, Any]) -> None:
    write_text(arguments.json, json.dumps(state, indent=2) + "\n")


def _rate(text: str) -> tuple[str, float]:
    name, _, lr = text.partition("=")
    return name, float(lr)


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", choices=("embedded", "rain800"), default="embedded", help="embedded: the datasets of the params (default)"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=10.0, help="of training, for each network and seed (default: 10)")
    budget.add_argument("--steps", type=int, default=0, help="of training, the same for all, instead of --minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the initial weights and crops (default: 0)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="networks, by their kinds; first: RDMC")
    parser.add_argument(
        "--variant", nargs=2, action="append", default=[], metavar=("NAME", "PARAMS"), help="params that differ, as key=value,…"
    )
    parser.add_argument(
        "--lr", type=_rate, nargs="*", default=[], help="learning rates, as name=rate; else each has its usual one"
    )
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="the images that are measured")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of the trainings; their steps are always timed on the CPU"
    )
    parser.add_argument("--test", type=int, default=0, help="measure only this many images of each dataset")
    parser.add_argument(
        "--pairs", type=Path, default=Path("../shared/data/rain800"), help="of rain800: folder with train/, test/"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder for pairs and shards; kept")
    parser.add_argument("--json", type=Path, help="results, also those of a run to resume; else equal-time-….json in --work")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the recipe, and the networks' shapes")
    arguments = parser.parse_args(argv)
    budget_name = f"{arguments.steps}-steps" if arguments.steps else f"{arguments.minutes:g}-min"
    name = f"equal-time-{arguments.data}-{budget_name}-{arguments.split}.json"
    arguments.json = arguments.json or arguments.work / name
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Measure, print tables in Markdown, write JSON."""
    arguments = parsed(argv)
    torch.set_num_threads(THREADS)
    params = read_params(arguments.params)
    if arguments.data == "rain800":
        params = with_rain800(params, arguments.pairs, SHARE)
    state = compare(arguments, params)
    say(markdown(state["results"], state["step_seconds"], arguments.seeds))


if __name__ == "__main__":
    try:
        main()
    except RdmcError as error:
        raise SystemExit(f"error: {error}") from None
