"""Every command lets waiting threads sleep, before torch is there, and a user can decide otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.config.threads import OTHERS, POLICY, wait_passively
from tests.support.imports import ROOT

CHECK = """
import os, sys
import pipeline.__main__ as cli

def look():
    assert "torch" not in sys.modules, "OpenMP reads its variables when torch is imported"
    print(os.environ.get("OMP_WAIT_POLICY"))

cli.command_line = lambda: look
cli.main()
"""


@pytest.mark.parametrize(
    ("given", "policy"),
    [({}, "PASSIVE"), ({POLICY: "ACTIVE"}, "ACTIVE"), *(({name: "5"}, None) for name in OTHERS)],
)
def test_threads_sleep_unless_the_user_decides(given: dict[str, str], policy: str | None) -> None:
    environment = dict(given)
    wait_passively(environment)
    assert environment == given | ({POLICY: policy} if policy else {})


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({POLICY: "ACTIVE"}, "ACTIVE")])
def test_the_command_line_sets_it_before_torch_is_imported(given: dict[str, str], policy: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (POLICY, *OTHERS)} | given
    found = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.strip()) == (0, policy), found.stderr
