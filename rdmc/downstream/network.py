"""Networks of others, read from ONNX files. The file is hostile: nothing in it may run code or name another file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmc.downstream.inputs import InputRule, Values
from rdmc.errors import CheckpointError, ConfigError, one_line

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operator sets that onnxruntime has itself."""
SIDE = 640
"""Side in pixels of an input whose sides are free."""
LARGEST = 2_000_000_000
"""Most bytes of a file, which is protobuf's own limit."""
MISSING = "needs onnx and onnxruntime; run `pip install -c constraints.txt onnx onnxruntime`"


class OnnxNetwork:
    """A network with one image as its input, (1, 3, H, W) float32."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open the file. ``threads``: 0 for one per core.

        Raises ConfigError where onnxruntime is not installed, and CheckpointError for a file that is no such network.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as binding
        except ImportError:
            raise ConfigError(f"{path}: {MISSING}") from None
        # the kinds that its documentation names; they have no base of their own
        kinds = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented", "RuntimeException")
        self._errors = (*(getattr(binding, kind) for kind in kinds), RuntimeError, ValueError)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its threads would wait busily between images
        options.log_severity_level = 4  # its own lines; what goes wrong is raised
        data = _checked(path)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise CheckpointError(f"{path}: cannot be run ({one_line(error)}); export it again") from None
        self.path = path
        self._input, self.size = _input(self._session.get_inputs(), path)

    def __call__(self, image: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """The outputs by name, for an image (3, H, W). Raises CheckpointError where the network fails."""
        try:
            found = self._session.run(None, {self._input: image[None]})
        except self._errors as error:
            raise CheckpointError(
                f"{self.path}: failed on an input of {image.shape} ({one_line(error)}); export it again"
            ) from None
        return {output.name: np.asarray(value) for output, value in zip(self._session.get_outputs(), found, strict=True)}


def open_network(
    path: Path, values: Values = "unit", bgr: bool = False, stretch: bool = False
) -> tuple[OnnxNetwork, InputRule, str]:
    """Open a file. Returns the network, how images become its input (``InputRule`` has the arguments), and both in words.

    Raises what ``OnnxNetwork`` raises.
    """
    network = OnnxNetwork(path)
    rule = InputRule(*network.size, values, bgr, stretch)
    about = f"{path.name}, input {rule.width}x{rule.height}, {'stretched' if rule.stretch else 'letterboxed'}"
    return network, rule, about


def _checked(path: Path) -> bytes:
    """The bytes of the file, if it stands alone and has only known operators. Raises CheckpointError otherwise."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ConfigError(f"{path}: {MISSING}") from None
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; name an ONNX file")
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes, the limit is {LARGEST:,}; export a smaller network")
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise CheckpointError(f"{path}: not an ONNX file ({one_line(error)}); export it again") from None
    own = {(function.domain, function.name) for function in model.functions}  # written out in the file, of other operators
    nodes = [*_nodes(model.graph.node), *(node for function in model.functions for node in _nodes(function.node))]
    used = sorted({node.op_type for node in nodes if node.domain not in DOMAINS and (node.domain, node.op_type) not in own})
    if used:
        raise CheckpointError(
            f"{path}: has operators of its own ({', '.join(used)}), only standard ones run; export it without them"
        )
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph, nodes)):
        raise CheckpointError(
            f"{path}: keeps its weights in another file, the rule is one file; export it with its weights inside"
        )
    return data


def _nodes(nodes: Any) -> Iterator[Any]:
    """The nodes, and those of the graphs inside them: branches and loops."""
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from _nodes(graph.node)


def _graphs(node: Any) -> list[Any]:
    attributes = node.attribute
    return [one.g for one in attributes if one.HasField("g")] + [graph for one in attributes for graph in one.graphs]


def _tensors(graph: Any, nodes: Any) -> Iterator[Any]:
    """Every tensor of the file: weights of the graph and of those inside it, and constants."""
    for one in (graph, *(inner for node in nodes for inner in _graphs(node))):
        yield from one.initializer
        for sparse in one.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t


def _input(inputs: list[Any], path: Path) -> tuple[str, tuple[int, int]]:
    """The name of the only input, and its height and width. Raises CheckpointError for any other signature."""
    shown = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
    first = inputs[0] if len(inputs) == 1 else None
    if first is None or first.type != "tensor(float)" or len(first.shape) != 4 or first.shape[1] not in (3, "3"):
        raise CheckpointError(f"{path}: its inputs are {shown}; the rule is one of tensor(float) [1, 3, H, W]; export it so")
    height, width = (side if isinstance(side, int) and side > 0 else SIDE for side in first.shape[2:])
    return str(first.name), (height, width)
