"""Pictures of a sweep: parallel coordinates, importance, the history of the best, the front. Entries in, arrays out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.config.tune import Choice, Integer, LogUniform, Tune, Uniform
from pipeline.evaluation.plots import BLUE, GREY, INK, ORANGE, Image, draw, plain
from pipeline.experiments.sweep.algorithms import front, study_of
from pipeline.experiments.sweep.ledger import SweepTrial
from rdmc.models.cost import SIDE


def pictures(tune: Tune, entries: Sequence[SweepTrial]) -> dict[str, Image]:
    """All pictures that the trials give, by the names of their files; importance needs several trials that went to the end."""
    scored = [entry for entry in entries if entry.score is not None and entry.state != "failed"]
    if not scored:
        return {}
    found = {"parallel_coordinates.png": parallel_coordinates(tune, scored), "history.png": history(entries)}
    if weights := importance(tune, scored):
        found["importance.png"] = importance_bars(weights)
    if "gflop" in tune.objectives:
        found["front.png"] = front_plot(tune, scored)
    return found


def importance(tune: Tune, entries: Sequence[SweepTrial]) -> dict[str, float]:
    """How much each param that all trials searched decides of PSNR-Y, in all 1; empty where too few trials tell.

    Optuna's PED-ANOVA over the trials that were not stopped early, or over all where those are fewer than four.
    """
    whole = [entry for entry in entries if entry.state == "finished"]
    known = whole if len(whole) >= 4 else list(entries)
    varied = [key for key in tune.space if len({entry.chosen.get(key) for entry in known}) > 1]
    shared = [key for key in varied if all(key in entry.chosen for entry in known)]
    if len(known) < 4 or not shared:
        return {}
    alone = tune.model_copy(update={"objectives": ["psnr_y"]})
    study = study_of(alone, [SweepTrial(e.number, e.chosen, state="finished", rows=e.rows) for e in known])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(optuna.importance.get_param_importances(study, params=shared))
    except (ValueError, RuntimeError):  # all scores alike
        return {}


def parallel_coordinates(tune: Tune, entries: Sequence[SweepTrial]) -> Image:
    """A line per trial across an axis for each param, coloured by PSNR-Y; it skips what a trial did not search."""
    keys = list(tune.space)
    figure = Figure(figsize=(2.2 + 1.6 * (len(keys) + 1), 4.5), dpi=120, layout="constrained")
    axis = figure.subplots()
    scores = [float(entry.score or 0) for entry in entries]
    colours = ScalarMappable(Normalize(min(scores), max(scores) + 1e-9), "viridis")
    spread = max(scores) - min(scores) or 1.0
    for entry, score in sorted(zip(entries, scores, strict=True), key=lambda pair: pair[1]):
        heights = [height_of(tune.space[key], entry.chosen[key]) if key in entry.chosen else np.nan for key in keys]
        heights.append((score - min(scores)) / spread)
        axis.plot(
            range(len(heights)),
            heights,
            "-o",
            color=colours.to_rgba(np.asarray([score]))[0],
            alpha=0.7,
            linewidth=1.2,
            markersize=3,
        )
    for place, key in enumerate(keys):
        for height, label in ticks_of(tune.space[key]):
            axis.annotate(label, (place, height), (4, 0), textcoords="offset points", fontsize=7, color=GREY, va="center")
    axis.set_xticks(range(len(keys) + 1), [*keys, "PSNR-Y, dB"], fontsize=8)
    axis.set_yticks([])
    plain(axis, "a line per trial")
    axis.spines[["left"]].set_visible(False)
    axis.grid(axis="x", alpha=0.5)
    figure.colorbar(colours, ax=axis, label="PSNR-Y, dB")
    return draw(figure)


def height_of(domain: Choice | Uniform | LogUniform | Integer, value: Any) -> float:
    """Where a value lies on the axis of its domain, 0 to 1."""
    if isinstance(domain, Choice):
        return domain.choice.index(value) / max(1, len(domain.choice) - 1)
    low, high = domain.ends
    if isinstance(domain, LogUniform):
        return float(np.log(value / low) / np.log(high / low))
    return float((value - low) / (high - low))


def ticks_of(domain: Choice | Uniform | LogUniform | Integer) -> list[tuple[float, str]]:
    """Heights and labels on the axis of a domain."""
    return [(height_of(domain, value), str(value) if isinstance(domain, Choice) else f"{value:.3g}") for value in domain.ends]


def importance_bars(weights: Mapping[str, float]) -> Image:
    """A bar per param."""
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(weights)), dpi=120, layout="constrained")
    axis = figure.subplots()
    names = sorted(weights, key=lambda name: weights[name])
    axis.barh(names, [weights[name] for name in names], color=BLUE, alpha=0.75)
    axis.set_xlabel("share of what the params decide of PSNR-Y")
    plain(axis, "importance (PED-ANOVA)")
    return draw(figure)


def history(entries: Sequence[SweepTrial]) -> Image:
    """PSNR-Y of each trial in the order in which they began, and the best until then."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axis = figure.subplots()
    for state, colour in (("finished", BLUE), ("stopped early", ORANGE)):
        found = [entry for entry in entries if entry.state == state and entry.score is not None]
        if found:
            axis.plot([e.number for e in found], [float(e.score or 0) for e in found], "o", color=colour, label=state)
    scored = [entry for entry in entries if entry.score is not None and entry.state != "failed"]
    best = np.maximum.accumulate([float(entry.score or 0) for entry in scored])
    axis.step([entry.number for entry in scored], best, where="post", color=INK, label="best so far")
    axis.legend(frameon=False, fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")
    axis.set_ylabel("validation PSNR-Y, dB")
    plain(axis, "trials in the order in which they began")
    return draw(figure)


def front_plot(tune: Tune, entries: Sequence[SweepTrial]) -> Image:
    """PSNR-Y over the cost of an image; a line through the trials that none dominates."""
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axis: Axes = figure.subplots()
    known = [entry for entry in entries if entry.gflop is not None]
    best = sorted(front(tune, known), key=lambda entry: entry.gflop or 0)
    for found, style, colour in ((known, "o", GREY), (best, "-o", BLUE)):
        axis.plot([e.gflop or 0.0 for e in found], [e.score or 0.0 for e in found], style, color=colour, alpha=0.7)
    for entry in best:
        axis.annotate(str(entry.number), (entry.gflop or 0, entry.score or 0), (4, 4), textcoords="offset points", fontsize=8)
    axis.set_xlabel(f"cost of an image of {SIDE}x{SIDE}, GFLOP")
    axis.set_ylabel("validation PSNR-Y, dB")
    plain(axis, "the front: no trial is better and cheaper")
    return draw(figure)
