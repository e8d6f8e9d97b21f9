"""On which addresses a local training listens, and which interface the workers of a cluster take."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.cluster import cluster
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.training.network import interface_of
from pipeline.training.ray_train import launch
from tests.support.data import LIGHT, make_dataset, tiny_params
from tests.support.dying import marked
from tests.support.ports import free_port
from tests.support.processes import descendants
from tests.support.waiting import until

STORE = """
import torch.distributed as distributed
from datetime import timedelta
import psutil
from pipeline.training.network import keep_store_on_its_address
keep_store_on_its_address()
distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:%d", rank=0, world_size=1)
print(*(one.laddr.ip for one in psutil.Process().net_connections("inet") if one.status == psutil.CONN_LISTEN))
distributed.barrier()
"""


def listening() -> set[tuple[str, str]]:
    """The addresses on which this process and its descendants listen, each with the process's name."""
    found = set()
    for process in (psutil.Process(), *descendants(os.getpid())):
        with suppress(psutil.Error):  # it has ended meanwhile
            name, sockets = process.name(), process.net_connections("inet")
            found |= {(one.laddr.ip, name) for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


@pytest.mark.slow
def test_a_local_training_listens_on_loopback_alone(tmp_path: Path) -> None:
    paths, marks = Paths(tmp_path), tmp_path / "marks"
    make_dataset(paths, "light")
    marks.mkdir()
    settings = Settings(workers=2, gpu=False)
    before = listening()
    seen: set[tuple[str, str]] = set()

    def look() -> None:
        try:
            until(lambda: (marks / "ready").exists())
            seen.update(listening() - before)
        finally:
            (marks / "begin").touch()

    looking = threading.Thread(target=look)
    looking.start()
    with cluster(settings):
        launch(Project(tiny_params(LIGHT), settings, paths), "net", print, validates=True, make=partial(marked, str(marks)))
    looking.join()
    assert {name for _, name in seen} >= {"gcs_server", "raylet"}
    assert any("RayTrainWorker" in name for _, name in seen), "torch's store is in a worker"
    assert sorted(one for one in seen if not loopback(one[0])) == []


def test_torchs_store_listens_on_its_address_alone() -> None:
    port = free_port()
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": interface_of("127.0.0.1")}
    done = subprocess.run([sys.executable, "-c", STORE % port], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()
    assert all(loopback(address) for address in done.stdout.split())


def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.0.1") in psutil.net_if_addrs()
    assert interface_of("203.0.113.7") == "", "no machine has an address for documents"
