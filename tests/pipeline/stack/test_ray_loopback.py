"""Ray's own command line, on the loopback address."""

from __future__ import annotations

import os
import subprocess
import sys

from pipeline.stack import ray_loopback

LOOK = """
from pipeline.stack.ray_loopback import keep_loopback
from ray._private import ray_constants, services
assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1", "so drivers reach a head that listens there alone"
assert not ray_constants.ENABLE_RAY_CLUSTER
keep_loopback()
assert services.resolve_ip_for_localhost("localhost") == "127.0.0.1"
assert ray_constants.ENABLE_RAY_CLUSTER, "or `ray start` refuses a second node"
"""


def test_ray_keeps_the_loopback_address_with_the_variable_and_starts_any_node_with_the_program() -> None:
    environment = {**os.environ, **ray_loopback.LOOPBACK}
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_program_takes_rays_commands() -> None:
    command = [sys.executable, "-P", ray_loopback.__file__, "start", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--metrics-export-port" in shown
