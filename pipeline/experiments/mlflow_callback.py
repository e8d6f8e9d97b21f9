"""The MLflow runs of a sweep's or an ablation's trials, written by the driver as Ray Tune tells it what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ray import tune

from pipeline.config.params import Params
from pipeline.config.recipe import flatten
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.tracking.tracker import Tracker
from rdmc.errors import RdmcError

METRIC = "psnr_y"
Config = dict[str, Any]
"""What Ray Tune chose for a trial; ``trial`` is its name, unique in the sweep."""
Choose = Callable[[Params, Config], Params]
"""The params of a trial, from those of params.yaml."""


class TrialRuns(tune.Callback):
    """One MLflow run a trial, under the act's; kept by the driver, so that trials know nothing of MLflow.

    MLflow is written to in a thread of its own, in order: trials never wait for it. As a context manager it ends the runs of
    trials that were cut short, and waits until all is written.
    """

    def __init__(self, choose: Choose, params: Params, settings: Settings, parent: str | None) -> None:
        self.choose, self.params, self.settings, self.parent = choose, params, settings, parent
        self.trackers: dict[str, Tracker] = {}
        self.closed: set[str] = set()
        self._pool = ThreadPoolExecutor(1, "mlflow")
        self._written: list[Future[None]] = []

    def __enter__(self) -> TrialRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._later(self._close_rest)
        self._pool.shutdown()
        if kind is None:
            for written in self._written:
                written.result()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Nothing: Tune keeps a copy for a restore of its own, which is never asked for."""
        return object, ()

    def title(self, trial: Any) -> str:
        """What a person and MLflow call a trial."""
        return f"trial-{trial.config['trial']}"

    def tracker(self, trial: Any) -> Tracker:
        """A new run for a trial, or the one that it had before the act was stopped. Called in the writing thread."""
        return Tracker.start(
            self.settings, self.title(trial), self.params_of(trial.config), {"stage": "trial"}, parent_run_id=self.parent
        )

    def params_of(self, config: Config) -> dict[str, Any]:
        """The params of a trial as its run shows them; only what was chosen where that cannot be used."""
        try:
            return flatten(self.choose(self.params, config))
        except RdmcError:
            return dict(config.get("chosen", config))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run, once: a trial that is restarted keeps it."""
        self._later(self._open, trial)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Log a validation and say it."""
        if METRIC not in result:
            return
        figures = {key: float(result[key]) for key in ("loss", "lr", METRIC, "ssim_y", "images_per_second") if key in result}
        self.log(trial, figures, int(result["step"]))
        say(f"{self.title(trial)}  step {result['step']:.0f}  PSNR-Y {result[METRIC]:.2f} dB")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial that ended, was stopped early or failed of itself."""
        self.close(trial, "FAILED" if failure(trial.last_result) else "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial that failed."""
        self.close(trial, "FAILED")

    def log(self, trial: Any, figures: Mapping[str, float], step: int) -> None:
        """Log figures of a trial."""
        self._later(lambda: self._open(trial).log(figures, step))

    def close(self, trial: Any, status: str) -> None:
        """End a trial's run."""
        self._later(lambda: self._close(self._open(trial), trial.config["trial"], status))

    def _later(self, work: Callable[..., object], *inputs: Any) -> None:
        def write() -> None:
            work(*inputs)

        self._written.append(self._pool.submit(write))

    def _open(self, trial: Any) -> Tracker:
        key = trial.config["trial"]
        if key not in self.trackers:
            self.trackers[key] = self.tracker(trial)
        return self.trackers[key]

    def _close(self, tracker: Tracker, key: str, status: str) -> None:
        tracker.finish(status)
        self.closed.add(key)

    def _close_rest(self) -> None:
        for key in self.trackers.keys() - self.closed:
            self._close(self.trackers[key], key, "KILLED")


def failure(result: Mapping[str, Any] | None) -> str:
    """What a trial's last result says that it failed of; empty where it did not."""
    return str((result or {}).get("failure", ""))
