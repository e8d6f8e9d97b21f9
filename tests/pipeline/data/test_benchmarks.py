import json

import pytest

from pipeline.data import benchmarks as datasets
from rdmc.datasets.benchmarks.registry import BENCHMARKS
from rdmc.errors import ConfigError
from tests.support.imports import ROOT


def test_the_registry_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    datasets.run("")
    shown = capsys.readouterr().out
    assert all(name in shown for name in BENCHMARKS)
    assert "22.59 test" in shown


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_shown_with_its_sources(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.run(name)
    shown, entry = capsys.readouterr().out, BENCHMARKS[name]
    assert all(
        text in shown for text in (entry.home, entry.paper, entry.licence_source, *(note.source for note in entry.notes))
    )
    assert all(f"{result.psnr:.2f}" in shown and result.source in shown for result in entry.results)


def test_json_holds_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    datasets.run("", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == set(BENCHMARKS)
    datasets.run("rain800", as_json=True)
    assert json.loads(capsys.readouterr().out) == found["rain800"]
    assert found["rain800"]["copies"][0]["psnr_y"] == {"train": 22.94, "test": 22.59}


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(ConfigError, match="'rain80': no such benchmark"):
        datasets.run("rain80")


def test_the_document_holds_the_registry() -> None:
    assert (ROOT / "docs/datasets.md").read_text().endswith(datasets.markdown())
