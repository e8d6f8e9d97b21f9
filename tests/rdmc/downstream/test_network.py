"""ONNX files: one that runs, and those that are refused, each in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rdmc.downstream.network import SIDE, OnnxNetwork
from rdmc.errors import CheckpointError, ConfigError
from tests.support.onnx_models import constant

VALUES: dict[str, NDArray[Any]] = {"a": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "b": np.array([7], np.int64)}


def test_the_outputs_have_their_names(tmp_path: Path) -> None:
    network = OnnxNetwork(constant(tmp_path / "a.onnx", VALUES, side=32))
    assert network.size == (32, 32)
    found = network(np.zeros((3, 32, 32), np.float32))
    assert {name: value.tolist() for name, value in found.items()} == {name: value.tolist() for name, value in VALUES.items()}
    with pytest.raises(CheckpointError, match=r"failed on an input of \(3, 8, 8\)"):
        network(np.zeros((3, 8, 8), np.float32))


def test_free_sides_become_the_usual_one(tmp_path: Path) -> None:
    assert OnnxNetwork(constant(tmp_path / "a.onnx", VALUES, side="side")).size == (SIDE, SIDE)


def test_other_signatures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"its inputs are image0 .*, image1 .*; the rule is one of tensor\(float\)"):
        OnnxNetwork(constant(tmp_path / "two.onnx", VALUES, inputs=2))


def test_own_operators_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has operators of its own \(Own\)"):
        OnnxNetwork(constant(tmp_path / "own.onnx", VALUES, domain="org.example"))


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((1, 3, 32, 32), np.float32), "weight")
    kind = onnx.TensorProto.FLOAT
    info = [helper.make_tensor_value_info(name, kind, [1, 3, 32, 32]) for name in ("image", "out")]
    graph = helper.make_graph([helper.make_node("Add", ["image", "weight"], ["out"])], "g", info[:1], info[1:], [weight])
    path = tmp_path / "apart.onnx"
    onnx.save(helper.make_model(graph), str(path), save_as_external_data=True, location="secret", size_threshold=0)
    with pytest.raises(CheckpointError, match="keeps its weights in another file"):
        OnnxNetwork(path)


def saved(path: Path, nodes: list[onnx.NodeProto], functions: tuple[onnx.FunctionProto, ...] = ()) -> Path:
    """A network of these nodes, from ``image`` to ``out``."""
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("image", "out")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=opsets, functions=functions, ir_version=9
    )
    path.write_bytes(model.SerializeToString())
    return path


def branch(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node in whose branches another one is."""
    out = [helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, [1, 3, 8, 8])]
    graph = helper.make_graph([node], "inner", [], out)
    return helper.make_node("If", ["yes"], ["out"], then_branch=graph, else_branch=graph)


def elsewhere() -> onnx.NodeProto:
    """A constant whose values lie in another file."""
    tensor = onnx.TensorProto(dims=[1, 3, 8, 8], data_type=onnx.TensorProto.FLOAT, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret")
    return helper.make_node("Constant", [], ["inside"], value=tensor)


YES = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))


def test_what_lies_deeper_is_looked_at_too(tmp_path: Path) -> None:
    for nodes in ([elsewhere(), helper.make_node("Identity", ["inside"], ["out"])], [YES, branch(elsewhere())]):
        with pytest.raises(CheckpointError, match="keeps its weights in another file"):
            OnnxNetwork(saved(tmp_path / "a.onnx", nodes))
    own = helper.make_node("Own", ["image"], ["inside"], domain="own")
    with pytest.raises(CheckpointError, match=r"has operators of its own \(Own\)"):
        OnnxNetwork(saved(tmp_path / "a.onnx", [YES, branch(own)]))


def test_functions_that_are_written_out_in_the_file_run(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    call = helper.make_node("Twice", ["image"], ["out"], domain="own")
    twice = helper.make_function("own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], opset)
    path = saved(tmp_path / "a.onnx", [call], (twice,))
    assert OnnxNetwork(path)(np.full((3, 8, 8), 2, np.float32))["out"].mean() == 4
    other = helper.make_node("Other", ["x"], ["y"], domain="own")
    hidden = helper.make_function("own", "Twice", ["x"], ["y"], [other], opset)
    with pytest.raises(CheckpointError, match=r"has operators of its own \(Other\)"):
        OnnxNetwork(saved(tmp_path / "b.onnx", [call], (hidden,)))


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x80\x04\x95pickle"], ids=["empty", "text", "pickle"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(path))}: (not an ONNX file|cannot be run|its inputs are) "
    ) as error:
        OnnxNetwork(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; name an ONNX file"):
        OnnxNetwork(tmp_path / "none.onnx")
