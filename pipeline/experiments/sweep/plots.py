"""Pictures of a sweep: parallel coordinates, importance of params, history, front. Functions from trials to RGB arrays."""

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


def pictures(tune: Tune, trials: Sequence[SweepTrial]) -> dict[str, Image]:
    """All pictures that can be drawn of the trials, by file name; importance needs at least four trials with a score."""
    scored = [trial for trial in trials if trial.score is not None and trial.state != "failed"]
    if not scored:
        return {}
    drawn = {"parallel_coordinates.png": parallel_coordinates(tune, scored), "history.png": history(trials)}
    if weights := importance(tune, scored):
        drawn["importance.png"] = importance_bars(weights)
    if "gflop" in tune.objectives:
        drawn["front.png"] = front_plot(tune, scored)
    return drawn


def importance(tune: Tune, trials: Sequence[SweepTrial]) -> dict[str, float]:
    """The importance of each param that all trials searched for PSNR-Y, with a sum of 1; empty where there are too few trials.

    Computed by Optuna's PED-ANOVA over the finished trials, or over all trials where fewer than four finished.
    """
    whole = [trial for trial in trials if trial.state == "finished"]
    known = whole if len(whole) >= 4 else list(trials)
    varied = [key for key in tune.space if len({trial.chosen.get(key) for trial in known}) > 1]
    shared = [key for key in varied if all(key in trial.chosen for trial in known)]
    if len(known) < 4 or not shared:
        return {}
    alone = tune.model_copy(update={"objectives": ["psnr_y"]})
    study = study_of(alone, [SweepTrial(e.number, e.chosen, state="finished", rows=e.rows) for e in known])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(optuna.importance.get_param_importances(study, params=shared))
    except (ValueError, RuntimeError):  # all scores are equal
        return {}


def parallel_coordinates(tune: Tune, trials: Sequence[SweepTrial]) -> Image:
    """A line per trial across one axis per param, coloured by PSNR-Y; a line skips params that its trial did not search."""
    keys = list(tune.space)
    figure = Figure(figsize=(2.2 + 1.6 * (len(keys) + 1), 4.5), dpi=120, layout="constrained")
    axis = figure.subplots()
    scores = [float(trial.score or 0) for trial in trials]
    colours = ScalarMappable(Normalize(min(scores), max(scores) + 1e-9), "viridis")
    spread = max(scores) - min(scores) or 1.0
    for trial, score in sorted(zip(trials, scores, strict=True), key=lambda pair: pair[1]):
        heights = [height_of(tune.space[key], trial.chosen[key]) if key in trial.chosen else np.nan for key in keys]
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
    """The position of a value on its domain's axis, 0 to 1."""
    if isinstance(domain, Choice):
        return domain.choice.index(value) / max(1, len(domain.choice) - 1)
    low, high = domain.ends
    if isinstance(domain, LogUniform):
        return float(np.log(value / low) / np.log(high / low))
    return float((value - low) / (high - low))


def ticks_of(domain: Choice | Uniform | LogUniform | Integer) -> list[tuple[float, str]]:
    """Heights (0 to 1) and labels of the ticks on a domain's axis."""
    return [(height_of(domain, value), str(value) if isinstance(domain, Choice) else f"{value:.3g}") for value in domain.ends]


def importance_bars(weights: Mapping[str, float]) -> Image:
    """A horizontal bar per param, the most important at the top."""
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(weights)), dpi=120, layout="constrained")
    axis = figure.subplots()
    names = sorted(weights, key=lambda name: weights[name])
    axis.barh(names, [weights[name] for name in names], color=BLUE, alpha=0.75)
    axis.set_xlabel("share of the params' effect on PSNR-Y")
    plain(axis, "importance (PED-ANOVA)")
    return draw(figure)


def history(trials: Sequence[SweepTrial]) -> Image:
    """PSNR-Y of each trial in starting order, and the best value so far."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axis = figure.subplots()
    for state, colour in (("finished", BLUE), ("stopped early", ORANGE)):
        ended = [trial for trial in trials if trial.state == state and trial.score is not None]
        if ended:
            axis.plot([e.number for e in ended], [float(e.score or 0) for e in ended], "o", color=colour, label=state)
    scored = [trial for trial in trials if trial.score is not None and trial.state != "failed"]
    best = np.maximum.accumulate([float(trial.score or 0) for trial in scored])
    axis.step([trial.number for trial in scored], best, where="post", color=INK, label="best so far")
    axis.legend(frameon=False, fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")
    axis.set_ylabel("validation PSNR-Y, dB")
    plain(axis, "trials in starting order")
    return draw(figure)


def front_plot(tune: Tune, trials: Sequence[SweepTrial]) -> Image:
    """PSNR-Y over the cost of an image in GFLOP, with a line through the trials that no other dominates."""
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axis: Axes = figure.subplots()
    known = [trial for trial in trials if trial.gflop is not None]
    best = sorted(front(tune, known), key=lambda trial: trial.gflop or 0)
    for shown, style, colour in ((known, "o", GREY), (best, "-o", BLUE)):
        axis.plot([e.gflop or 0.0 for e in shown], [e.score or 0.0 for e in shown], style, color=colour, alpha=0.7)
    for trial in best:
        axis.annotate(str(trial.number), (trial.gflop or 0, trial.score or 0), (4, 4), textcoords="offset points", fontsize=8)
    axis.set_xlabel(f"cost of an image of {SIDE}x{SIDE}, GFLOP")
    axis.set_ylabel("validation PSNR-Y, dB")
    plain(axis, "the front: no trial is better and cheaper")
    return draw(figure)
