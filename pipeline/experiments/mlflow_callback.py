"""The MLflow runs of a sweep's or an ablation's trials. A callback of Ray Tune writes them in the driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ray import tune

from pipeline.config.params import Params
from pipeline.config.recipe import flatten
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.tracking.run_info import TRAINED, only, run_tags
from pipeline.tracking.tracker import LAST, Tracker
from rdmc.errors import RdmcError

METRIC = "psnr_y"
FIGURES = ("loss", "lr", METRIC, "ssim_y", "images_per_second")
"""The figures of a validation that a trial's run has."""
Config = dict[str, Any]
"""A trial's configuration in Ray Tune; ``trial`` is its name, unique in the sweep."""
Choose = Callable[[Params, Config], Params]
"""Makes the params of a trial from those of params.yaml and its configuration."""


class TrialRuns(tune.Callback):
    """One MLflow run per trial, under the run of the command. The driver writes them; trials know nothing of MLflow.

    A separate thread writes to MLflow, in order, so trials never wait for it. On exit, the context manager ends the runs of
    interrupted trials, sends what MLflow did not take when a trial ended, and waits until everything is written.
    """

    def __init__(self, choose: Choose, params: Params, settings: Settings, parent: str | None) -> None:
        self.choose, self.params, self.settings, self.parent = choose, params, settings, parent
        self.trackers: dict[str, Tracker] = {}
        self.closed: dict[str, str] = {}
        """The status of each run that was ended, by trial."""
        self._pool = ThreadPoolExecutor(1, "mlflow")
        self._writes: list[Future[None]] = []

    def __enter__(self) -> TrialRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._later(self._close_rest, LAST if kind is None and self.parent else 0.0)
        self._pool.shutdown()
        if kind is None:
            for write in self._writes:
                write.result()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to an empty object: Tune stores a copy for its own restore, which is never used."""
        return object, ()

    def title(self, trial: Any) -> str:
        """The name of a trial on the terminal and in MLflow."""
        return f"trial-{trial.config['trial']}"

    def tracker(self, trial: Any) -> Tracker:
        """A tracker for a trial's run: a new run, or the earlier one where the command resumes. Runs in the writing thread."""
        title, own = self.title(trial), self.identity(trial)
        tags = {"stage": "trial", **own, **run_tags("ablate", f"Trial {title} of an ablation.")}
        same = ("mlflow.parentRunId", *own) if self.parent else ()
        return Tracker.start(self.settings, title, self.params_of(trial.config), tags, parent_run_id=self.parent, same=same)

    def identity(self, trial: Any) -> dict[str, str]:
        """The tags by which a later command finds a trial's run among those of the same parent."""
        return {"trial": trial.config["trial"]}

    def params_of(self, config: Config) -> dict[str, Any]:
        """The params that a trial trains with, as its run shows them; only the chosen values where they cannot be used."""
        try:
            return only(flatten(self.choose(self.params, config)), TRAINED)
        except RdmcError:
            return dict(config.get("chosen", config))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run. A restarted trial keeps the run that it has."""
        self._later(self._open, trial)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Log and show a validation."""
        if METRIC not in result:
            return
        figures = {key: float(result[key]) for key in FIGURES if key in result}
        self.log(trial, figures, int(result["step"]))
        say(f"{self.title(trial)}  step {result['step']:.0f}  PSNR-Y {result[METRIC]:.2f} dB")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial that ended, was stopped early or reported its own failure."""
        self.close(trial, "FAILED" if failure(trial.last_result) else "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial whose process failed."""
        self.close(trial, "FAILED")

    def log(self, trial: Any, figures: Mapping[str, float], step: int) -> None:
        """Log a trial's figures at a step, in the writing thread."""
        self._later(lambda: self._open(trial).log(figures, step))

    def close(self, trial: Any, status: str) -> None:
        """End a trial's run with a status of MLflow, in the writing thread."""
        self._later(lambda: self._close(self._open(trial), trial.config["trial"], status))

    def _later(self, work: Callable[..., object], *inputs: Any) -> None:
        def write() -> None:
            work(*inputs)

        self._writes.append(self._pool.submit(write))

    def _open(self, trial: Any) -> Tracker:
        key = trial.config["trial"]
        if key not in self.trackers:
            self.trackers[key] = self.tracker(trial)
        return self.trackers[key]

    def _close(self, tracker: Tracker, key: str, status: str, patience: float = 0.0) -> None:
        tracker.finish(status, patience)
        self.closed[key] = status

    def _close_rest(self, patience: float) -> None:
        until = time.monotonic() + patience  # for all runs together
        for key, tracker in self.trackers.items():
            if key not in self.closed:
                self._close(tracker, key, "KILLED")
            elif not tracker.sent:  # MLflow did not answer when the trial ended
                self._close(tracker, key, self.closed[key], max(0.0, until - time.monotonic()))


def failure(result: Mapping[str, Any] | None) -> str:
    """The cause of failure in a trial's last result; empty where the trial did not fail."""
    return str((result or {}).get("failure", ""))
