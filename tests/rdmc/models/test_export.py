"""Exported graphs against their network, on odd sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rdmc.errors import ConfigError
from rdmc.models.base import Restorer, cropped, pad_to_multiple
from rdmc.models.baselines import PReNetConfig, UNetConfig
from rdmc.models.export import export, traced
from rdmc.models.factory import NetworkConfig, build
from rdmc.models.rdmc import RDMCConfig

SIZES = [(37, 50), (64, 64), (5, 3), (1, 1), (130, 33), (31, 97), (65, 1)]


def network(config: NetworkConfig) -> Restorer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(config).eval()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("config", [RDMCConfig(width=2, passes=2, stem=2), UNetConfig(width=2, stem=2), PReNetConfig(width=2)])
@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_networks_in_both_formats(form: str, config: NetworkConfig, tmp_path: Path) -> None:
    original = network(config)
    path = export(original, tmp_path / "out", form, {})
    if form == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
        for value in (*session.get_inputs(), *session.get_outputs()):
            assert value.shape == ["batch", 3, "height", "width"], value.name
    else:
        program = torch.export.load(path).module()
    for size in SIZES:
        image = torch.rand(size[0] % 3 + 1, 3, *size)
        with torch.inference_mode():
            expected = original(image).numpy()
            found = session.run(None, {"rainy": image.numpy()})[0] if form == "onnx" else program(image).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-6)


class Pad(Restorer):
    """The parts of a graph that depend on the size: padding and cropping."""

    def estimates(self, rainy: torch.Tensor) -> list[torch.Tensor]:
        height, width = rainy.shape[-2:]
        padded = pad_to_multiple(rainy, 16)
        return [padded + cropped(rainy, height, width).sum()]


@pytest.mark.usefixtures("one_thread")
def test_padding_in_a_graph_equals_padding_outside(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    path = export(Pad(None), tmp_path / "out", "onnx", {"version": 3})
    session, graph = onnxruntime.InferenceSession(str(path)), traced(Pad(None)).module()
    for size in [*SIZES, (16, 16), (9, 8), (8, 9)]:
        image = torch.rand(size[0] % 3 + 1, 3, *size)
        expected = Pad(None)(image)
        torch.testing.assert_close(graph(image), expected, msg=str(size))
        np.testing.assert_allclose(session.run(None, {"rainy": image.numpy()})[0], expected, rtol=1e-5)
    described = json.loads((tmp_path / "out/export.json").read_text())
    assert (described["version"], described["input"]["rainy"]["shape"]) == (3, ["batch", 3, "height", "width"])
    assert [value.shape for value in session.get_inputs()] == [["batch", 3, "height", "width"]]
    assert sorted(file.name for file in path.parent.iterdir()) == ["export.json", "model.onnx"], "one file, weights inside"


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^'tflite' is not a format \(onnx, pt2\)"):
        export(network(UNetConfig(width=2)), tmp_path / "out", "tflite", {})
    assert not (tmp_path / "out").exists()
