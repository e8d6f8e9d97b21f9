"""ONNX files of networks whose outputs are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Values = Mapping[str, NDArray[Any]]
OBJECTS = np.array([[8.0, 4.0, 24.0, 20.0], [30.0, 10.0, 50.0, 40.0]], np.float32)
"""x1, y1, x2, y2 of two objects, of the classes 1 and 0, with the scores 0.9 and 0.6."""


def constant(path: Path, outputs: Values, side: int | str = 64, inputs: int = 1, domain: str = "") -> Path:
    """Write a network that gives ``outputs`` for any image; return the file."""
    nodes = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)) for name, value in outputs.items()]
    if domain:
        nodes.append(helper.make_node("Own", ["image0"], ["own"], domain=domain))
    return _write(path, nodes, outputs, side, inputs, domain)


def colours(path: Path, side: int = 32) -> Path:
    """Write a segmenter whose classes are the channels: (1, 3, side, side) in, the same out; return the file."""
    given = {"logits": np.zeros((1, 3, side, side), np.float32)}
    return _write(path, [helper.make_node("Identity", ["image0"], ["logits"])], given, side, 1, "")


def _write(path: Path, nodes: list[Any], outputs: Values, side: int | str, inputs: int, domain: str) -> Path:
    given = [helper.make_tensor_value_info(f"image{n}", TensorProto.FLOAT, [1, 3, side, side]) for n in range(inputs)]
    made = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in outputs.items()
    ]
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(helper.make_graph(nodes, "constant", given, made), opset_imports=opsets, ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
