"""The network addresses on which the workers of one training talk to each other."""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
from typing import Any

import psutil
import ray.util
from ray.train.v2._internal.execution.callback import WorkerCallback

GLOO = "GLOO_SOCKET_IFNAME"
"""Gloo's own variable. Without it, Gloo listens on the address that the host's name has, often 127.0.1.1 or a public one."""


class OwnAddress(WorkerCallback):
    """Lets each worker use the address that Ray uses for its node. It runs before torch connects the workers."""

    def after_init_train_context(self) -> None:
        """Set Gloo's interface, unless it is set; on a node that is known by loopback, keep torch's store on loopback too."""
        address = ray.util.get_node_ip_address()
        if name := interface_of(address):
            os.environ.setdefault(GLOO, name)
        if ipaddress.ip_address(address).is_loopback:
            keep_store_on_its_address()


def interface_of(address: str) -> str:
    """The name of this machine's network interface with an IP address, such as ``eth0``; empty if none has it."""
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, found in interfaces if any(one.address == address for one in found)), "")


def keep_store_on_its_address() -> None:
    """Let torch's TCPStore listen on its host's address alone. It listens on all addresses otherwise and asks for no token."""
    used = vars(importlib.import_module("torch.distributed.rendezvous"))  # torch hides the module behind a function
    real = used["TCPStore"]

    def store(**options: Any) -> Any:  # torch calls it with names alone
        if options["is_master"]:
            listening = socket.create_server((options["host_name"], options["port"]))
            options["master_listen_fd"] = listening.detach()  # the store closes it
        return real(**options)

    used["TCPStore"] = store
