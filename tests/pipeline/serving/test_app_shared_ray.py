"""``serve`` on a Ray that others use, and on one that ends: their applications stay, and our errors are one line."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.followed import write_small
from tests.support.imports import ROOT
from tests.support.ports import free_port
from tests.support.ray_head import Head, ray_head
from tests.support.serving import png, server

SECONDS = 180
OTHERS = """
import sys, ray
from ray import serve

@serve.deployment(ray_actor_options={{"num_cpus": {cpus}}})
class Hello:
    def __call__(self, request):
        return "hello"

ray.init(address="{address}", log_to_driver=False)
serve.start(http_options={{"host": "127.0.0.1", "port": {port}}})
serve.run(Hello.bind(), name="{name}", route_prefix="/{name}")
"""


def others(head: Head, port: int, name: str, cpus: int) -> None:
    """Start another user's application on the same Ray. It stays when this returns."""
    code = OTHERS.format(cpus=cpus, address=head.address, port=port, name=name)
    done = subprocess.run([sys.executable, "-c", code], env=head.environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr


def serve(head: Head, folder: Path, model: Path, port: int, workers: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", "serve", "--model", str(model), "--port", str(port)]
    own = {"PYTHONPATH": str(ROOT), "RDMC_RAY_ADDRESS": head.address, "RDMC_GPU": "false", "RDMC_WORKERS": str(workers)}
    where = {**head.environment, **own}
    return subprocess.Popen(command, cwd=folder, env=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST" if body else "GET", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until_routed(port: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + SECONDS
    while b'"rdmc"' not in ask(port, "/-/routes")[1]:
        assert process.poll() is None
        assert time.monotonic() < end


@pytest.mark.slow
def test_a_shared_ray_keeps_the_applications_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the nodes
    model = write_small(tmp_path / "model", 1)
    with ray_head(cpus=2) as head:
        port = free_port()
        others(head, port, "theirs", 0)
        refused = serve(head, tmp_path, model, free_port())
        error = refused.communicate(timeout=SECONDS)[1]
        assert (refused.returncode, error.count("\n")) == (1, 1), error
        assert f"take --host 127.0.0.1 --port {port}" in error

        large = serve(head, tmp_path, model, port, workers=9)
        assert "9 workers need 9 CPUs, the cluster has 2" in large.communicate(timeout=SECONDS)[1]

        ours = serve(head, tmp_path, model, port)
        assert ours.stdout
        assert ours.stdout.readline().startswith("model: ")
        assert ours.stdout.readline().startswith("serving ")
        assert ask(port, "/derain", png(0))[0] == 200
        second = serve(head, tmp_path, model, port)
        assert "serves an application 'rdmc' already" in second.communicate(timeout=SECONDS)[1]
        assert ask(port, "/derain", png(0))[0] == 200
        ours.send_signal(signal.SIGTERM)
        assert (ours.wait(SECONDS), ask(port, "/theirs")) == (0, (200, b"hello"))

        others(head, port, "greedy", 2)  # now there is no CPU left, and a start waits
        waiting = serve(head, tmp_path, model, port)
        until_routed(port, waiting)
        waiting.send_signal(signal.SIGTERM)
        assert "stopped" in waiting.communicate(timeout=SECONDS)[1]
        assert (waiting.returncode, ask(port, "/theirs"), ask(port, "/greedy")) == (143, (200, b"hello"), (200, b"hello"))
        assert b'"rdmc"' not in ask(port, "/-/routes")[1]


@pytest.mark.slow
def test_a_ray_that_ends_ends_the_server(tmp_path: Path) -> None:
    model = write_small(tmp_path / "model", 1)
    with server(tmp_path, "--model", str(model), RDMC_GPU="false") as served:
        served.raylet().kill()
        assert served.process.wait(SECONDS) != 0
    errors = [line for line in (tmp_path / "server.log").read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, "Ray itself may print more"
    assert "Ray " in errors[0]
    assert errors[0].endswith("serve again")
