"""What a job takes along: the code by its content, variables without secrets, and where its code comes from.

No secret ever goes along. Ray stores a job's runtime environment and metadata, and shows them to everyone who can open its
dashboard. So the nodes have ``AWS_…`` and ``MLFLOW_…`` variables in their own environment, and a variable that looks like a
secret is refused. Addresses of S3 and MLflow stay behind too, because nodes often reach these servers by other names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.params import Params
from pipeline.config.settings import PREFIX, Settings
from pipeline.registry.provenance import COMMITTED, job_sources
from pipeline.versioning.dvc import LOCK
from pipeline.versioning.git import git_commit, git_dirty
from rdmc.errors import ConfigError, one_line
from rdmc.models.genotype import GENOTYPE

RUNTIME = Path("infra/runtime-env.yaml")
"""The file that says what stays behind."""
LOCAL = {"ray_address", "data", "storage", "shard_cache", "metrics", "git_commit", "git_dirty", "git_code"}
"""Settings that are about this machine, or that a job gets otherwise."""
SECRET = re.compile(r"SECRET|PASSW|TOKEN|CREDENTIAL|ACCESS_KEY|PRIVATE|_PWD|API_KEY", re.IGNORECASE)
"""Names of variables that hold secrets."""
WITH_PASSWORD = re.compile(r"//[^/\s]*@")


@dataclass(frozen=True)
class Origin:
    """Where the code of a job comes from."""

    commit: str
    """Empty without git."""
    dirty: bool
    """Whether tracked files differ from the commit."""
    code: str
    """``committed``, or which of the code that the job runs is not in the commit."""

    @property
    def line(self) -> str:
        """One line for the terminal."""
        if not self.commit:
            return "no git here, so the code of the model will be unknown and the gate will refuse it"
        if self.code != COMMITTED:
            return f"commit {self.commit[:12]} with other code, so the gate will refuse the model: {self.code}"
        return f"commit {self.commit[:12]}{', files that are no code of it differ' if self.dirty else ''}"


def origin(params: Params, root: Path = Path()) -> Origin:
    """Where the code in ``root`` comes from. Raises ConfigError without the project's dvc.yaml."""
    commit = git_commit(root)
    if not commit:
        return Origin("", False, "")
    found = job_sources(root, commit, params.datasets, Path(params.architecture, GENOTYPE))
    return Origin(commit, bool(git_dirty(root)), found.tag if found else "unknown")


def runtime_env(root: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Ray's runtime environment of a job with the code in ``root``. Raises ConfigError where ``root`` is no checkout."""
    for needed in (RUNTIME, Path(LOCK)):
        if not (root / needed).is_file():
            raise ConfigError(f"{root / needed}: no such file, a job needs it; run this in a checkout, after `dvc repro pack`")
    try:
        excludes = YAML(typ="safe", pure=True).load(root / RUNTIME)["excludes"]
    except (OSError, YAMLError, LookupError, TypeError) as error:
        raise ConfigError(f"{root / RUNTIME}: {one_line(error)}; restore it with `git checkout {RUNTIME}`") from None
    return {"working_dir": str(root.absolute()), "excludes": list(excludes), "env_vars": dict(variables)}


def variables_of(settings: Settings, source: Origin, more: Iterable[str] = ()) -> dict[str, str]:
    """The variables of a job: this environment's settings that are not about this machine, the code's origin, and ``more``.

    ``more`` are further ones as NAME=VALUE. Raises ConfigError for one that has another form or looks like a secret.
    """
    names = {PREFIX + name.upper() for name in type(settings).model_fields if name not in LOCAL}
    found = {name: value for name, value in os.environ.items() if name in names and value}
    found["RDMC_DATA"] = ""  # a job works in its own folder, although a node may name one for all
    if source.commit:
        found |= {
            "RDMC_GIT_COMMIT": source.commit,
            "RDMC_GIT_DIRTY": str(source.dirty).lower(),
            "RDMC_GIT_CODE": source.code,
        }
    for each in more:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--env {name}: must be NAME=VALUE; write it so")
        if SECRET.search(name) or WITH_PASSWORD.search(value):
            raise ConfigError(f"--env {name}: looks like a secret, and Ray shows a job's variables; set it on the nodes")
        found[name] = value
    return found
