"""Addresses and ports that a server can listen on."""

from __future__ import annotations

import socket

import pytest

from pipeline.tracking.ui import check_port
from rdmc.errors import ServiceError


@pytest.mark.parametrize(
    ("host", "message"),
    [("no.such.host.invalid", "name an address of this machine"), ("192.0.2.1", "no address of this machine")],
)
def test_a_host_that_is_not_this_machine_is_refused(host: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        check_port(8000, host)
    assert "port" not in str(caught.value), "another port would not help"


def test_a_taken_port_is_refused_and_a_free_one_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port} of localhost: .*; take a free one"):
            check_port(port, "localhost", "`--port 8001`")
    check_port(port, "127.0.0.1")
