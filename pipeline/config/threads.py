"""How the threads of torch wait for one another. OpenMP reads this once, when torch is imported."""

from __future__ import annotations

from collections.abc import MutableMapping

POLICY = "OMP_WAIT_POLICY"
OTHERS = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What GNU's and LLVM's OpenMP also read for this. A user who has set one of them has decided."""


def wait_passively(environment: MutableMapping[str, str]) -> None:
    """Let waiting threads sleep instead of spin, unless ``environment`` already says how they wait.

    A thread that spins occupies a core that another process could use. On two busy cores, deraining took twice the time and
    twice the processor time with it (docs/benchmarks.md). Child processes, such as Ray's workers, inherit the setting.
    """
    if not any(name in environment for name in (POLICY, *OTHERS)):
        environment[POLICY] = "PASSIVE"
