"""Ten random faults in a training, ten in a sweep; both end as if nothing had happened. `make chaos` runs this.

Each kind of fault comes once. The seed decides their order, at which step each comes, whom it hits and for how long. A command
that dies is started again, as its user would.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.stack.postgres import programs_for
from pipeline.training.in_process import LATEST, checkpoint_name
from rdmc.checkpoint import load_model, load_tensors
from rdmc.errors import ConfigError
from tests.chaos.faults import FAULTS, Bed, Command, running_bed
from tests.support.data import ready_to_train
from tests.support.imports import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.timeout(5400),
    pytest.mark.skipif("CHAOS_SEED" not in os.environ, reason="takes long and needs root: make chaos"),
]
SEED = int(os.environ.get("CHAOS_SEED", 0))
TRAINING = {"train.steps": 1200, "train.validate_every": 20}
TRIALS, STEPS, EVERY = 6, 400, 40
SWEEP = {
    "train.validate_every": EVERY, "tune.trials": TRIALS, "tune.concurrent": 2, "tune.algorithm": "random",
    "tune.steps": STEPS, "tune.grace_steps": STEPS, "tune.space": {"train.lr": {"loguniform": [1e-4, 1e-2]}},
}  # fmt: skip
"""No trial is stopped early: which one is depends on which is ahead, and a fault may change that."""
SPEED = ("system/", "speed", "second", "images_per", "time")
"""What the names of figures have that differ between equal trainings."""
SNAPSHOT = "checkpoint_manager_snapshot.json"
PATIENCE = 900.0
"""Seconds without progress after which a command counts as stuck."""
PAGE = ROOT / "docs/chaos.md"


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    if os.geteuid() != 0:
        pytest.skip("a disk of its own, to be filled, needs root")
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's user passes through it
        try:
            programs_for(folder)
        except ConfigError as error:
            pytest.skip(str(error))
        with running_bed(folder) as made:
            for key, value in made.variables.items():
                patch.setenv(key, value)
            patch.setenv("RDMC_GPU", "false")
            yield made


def test_a_training_ends_as_if_nothing_had_happened(bed: Bed, tmp_path: Path) -> None:
    paths = ready_to_train(tmp_path, TRAINING)
    variables = {"RDMC_DATA": str(tmp_path), "RDMC_WORKERS": "2"}
    arguments = ("train", "--params", str(tmp_path / "params.yaml"))

    def command(name: str) -> Command:
        return Command(bed, arguments, tmp_path / f"{name}.log", {**variables, "RDMC_EXPERIMENT": name})

    def result() -> dict[str, Any]:
        files = [*paths.best.iterdir(), *paths.last.iterdir(), paths.history, paths.train_metrics]
        return {path.relative_to(tmp_path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    calm = command("calm")
    through(calm, [], lambda: 0)
    expected = result()
    checked: list[int] = []
    bed.at_rest = lambda: checked.append(require_valid_checkpoints(bed))
    stormy = command("stormy")
    table = through(stormy, schedule(SEED, TRAINING["train.steps"]), lambda: last_step(stormy.text))
    write("training", "step", table)
    assert result() == expected, "weights, optimiser, history: to the last bit"
    assert sum(checked) > 0, "checkpoints were looked at"
    assert figures("stormy") == figures("calm")


def test_a_sweep_ends_as_if_nothing_had_happened(bed: Bed, tmp_path: Path) -> None:
    paths = ready_to_train(tmp_path, SWEEP)
    arguments = ("tune", "--params", str(tmp_path / "params.yaml"))

    def command(name: str) -> Command:
        variables = {"RDMC_DATA": str(tmp_path), "RDMC_EXPERIMENT": name}
        return Command(bed, arguments, tmp_path / f"{name}.log", variables, again=("--resume",))

    through(command("calm sweep"), [], lambda: 0)
    expected = paths.trials.read_bytes(), paths.best_params.read_bytes()
    checked: list[int] = []
    bed.at_rest = lambda: checked.append(require_valid_trials(bed))
    table = through(command("stormy sweep"), schedule(SEED, TRIALS * STEPS // EVERY), lambda: validations(bed))
    write("sweep", "validation", table)
    assert (paths.trials.read_bytes(), paths.best_params.read_bytes()) == expected
    assert expected[0].count(b"finished") == TRIALS
    assert sum(checked) > 0, "checkpoints were looked at"
    assert figures("stormy sweep") == figures("calm sweep")
    assert len(figures("calm sweep")) == TRIALS + 1
    assert not list((bed.bucket / "ray").glob("tune-*/*")), "nothing is left in the bucket"


def schedule(number: int, length: int) -> list[tuple[int, str, int]]:
    """Each fault once: at which step or validation, its name, and a seed of its own."""
    rng = np.random.default_rng(number)
    places = np.sort(rng.choice(np.arange(1, int(0.8 * length)), len(FAULTS), replace=False))
    return [
        (int(place), str(name), int(rng.integers(1 << 30)))
        for place, name in zip(places, rng.permutation(list(FAULTS)), strict=True)
    ]


def through(command: Command, faults: list[tuple[int, str, int]], reached: Callable[[], int]) -> list[dict[str, Any]]:
    """Run a command to its end through faults, each when it has reached its place. Returns a row for each fault."""
    table: list[dict[str, Any]] = []
    pending, best, moved = list(faults), 0, time.monotonic()
    command.start()
    try:
        while not command.keep_up():
            now = reached()
            if now > best:
                best, moved = now, time.monotonic()
                for row in table:
                    row.setdefault("seconds", time.monotonic() - row["at"])
            if pending and now >= pending[0][0] and (not table or "seconds" in table[-1]):
                _, name, own = pending.pop(0)
                print(f"{time.strftime('%X')} {name} at {now}", flush=True)
                before = command.starts
                table.append({"fault": name, "place": now, "at": time.monotonic(), "starts": before})
                FAULTS[name](command.bed, command, np.random.default_rng(own))
                moved = time.monotonic()
            assert time.monotonic() - moved < PATIENCE, f"stuck: {command.text[-6000:]}"
            time.sleep(0.1)
    finally:
        if command.process:
            command.process.kill()
        print(command.text)
    starts = [*(row["starts"] for row in table), command.starts]
    for row, after in zip(table, starts[1:], strict=True):
        row.setdefault("seconds", time.monotonic() - row["at"])
        row["restarts"] = after - row["starts"]
    assert not pending, f"it ended before {pending}"
    return table


def last_step(text: str) -> int:
    """The last step that a training has said in its last start."""
    said = re.findall(r"step (\d+)/\d+ ", text.rpartition("--- start")[2])
    return int(said[-1]) if said else 0


def require_valid_checkpoints(bed: Bed) -> int:
    """Load every checkpoint that a stopped training names. Returns how many there are."""
    count = 0
    for snapshot in (bed.bucket / "ray").glob(f"train-*/{SNAPSHOT}"):
        noted = json.loads(snapshot.read_text())
        for result in noted["checkpoint_results"]:
            folder = snapshot.parent / result["checkpoint_dir_name"]
            _, facts = load_model(folder)
            assert facts["step"] == result["metrics"]["step"]
            for tensors in folder.glob("*.safetensors"):
                load_tensors(tensors)
            count += 1
    return count


def validations(bed: Bed) -> int:
    """The number of validations in the ledger of the sweep."""
    return sum(
        len(trial["rows"])
        for ledger in (bed.bucket / "ray").glob("tune-*/ledger.json")
        for trial in json.loads(ledger.read_text() or '{"trials": []}')["trials"]
    )


def require_valid_trials(bed: Bed) -> int:
    """Load every checkpoint that a stopped sweep names. Returns how many there are."""
    count = 0
    for note in (bed.bucket / "ray").glob(f"tune-*/*/{LATEST}"):
        for step in json.loads(note.read_text())["kept"]:
            folder = note.parent / checkpoint_name(step)
            assert load_model(folder)[1]["step"] == step
            for tensors in folder.glob("*.safetensors"):
                load_tensors(tensors)
            count += 1
    return count


def figures(experiment: str) -> list[Any]:
    """All figures of the runs of an experiment, by step, but for those of speed; each run must be finished."""
    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    assert found
    runs = client.search_runs([found.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    return sorted(
        (
            run.data.tags.get("stage", ""),
            run.data.tags.get("trial", ""),
            [
                (name, sorted({(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)}))
                for name in sorted(run.data.metrics)
                if not any(part in name for part in SPEED)
            ],
        )
        for run in runs
    )


def write(part: str, unit: str, table: list[dict[str, Any]]) -> None:
    """Print the table; with CHAOS_WRITE, also put it into the page."""
    lines = [f"| | fault | at {unit} | s to the next {unit} | starts of the command |", "|---|---|---|---|---|"]
    lines += [
        f"| {number} | {row['fault']} | {row['place']} | {row['seconds']:.0f} | {row['restarts']} |"
        for number, row in enumerate(table, 1)
    ]
    text = "\n".join(lines)
    print(f"CHAOS_SEED={SEED}\n{text}")
    if os.environ.get("CHAOS_WRITE"):
        begin, end = f"<!-- {part}: begin -->\n", f"<!-- {part}: end -->"
        page = PAGE.read_text()
        top, rest = page.split(begin)
        PAGE.write_text(f"{top}{begin}{text}\n{end}{rest.partition(end)[2]}")
