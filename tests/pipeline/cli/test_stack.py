"""The options of ``stack``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.stack import Action, chosen_ports, stack
from rdmc.errors import ConfigError


def test_ports_are_given_by_name() -> None:
    assert chosen_ports(["mlflow=5001", "s3=9001"]) == {"mlflow": 5001, "s3": 9001}


@pytest.mark.parametrize("option", ["mlflow", "mlflow=", "mlflow=x", "mlflow=0", "mlflow=65536", "mlflow=-1"])
def test_what_is_no_port_is_one_line(option: str) -> None:
    with pytest.raises(ConfigError, match=r"is no port from 1 to 65535; write mlflow=NUMBER"):
        chosen_ports([option])


def test_an_unknown_service_is_one_line_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'redis' is none of mlflow, s3, postgres"):
        chosen_ports(["redis=1"])


def test_options_that_do_not_fit_the_action_are_refused() -> None:
    with pytest.raises(ConfigError, match="--delete: .* run `stack down --delete`"):
        stack(Action.UP, None, True)
    with pytest.raises(ConfigError, match="--port: .* does not go with status"):
        stack(Action.STATUS, ["mlflow=5001"], False)


def test_where_no_stack_is_the_commands_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for action in (Action.DOWN, Action.STATUS):
        stack(action, None, False)
        assert "there is no stack here" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
