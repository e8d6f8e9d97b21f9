"""The cost of the gate compared with two evaluations: both models on the same 100 images of 481x321, and the statistics.

    python -m benchmarks.gate [--images 100] [--out FILE.json]

One model is evaluated, then the gate compares both, then the other model is evaluated, so that a change of the machine's
speed affects both sides equally. Both are the reference model, whose form and size are the default's: the time does not depend
on the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.harness import make_pairs, timed
from pipeline.config.params import read_params
from pipeline.console import table
from pipeline.evaluation.evaluator import measured
from pipeline.evaluation.paired import compared
from pipeline.promotion.gate import judge
from rdmc.data.loader import PairStore
from rdmc.data.pairs import read_index
from rdmc.data.shards import write_shards
from rdmc.reference import load_reference


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    params, cpu = read_params(Path("params.yaml")), torch.device("cpu")
    new, old = load_reference(), load_reference()
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        pairs, shards = Path(folder, "pairs"), Path(folder, "shards")
        make_pairs(pairs, arguments.images, "test")
        write_shards(read_index(pairs), pairs, shards, "bench", 16_000_000)
        store = PairStore([shards], "test", 16)

        def gate() -> None:
            models = {"version 2": new, "version 1": old}
            results = compared(models, {"bench": store}, params.evaluate, params.gate.clean_share, cpu)
            judge(results[0], results[1], params.gate, params.seed)

        first = timed(lambda: list(measured(new, store, "bench", params.evaluate, cpu)))
        both = timed(gate)
        second = timed(lambda: list(measured(old, store, "bench", params.evaluate, cpu)))
    figures = {"evaluations": first + second, "gate": both, "ratio": both / (first + second), "load": os.getloadavg()[0]}
    heads = ["two evaluations, s", "gate, s", "gate over evaluations", "load (1 min)"]
    table(
        f"{arguments.images} images of 481x321, {os.cpu_count()} cores", heads, [[f"{value:.3f}" for value in figures.values()]]
    )
    if arguments.out:
        arguments.out.write_text(json.dumps({**vars(arguments), "out": None, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
