"""The commands of Ray's nodes; test_commands.py runs real ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipeline.stack.ray_nodes import LONGEST, WORKERS, _folder, alive_nodes, answers, client_variables, head, token_file, worker
from pipeline.stack.state import PORTS, State
from tests.support.ports import free_port


def test_commands_hold_no_secret_and_nodes_know_where_the_token_is(state: State) -> None:
    nodes = [head(state, PORTS, {"AWS_SECRET_ACCESS_KEY": "hush"}), *(worker(state, PORTS, {}, name) for name in WORKERS)]
    token = token_file(state).read_text()
    assert len(token) == 64
    assert stat.S_IMODE(token_file(state).stat().st_mode) == 0o600
    for node in nodes:
        assert token not in " ".join(node.command)
        assert "hush" not in " ".join(node.command)
        assert (node.environment["RAY_AUTH_MODE"], node.environment["RAY_AUTH_TOKEN_PATH"]) == ("token", str(token_file(state)))
        assert "--node-ip-address=127.0.0.1" in node.command
    assert nodes[0].environment["AWS_SECRET_ACCESS_KEY"] == "hush"


def test_every_port_that_has_a_name_is_used_by_one_node(state: State) -> None:
    nodes = [head(state, PORTS, {}), *(worker(state, PORTS, {}, name) for name in WORKERS)]
    names = [name for node in nodes for name in node.ports]
    assert sorted(names) == sorted(set(PORTS) - {"mlflow", "s3", "postgres"})
    assert "--metrics-export-port=8082" in nodes[2].command


def test_a_driver_asks_the_head_with_the_token(state: State) -> None:
    variables = client_variables(state, PORTS)
    assert variables["RDMC_RAY_ADDRESS"] == "127.0.0.1:6379"
    assert variables["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:8265"
    assert token_file(state).read_text() not in variables.values()


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_rays_folder_is_one_whose_sockets_have_a_short_enough_path(length: int) -> None:
    root = Path("/" + "x" * (length - len("//.stack/ray")) + "/.stack")
    folder = _folder(State(root))
    assert len(str(root / "ray")) == length
    assert (folder == root / "ray") == (length <= LONGEST)
    socket = folder / "t/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(str(socket)) <= 107


def test_without_a_head_nobody_is_alive(state: State) -> None:
    ports = {**PORTS, "dashboard": free_port()}
    assert not answers(ports)
    assert alive_nodes(state, ports) == set()
