"""The stack's folder: secrets that only their owner reads, ports that stay, one command at a time."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from pipeline.stack.processes import Process
from pipeline.stack.state import PORTS, State, is_free, own_folder, write_secret
from rdmc.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_and_for_their_owner_alone(state: State) -> None:
    secret = state.secret("mlflow")
    assert len(secret) == 32
    assert state.secret("mlflow") == secret
    assert state.secret("postgres") != secret
    assert mode(state.secret_file("mlflow")) == 0o600
    assert mode(state.root / "secrets") == 0o700
    assert mode(state.root) == 0o711, "others pass through it, and list nothing"


def test_a_secret_is_never_readable_by_others_even_under_a_loose_umask(state: State) -> None:
    before = os.umask(0)
    try:
        write_secret(state.root / "env", "A=1\n")
    finally:
        os.umask(before)
    assert mode(state.root / "env") == 0o600


def test_one_command_at_a_time_changes_a_stack(state: State) -> None:
    with state.locked(), pytest.raises(ConfigError, match="another `stack up` or `down` is at work"), state.locked():
        pass
    with state.locked():
        pass


def test_ports_are_chosen_once_and_a_taken_one_is_avoided_at_the_first_start(state: State) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert not is_free(number)
        ports = state.choose_ports({"s3": number})
        assert ports["s3"] == number, "a user's own choice stands, and the service says that it is taken"
    assert is_free(number)
    assert set(ports) == set(PORTS)
    assert len(set(ports.values())) == len(PORTS)
    assert state.choose_ports({}) == ports == state.ports()


def test_two_stacks_choose_different_ports_where_the_usual_ones_are_taken(tmp_path: Path, state: State) -> None:
    first = state.choose_ports({})
    other = State.here(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.make()
    sockets = [socket.create_server(("127.0.0.1", port)) for port in first.values() if is_free(port)]
    try:
        assert not set(other.choose_ports({}).values()) & set(first.values())
    finally:
        for item in sockets:
            item.close()


@pytest.mark.parametrize("text", ["{", "[1]", '{"mlflow": "5000"}', '{"mlflow": 70000}', '{"mlflow": true}'])
def test_ports_that_cannot_be_used_are_one_line(state: State, text: str) -> None:
    state.ports_file.write_text(text)
    with pytest.raises(ConfigError, match=r"ports\.json: not an object of ports"):
        state.ports()


def test_one_port_for_two_services_is_refused(state: State) -> None:
    with pytest.raises(ConfigError, match="port 6000: is given to both mlflow and s3; give one another with --port"):
        state.choose_ports({"mlflow": 6000, "s3": 6000})


def test_a_process_is_recorded_with_the_signal_that_stops_it(state: State) -> None:
    process = Process.of(os.getpid())
    state.keep_process("toy", process, 2)
    assert (state.process("toy"), state.stop_signal("toy")) == (process, 2)
    state.drop_process("toy")
    assert (state.process("toy"), state.stop_signal("toy")) == (None, 15)
    (state.root / "pids/toy.json").write_text("{}")
    assert state.process("toy") is None


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    own_folder(tmp_path / "own", os.geteuid())
    assert mode(tmp_path / "own") == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "own")
    with pytest.raises(ConfigError, match="belongs to another user"):
        own_folder(tmp_path / "link", os.geteuid())


def test_deleting_takes_folders_outside_along(tmp_path: Path, state: State) -> None:
    for name, inside in (("ray", ""), ("postgres", "data")):
        place = state.outside(name, tmp_path)
        (place / inside).mkdir(parents=True)
        (state.root / name).symlink_to(place / inside)
    (tmp_path / "disk/bucket").mkdir(parents=True)
    (state.root / "s3").symlink_to(tmp_path / "disk/bucket")
    state.delete()
    assert list(tmp_path.iterdir()) == [tmp_path / "disk"], "a link that the user made is only a link"
    assert (tmp_path / "disk/bucket").is_dir()
