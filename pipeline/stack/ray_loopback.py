"""``ray start`` for nodes that listen on 127.0.0.1 alone. It is run as a program, with the arguments of ``ray``.

Ray 2.60 replaces a node's address 127.0.0.1 by the machine's address in its network, and then listens on all addresses; its
metrics answer anybody there. With ``LOOPBACK`` in the environment it keeps 127.0.0.1, as it does on macOS, and listens there
alone. It then starts no second node, for which this program leaves it no choice: a node's own process takes the variable for
unset, and 127.0.0.1 for its address. All processes of the node, and the jobs on it, see the variable as it is set.
"""

from __future__ import annotations

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""The variable that keeps Ray's nodes and drivers on 127.0.0.1."""


def keep_loopback() -> None:
    """Let ``ray start`` in this process start any node, with the address 127.0.0.1."""
    from ray._private import ray_constants, services

    def own_address(address: str | None = None) -> str:
        return "127.0.0.1"

    ray_constants.ENABLE_RAY_CLUSTER = True
    services.get_node_ip_address = own_address


def main() -> None:
    """Run Ray's command line."""
    from ray.scripts.scripts import main as ray

    keep_loopback()
    ray()


if __name__ == "__main__":
    main()
