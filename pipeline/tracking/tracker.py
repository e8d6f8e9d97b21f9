"""The MLflow run of a training: params, tags, metrics, files and system metrics."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.storage.s3 import refusals
from pipeline.tracking.client import (
    METRICS_A_CALL,
    Figure,
    as_text,
    check_reachable,
    connect,
    experiment_id,
    faults,
    figures_of,
    known_steps,
    knows_run,
    leave,
    now_ms,
    send_metrics,
    send_params,
)
from rdmc.errors import ServiceError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OPENING = "opening"
"""The tag with a random value of the Tracker that opened the run."""
BUFFER = 20_000
"""Metrics kept while MLflow does not answer. The oldest are dropped first."""
PAUSES = (1.0, 60.0)
"""Seconds between two attempts to reach MLflow again: the first pause, doubled after each attempt, and the longest."""
LAST = 30.0
"""Seconds for which the end of a command waits for an MLflow that answered before: a restart of its server takes less."""
SAMPLING = 10.0
"""Seconds between two samples of the system metrics."""


class Tracker:
    """One MLflow run, written during a training. No error of MLflow ever leaves this class.

    What cannot be sent is kept, and sent with a later ``log``. An attempt takes at most about twice the settings'
    ``mlflow_timeout``, and the pauses between attempts grow to a minute. As a context manager it ends the run. Use it from
    one thread only. It cannot be pickled: pass ``run_id`` to another process.
    """

    @classmethod
    def start(
        cls,
        settings: Settings,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any] | None = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
        same: tuple[str, ...] = (),
    ) -> Tracker:
        """Open a run, or resume ``run_id`` if the store knows it, and record system metrics from now on.

        ``same`` names tags that identify a run whose id was not recorded. A run with the same values of them is resumed.
        """
        tags = {**(tags or {}), **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {})}
        tracker = cls(settings, name, params, tags, run_id, same)
        tracker._send()
        return tracker

    def __init__(
        self,
        settings: Settings,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        run_id: str | None,
        same: tuple[str, ...] = (),
    ) -> None:
        self.run_id, self._same = run_id, same
        """The run's id; None until a run could be opened."""
        self.experiment_id = ""
        """The id of its experiment; empty until then."""
        self._opening = ""  # the value of the tag, from the first attempt to open a new run
        self._settings, self._name, self._params, self._tags = settings, name, params, tags
        self._started, self._status = now_ms(), ""
        self._client: MlflowClient | None = None
        self._monitor: Any = None  # MLflow's thread that samples system metrics; untyped
        self._todo: list[Callable[[MlflowClient], None]] = [self._open, self._drop_twins, self._describe, self._watch]
        self._figures: list[Figure] = []
        self._concluding = 0  # figures of `conclude` that are not sent yet
        self._earlier: set[str] = set()  # the metrics that the run had when it was resumed
        self._known: dict[str, set[int]] = {}  # the steps that the run has, of the metrics that were logged
        self._attached: list[Callable[[MlflowClient], None]] = []
        self._lost, self._down, self._pause, self._next = 0, False, PAUSES[0], 0.0

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the run as finished, stopped by the user (Ctrl-C), or failed, unless it has been ended already."""
        if self._status:
            return
        if kind is None:
            self.finish("FINISHED", LAST if self.run_id else 0.0)
        else:
            self.finish("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the metrics of a step under MLflow's names (``metric_name``), or keep them until MLflow answers again.

        What the run has at this step already stays: a step that is repeated, after a kill or a dead worker, is logged once.
        """
        self._figures += figures_of([{**metrics, "step": step}])
        excess = max(0, len(self._figures) - BUFFER)
        del self._figures[:excess]
        self._lost += excess
        self._send_in_time()

    def complete(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Send the figures of earlier reports that the run does not have: a killed process may have left them unsent.

        A row has the ``step`` beside its figures.
        """

        def prepend(_: MlflowClient) -> None:
            self._figures[:0] = figures_of(rows)

        self._todo.append(prepend)
        self._send_in_time()

    def conclude(self, metrics: Mapping[str, float], step: int) -> None:
        """Send figures of the run as a whole. One that a resumed run has at this step already is replaced if it has changed."""
        figures = figures_of([{**metrics, "step": step}])
        self._concluding += len(figures)

        def send(client: MlflowClient) -> None:
            known = client.get_run(str(self.run_id)).data.metrics
            send_metrics(client, str(self.run_id), [figure for figure in figures if known.get(figure[0]) != figure[1]])
            self._concluding -= len(figures)

        self._todo.append(send)
        self._send_in_time()

    def attach(self, texts: Mapping[str, str], params: Mapping[str, Any] | None = None) -> None:
        """Send texts as artifacts under their names, and further params, or keep them until MLflow answers again."""

        def send(client: MlflowClient) -> None:
            send_params(client, str(self.run_id), params or {}, {})
            with refusals(self._settings.bucket or "MLflow's bucket"):
                for name, text in texts.items():
                    client.log_text(str(self.run_id), text, name)

        self._attached.append(send)
        self._send_in_time()

    def finish(self, status: str = "FINISHED", patience: float = 0.0) -> None:
        """Send what is left, and end the run as FINISHED, FAILED or KILLED. Prints a line if something could not be sent.

        ``patience``: seconds for which it is tried again while MLflow does not answer.
        """
        self._status, until = status, time.monotonic() + patience
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self._todo.append(self._drop_twins)  # once more, for an opening that was carried out late
        self._send()
        while self._down and (left := until - time.monotonic()) > 0:
            time.sleep(min(PAUSES[0], left))
            self._send()
        if not self.sent:
            files = f" and {len(self._attached)} files" if self._attached else ""
            count = self._lost + len(self._figures) + self._concluding
            say(f"MLflow: {count} figures{files} of {self._name} were never sent")
        if self._client is not None:
            leave(self._client)
            self._client = None

    @property
    def sent(self) -> bool:
        """Whether MLflow has everything that was logged and attached."""
        return not (self._lost or self._figures or self._attached or self._todo or self._down)

    def _send_in_time(self) -> None:
        """Do what is pending, unless MLflow does not answer and the pause before the next attempt is not over."""
        if not self._down or time.monotonic() >= self._next:
            self._send()

    def _send(self) -> None:
        """Do what is pending, in order. After an error, keep the rest for later."""
        try:
            if self._down:
                check_reachable(self._settings)
            self._client = self._client or connect(self._settings, self._settings.mlflow_timeout)
            while self._todo:
                self._todo[0](self._client)
                del self._todo[0]
            self._send_figures(self._client)
            if self._status:
                self._client.set_terminated(str(self.run_id), self._status)
            while self._attached:  # after the metrics, which a failing bucket must not delay
                self._attached[0](self._client)
                del self._attached[0]
        except ServiceError as error:
            self._went_down(error)
        except faults() as error:  # checked second, because it imports MLflow
            self._went_down(error)
        else:
            if self._down:
                say("MLflow answers again: what was kept has been sent")
            self._down, self._pause = False, PAUSES[0]

    def _send_figures(self, client: MlflowClient) -> None:
        """Send the figures that the run does not have at their step; of several for one step the first."""
        while self._figures:
            batch = self._figures[:METRICS_A_CALL]
            for metric in {figure[0] for figure in batch} - self._known.keys():
                self._known[metric] = known_steps(client, str(self.run_id), metric) if metric in self._earlier else set()
            new: dict[tuple[str, int], Figure] = {}
            for figure in batch:
                if figure[3] not in self._known[figure[0]]:
                    new.setdefault((figure[0], figure[3]), figure)
            send_metrics(client, str(self.run_id), list(new.values()))
            for metric, step in new:
                self._known[metric].add(step)
            del self._figures[:METRICS_A_CALL]

    def _went_down(self, error: Exception) -> None:
        if not self._down:
            say(f"MLflow: {one_line(error)}; the training continues and its figures are kept until MLflow answers")
            if self._monitor is not None:
                self._todo.append(self._watch)  # MLflow's monitor stops at its first error
        self._down = True
        self._next = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, PAUSES[1])

    def _open(self, client: MlflowClient) -> None:
        experiment = self.experiment_id = experiment_id(client, self._settings)
        if self._same and not self.run_id:
            wanted = " and ".join(f"tags.`{tag}` = '{self._tags[tag]}'" for tag in self._same)
            known = client.search_runs([experiment], wanted, max_results=1)
            self.run_id = known[0].info.run_id if known else None
        if self.run_id and knows_run(client, self.run_id):
            client.update_run(self.run_id, status="RUNNING")
            self._earlier = set(client.get_run(self.run_id).data.metrics)
        else:
            opened = self._opened(client)  # by an attempt that got no answer
            self._opening = self._opening or secrets.token_hex(16)
            tags = as_text({**self._tags, OPENING: self._opening})
            run = opened[0] if opened else client.create_run(experiment, self._started, tags, self._name)
            self.run_id = run.info.run_id

    def _opened(self, client: MlflowClient) -> list[Run]:
        """The runs that this Tracker has opened: several where requests that got no answer were carried out all the same."""
        return list(client.search_runs([self.experiment_id], f"tags.{OPENING} = '{self._opening}'")) if self._opening else []

    def _drop_twins(self, client: MlflowClient) -> None:
        """Delete the other runs that this Tracker has opened: nobody would ever end them."""
        for run in self._opened(client):
            if run.info.run_id != self.run_id:
                client.delete_run(run.info.run_id)

    def _describe(self, client: MlflowClient) -> None:
        send_params(client, str(self.run_id), self._params, self._tags)

    def _watch(self, _: MlflowClient) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if self._monitor is not None:
            self._monitor.finish()
        monitor: Any = SystemMetricsMonitor
        self._monitor = monitor(self.run_id, SAMPLING, resume_logging=True, tracking_uri=self._settings.tracking_uri)
        self._monitor.start()
