"""The MLflow server's command and answer; test_commands.py runs the real one."""

from __future__ import annotations

import re

from pipeline.stack.login import application
from pipeline.stack.mlflow_server import answers, service
from pipeline.stack.state import State
from tests.support.ports import free_port
from tests.support.waiting import hanging_up


def test_the_command_names_the_app_and_holds_no_secret(state: State) -> None:
    made = service(state, 5001, 5433, "s3://rdmc/main/mlflow", {"AWS_SECRET_ACCESS_KEY": "hush"})
    assert f"{application.__module__}:application" in made.command
    assert "127.0.0.1" in made.command
    line = " ".join(made.command)
    assert not [secret for secret in (state.secret("mlflow"), state.secret("postgres"), "hush") if secret in line]
    assert not re.search(state.secret("mlflow"), repr(made))
    assert made.environment["STACK_MLFLOW_STORE"].endswith("@127.0.0.1:5433/mlflow")


def test_what_is_no_mlflow_server_does_not_answer() -> None:
    assert not answers(free_port())
    with hanging_up() as (port, _):
        assert not answers(port)
