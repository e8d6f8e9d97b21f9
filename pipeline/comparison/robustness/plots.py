"""Heat maps of the gain over two properties of rain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.evaluation.rain_maps import LEVELS, UNITS, RainMap
from rdmc.errors import ConfigError

SUFFIXES = (".png", ".svg", ".pdf")
"""The kinds of file that can be written."""
FULL = 15.0
"""The gain in dB of the deepest colour. It is fixed, so that pictures of two models compare."""


def check_suffix(path: Path) -> None:
    """Raise ConfigError unless heat maps can be files of this kind."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: heat maps are {', '.join(SUFFIXES)} files; end its name with one of them")


def heat_maps(maps: Sequence[RainMap], title: str) -> Figure:
    """Draw all maps side by side: a cell's colour is the gain (blue above zero, red below), its text gain and rainy PSNR-Y."""
    figure = Figure(figsize=(5.4 * len(maps), 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    shown = None
    for axes, one in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True):
        gains = np.array([[cell.gain for cell in row] for row in one.cells])
        shown = axes.imshow(gains, cmap="RdBu", vmin=-FULL, vmax=FULL, origin="lower", aspect="auto")
        for (row, column), gain in np.ndenumerate(gains):
            colour = "white" if abs(gain) > 0.7 * FULL else "black"
            words = f"{gain:+.1f}\n({one.cells[row][column].rainy:.0f})"
            axes.text(column, row, words, ha="center", va="center", fontsize=9, color=colour)
        for name, axis in ((one.across, axes.xaxis), (one.down, axes.yaxis)):
            axis.set_ticks(range(len(LEVELS[name])), [f"{value:g}" for value in LEVELS[name]])
            axis.set_label_text(f"{name} ({UNITS[name]})")
    if shown is not None:
        figure.colorbar(shown, ax=figure.axes, label="gain, dB PSNR-Y (in brackets: the rainy images)", shrink=0.8)
    return figure
