"""What a job takes along: variables without secrets, and the origin of its code."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.config.params import Params, read_params
from pipeline.config.settings import Settings
from pipeline.jobs.package import Origin, origin, runtime_env, variables_of
from pipeline.registry.provenance import COMMITTED
from rdmc.errors import ConfigError
from tests.support.checkout import commit, make_checkout
from tests.support.imports import ROOT
from tests.support.s3 import S3Server

NOWHERE = Origin("", False, "")


@pytest.fixture
def checkout(s3: S3Server, tmp_path: Path) -> tuple[Path, Params]:
    root = make_checkout(tmp_path / "checkout", s3.bucket("package"), tmp_path / "made")
    return root, read_params(root / "params.yaml")


def test_the_origin_says_what_the_commit_lacks_of_the_job_s_code(checkout: tuple[Path, Params]) -> None:
    root, params = checkout
    head = commit_of(root)
    assert origin(params, root) == Origin(head, False, COMMITTED)
    (root / "params.yaml").write_text((root / "params.yaml").read_text() + "\n")
    clean = origin(params, root)
    assert clean == Origin(head, True, COMMITTED), "params are recorded by value"
    assert "no code" in clean.line
    (root / "rdmc/training/new.py").write_text("")
    (root / "rdmc/metrics.py").write_text("# changed")
    changed = origin(params, root)
    assert changed == Origin(head, True, "rdmc/metrics.py and 1 more not as in the commit")
    assert "the gate will refuse" in changed.line
    commit(root)
    assert origin(params, root).code == COMMITTED


def commit_of(root: Path) -> str:
    return (root / ".git/refs/heads" / (root / ".git/HEAD").read_text().strip().rpartition("/")[2]).read_text().strip()


def test_without_git_the_origin_is_unknown(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin(params, tmp_path) == NOWHERE
    assert "no git" in NOWHERE.line


def test_the_variables_are_settings_that_are_not_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RDMC_WORKERS": "4",
        "RDMC_BUCKET": "s3://rain/x",
        "RDMC_DATA": "/home/me",
        "RDMC_RAY_ADDRESS": "auto",
        "RDMC_METRICS": "127.0.0.1:8001",
        "RDMC_SHARD_CACHE": "/fast",
        "AWS_ACCESS_KEY_ID": "the-key",
        "AWS_SECRET_ACCESS_KEY": "the-secret",
        "MLFLOW_TRACKING_URI": "http://me:the-secret@mlflow",
    }.items():
        monkeypatch.setenv(name, value)
    found = variables_of(
        Settings(), Origin("a" * 40, True, "x.py not as in the commit"), ["RDMC_DATA=/data", "GLOO_SOCKET_IFNAME=lo"]
    )
    assert found == {
        "RDMC_WORKERS": "4",
        "RDMC_BUCKET": "s3://rain/x",
        "RDMC_DATA": "/data",
        "GLOO_SOCKET_IFNAME": "lo",
        "RDMC_GIT_COMMIT": "a" * 40,
        "RDMC_GIT_DIRTY": "true",
        "RDMC_GIT_CODE": "x.py not as in the commit",
    }
    assert variables_of(Settings(), NOWHERE)["RDMC_DATA"] == "", "the job's own folder, whatever the nodes name"
    with monkeypatch.context() as job:
        for name in [name for name in found if name.startswith("RDMC_")]:
            job.setenv(name, found[name])
        read = Settings()
    assert (read.git_commit, read.git_dirty, read.git_code) == ("a" * 40, True, "x.py not as in the commit")


@pytest.mark.parametrize(
    "given",
    ["AWS_SECRET_ACCESS_KEY=x", "RAY_AUTH_TOKEN=x", "pgpassword=x", "MLFLOW_TRACKING_URI=http://me:word@host", "WORKERS", "=x"],
)
def test_a_secret_or_another_form_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="^--env") as caught:
        variables_of(Settings(), NOWHERE, [given])
    assert "word@" not in str(caught.value)


def test_the_environment_excludes_what_the_file_of_infra_names(checkout: tuple[Path, Params]) -> None:
    root, _ = checkout
    environment = runtime_env(root, {"RDMC_WORKERS": "1"})
    assert environment["excludes"] == YAML(typ="safe", pure=True).load(ROOT / "infra/runtime-env.yaml")["excludes"]
    assert (environment["working_dir"], environment["env_vars"]) == (str(root), {"RDMC_WORKERS": "1"})
    (root / "dvc.lock").unlink()
    with pytest.raises(ConfigError, match=r"dvc.lock: no such file, a job needs it; .* after `dvc repro pack`"):
        runtime_env(root, {})
