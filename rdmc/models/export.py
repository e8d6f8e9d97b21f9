"""Export a network as one file that needs none of this code: torch.export's ``.pt2`` or ONNX, for any image size.

The graph takes (batch, 3, height, width), RGB, 0 to 1, float32, and returns the same, not clamped. It pads and crops inside. It
contains what ``derain_image`` does to one tile, so a caller with large images has to cut them into tiles.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as tracing

from rdmc.errors import ConfigError
from rdmc.files import new_folder, write_text
from rdmc.models.base import Restorer

FORMATS = ("onnx", "pt2")
INPUT, OUTPUT = "rainy", "derained"
LONGEST = 65_536
"""The longest side in pixels that the graph accepts."""
MOST = 65_536
"""The most images that the graph accepts at once."""
TRACED = (2, 3, 70, 90)
"""Shape of the images that are traced; no number and no size is special."""


def export(network: Restorer, folder: Path, form: str, facts: Mapping[str, Any]) -> Path:
    """Write ``folder`` with ``model.onnx`` or ``model.pt2`` and ``export.json``, which describes its input and output.

    Args:
        network: on the CPU, in evaluation mode.
        folder: created, or replaced if it exists.
        form: ``onnx`` or ``pt2``.
        facts: added to export.json.

    Returns:
        The path of the model's file.

    Raises:
        ConfigError: the format is unknown, or the packages of the ``export`` extra are missing.
    """
    if form not in FORMATS:
        raise ConfigError(f"{form!r} is not a format ({', '.join(FORMATS)}); choose one of them")
    if form == "onnx" and not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        raise ConfigError("onnx: needs packages that are not installed; run pip install -c constraints.txt '.[export]'")
    image = {"shape": ["batch", 3, "height", "width"], "type": "float32", "range": [0, 1], "colours": "RGB"}
    with _quiet():
        program = traced(network)
        with new_folder(folder) as place:
            if form == "pt2":
                torch.export.save(program, place / "model.pt2")
            else:
                _write_onnx(program, place / "model.onnx")
            described = {"format": form, "input": {INPUT: image}, "output": {OUTPUT: image}, **facts}
            write_text(place / "export.json", json.dumps(described, indent=2) + "\n")
    return folder / f"model.{form}"


def traced(network: Restorer) -> ExportedProgram:
    """Return the network's graph, for 1 to ``MOST`` images and every height and width from 1 to ``LONGEST``."""
    sides = {0: Dim("batch", min=1, max=MOST), 2: Dim("height", min=1, max=LONGEST), 3: Dim("width", min=1, max=LONGEST)}
    oblivious = tracing.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # torch adds patch at run time
    with oblivious:  # else a batch of 1 or a map of 1 pixel becomes a special case, and is refused
        return torch.export.export(
            network.eval(),
            (torch.rand(TRACED),),
            dynamic_shapes=({1: Dim.STATIC, **sides},),
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _write_onnx(program: ExportedProgram, path: Path) -> None:
    made = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    if made is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    _name_dims(made.model.graph)
    made.save(str(path))


def _name_dims(graph: Any) -> None:
    """Name the dims of an ONNX graph's values ``batch``, ``height`` and ``width``; the exporter calls them s68 and the like."""
    named = dict(zip((str(dim) for dim in graph.inputs[0].shape), ("batch", "3", "height", "width"), strict=True))
    del named["3"]  # a number, not a name
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        for place, dim in enumerate(value.shape or ()):
            if str(dim) in named:
                value.shape[place] = named[str(dim)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, which report packages that are not needed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
