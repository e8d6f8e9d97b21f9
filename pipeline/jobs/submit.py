"""The command ``submit``: run a command of this checkout as a job on a Ray cluster, and bring its results home."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.console import say
from pipeline.jobs.client import Jobs
from pipeline.jobs.home import bring_home, training_name
from pipeline.jobs.package import origin, runtime_env, variables_of
from pipeline.storage.datasets import require_pushed
from pipeline.storage.s3 import check_bucket
from pipeline.versioning.dvc import recorded_md5
from rdmc.errors import ConfigError, DataError, ServiceError

COMMANDS = ("train", "evaluate", "register", "promote", "release", "tune")
"""The commands that a job can run: their results go to the bucket or to MLflow."""
HOME = {
    "train": "python -m pipeline evaluate && python -m pipeline register",
    "evaluate": "python -m pipeline register",
    "release": "python -m pipeline models",
}
"""The commands whose results come home, and what to run next."""
REFUSED = 3
"""Exit code of a release whose version the gate refused. Its results are good."""
COMMAND, RUN = "rdmc.command", "rdmc.run"
"""What a job's metadata has: its command, and the training whose results it makes."""


@dataclass(frozen=True)
class Job:
    """A job to submit."""

    command: str
    arguments: Sequence[str] = ()
    variables: Sequence[str] = ()
    """Further environment variables, NAME=VALUE."""


def run(project: Project[Params], job: Job, address: str = "", detach: bool = False) -> int:
    """Submit a job and follow it. Returns its exit code.

    The code goes by content, with params.yaml and dvc.lock; of the data only their digests go, in dvc.lock. With ``detach``
    the command ends as soon as the job is submitted. ``project`` is that of the working folder.

    Raises, before anything is submitted, ConfigError for a command or setting that cannot be used, DataError for shards that
    were not pushed, ServiceError for a bucket or a cluster that cannot be used.
    """
    if job.command not in COMMANDS:
        raise ConfigError(f"{job.command!r}: no job can run it, these can: {', '.join(COMMANDS)}; name one of them")
    settings = project.settings
    if not settings.bucket:
        raise ConfigError("RDMC_BUCKET: is not set, so the job has no data and its results are lost; set it, and `dvc push`")
    source = origin(project.params)
    variables = variables_of(settings, source, job.variables)
    environment = runtime_env(Path(), variables)
    check_bucket(settings)
    digests = {name: recorded_md5(Paths(), name) for name in project.params.datasets}
    project = replace(project, digests=digests)  # the job reads these, whatever lies on this disk
    require_pushed(project)
    facts = {COMMAND: job.command}
    if job.command in HOME:
        facts[RUN] = training_name(project)
    jobs = Jobs(address)
    name = f"rdmc-{job.command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    say(f"submit: {source.line}")
    jobs.submit(name, shlex.join(["python", "-m", "pipeline", job.command, *job.arguments]), environment, facts)
    say(f"submit: job {name} at {jobs.address}")
    if detach:
        say(f"follow it:   python -m pipeline submit --attach {name}")
        return 0
    return _follow(jobs, name, project)


def attach(project: Project[Params], name: str, address: str = "") -> int:
    """Follow a job from its start, also one that has ended, and bring its results home. Returns its exit code."""
    return _follow(Jobs(address), name, project)


def cancel(name: str, address: str = "") -> None:
    """Stop a job. Raises ServiceError where it does not end."""
    state = Jobs(address).stop(name)
    if state == "STOPPED":
        say(f"{name}: stopped; the same `submit` resumes a training where it was")
    elif state in ("SUCCEEDED", "FAILED"):
        say(f"{name}: had ended already ({state})")
    else:
        raise ServiceError(f"{name}: is still {state}; run the same command again, or see Ray's dashboard")


def _follow(jobs: Jobs, name: str, project: Project[Params]) -> int:
    try:
        facts = jobs.metadata(name)
        jobs.follow(name)
    except KeyboardInterrupt as stop:
        stop.add_note(f"the job goes on: `submit --attach {name}` follows it, `submit --cancel {name}` ends it")
        raise
    code = jobs.exit_code(name)
    command, training = facts.get(COMMAND, ""), facts.get(RUN, "")
    if code and (command, code) != ("release", REFUSED):
        say(f"{name}: {jobs.message(name) or 'it failed'}")
    elif command in HOME and training:
        if not bring_home(project, training):
            raise DataError(f"{project.settings.bucket}: has no results of {training}; set RDMC_BUCKET to the job's bucket")
        say(f"next:        {HOME[command]}")
    return code
