"""The words for what computes."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from pipeline.evaluation.computer import computer


def test_a_processor_is_named_with_its_threads_and_the_versions() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = computer(torch.device("cpu"))
    finally:
        torch.set_num_threads(before)
    assert found.startswith("CPU (")
    assert f" cores), 3 threads, torch {torch.__version__}, Python {platform.python_version()}" in found


def test_a_gpu_is_named_as_its_driver_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert computer(torch.device("cuda:1")).startswith("GPU 1, ")


def test_without_proc_the_kind_of_machine_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    assert f"CPU ({platform.machine()}, " in computer(torch.device("cpu"))
