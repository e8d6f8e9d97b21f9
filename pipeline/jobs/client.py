"""Ray's job client with errors as one line: submit a job, follow its output, stop it, and its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rdmc.errors import ServiceError, one_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Ray's own variable with the address of the dashboard, which takes jobs."""
DEFAULT = "http://127.0.0.1:8265"
REACH_SECONDS = 5.0
"""Seconds that the dashboard may take to accept a connection."""
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}
"""The states of a job that has ended."""
LOST_SECONDS = 600.0
"""Seconds for which the dashboard may be away while a job is followed; the job itself does not notice."""
NOISY = (
    "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
"""Ray's loggers that report each step of a submission."""
REPEATED = ", last available logs"
"""Where Ray's message about a failed job begins to repeat its output."""
STOPPED = 143
"""Exit code for a job that was stopped: that of a command after SIGTERM."""


class Jobs:
    """The jobs of one cluster. Its methods raise ServiceError where the cluster cannot be reached or refuses."""

    def __init__(self, address: str = "") -> None:
        self.address = address or os.environ.get(ADDRESS) or DEFAULT
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServiceError(f"{one_line(self.address)}: no address of a Ray dashboard; set {ADDRESS}=http://host:8265")
        try:
            socket.create_connection((parts.hostname, parts.port or 8265), REACH_SECONDS).close()
        except OSError as error:
            raise ServiceError(f"Ray's dashboard at {self.address}: {error}; start the head, or set {ADDRESS}") from None
        with self._answers():
            from ray.job_submission import JobSubmissionClient

            for name in NOISY:
                logging.getLogger(name).setLevel(logging.ERROR)
            os.environ[ADDRESS] = self.address  # RAY_ADDRESS would otherwise replace the address
            self._client: JobSubmissionClient = JobSubmissionClient(self.address)

    def submit(self, job: str, entrypoint: str, environment: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        """Upload the code of the runtime environment and start ``entrypoint`` as the job ``job``."""
        with self._answers():
            self._client.submit_job(
                entrypoint=entrypoint, runtime_env=dict(environment), metadata=dict(metadata), submission_id=job
            )

    def metadata(self, job: str) -> dict[str, str]:
        """What ``submit`` recorded with the job."""
        return dict(self._info(job).metadata or {})

    def state(self, job: str) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
        return str(self._info(job).status.value)

    def follow(self, job: str) -> None:
        """Print the job's output from its start until it ends. A dashboard that is away for a while is asked again."""
        shown, lost = 0, 0.0
        while True:
            try:
                shown = asyncio.run(self._print(job, shown))
                lost = 0.0
                if self.state(job) in ENDED:
                    return
            except ServiceError:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > LOST_SECONDS:
                    raise
            time.sleep(1)

    def stop(self, job: str, seconds: float = 60.0) -> str:
        """Stop a job and wait for its end. Returns its state."""
        with self._answers():
            self._client.stop_job(job)
        deadline = time.monotonic() + seconds
        while (state := self.state(job)) not in ENDED and time.monotonic() < deadline:
            time.sleep(0.5)
        return state

    def exit_code(self, job: str) -> int:
        """The exit code of a job that has ended; 1 for one that failed without any, as where its node was lost."""
        info = self._info(job)
        if info.status.value == "SUCCEEDED":
            return 0
        if info.status.value == "STOPPED":
            return STOPPED
        code = info.driver_exit_code
        return 1 if not code else code if code > 0 else 128 - code

    def message(self, job: str) -> str:
        """What Ray says about the job's state, in one line, without the output that it repeats."""
        return one_line((self._info(job).message or "").partition(REPEATED)[0])

    def _info(self, job: str) -> Any:
        with self._answers():
            return self._client.get_job_info(job)

    async def _print(self, job: str, shown: int) -> int:
        """Print what follows the first ``shown`` characters of the output; return how many have been printed."""
        position = 0
        with self._answers():
            async for text in self._client.tail_job_logs(job):
                new = text[max(0, shown - position) :]
                position += len(text)
                sys.stdout.write(new)
                sys.stdout.flush()
                shown = max(shown, position)
        return shown

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn errors of the client into one line."""
        import aiohttp
        from ray.exceptions import RayError

        try:
            yield
        except (RuntimeError, OSError, RayError, aiohttp.ClientError) as error:
            line = one_line(error)
            token = any(word in line.lower() for word in ("token", "authentic", "401", "403"))
            cure = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token" if token else "see its dashboard"
            raise ServiceError(f"Ray's jobs at {self.address}: {line}; {cure}") from None
