"""The ablation without its training: the list of trials, their results, and the lines of the table.

Trials are paired: with the same seed, every variant sees the same samples in the same order, the same crops, and the same
number of steps. Variants are compared seed by seed, so the effect of a lucky seed on all of them cancels out.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from pipeline.config.params import Params
from pipeline.config.recipe import fingerprint, trial_params
from rdmc.errors import CheckpointError, ConfigError
from rdmc.files import write_text
from rdmc.models.cost import cost
from rdmc.models.factory import NetworkConfig

PARTS = ("network", "loss", "train")
PAIRED = ("train.steps", "train.global_batch_size", "train.crop")
"""Params that all trials share; without them the trials of a seed are not comparable."""
Figures = dict[str, Any]
"""Means per dataset and overall (``pipeline.evaluation.evaluator.summary``)."""


@dataclass(frozen=True)
class Trial:
    """One training of the ablation."""

    variant: str
    seed: int
    params: Params
    digest: str
    """SHA-256 (hex) of everything that its result depends on: params, data, code. Equal trials are trained once."""

    @property
    def name(self) -> str:
        """``variant/seed``."""
        return f"{self.variant}/{self.seed}"


@dataclass(frozen=True)
class Score:
    """The result of a trial on the test images."""

    figures: Figures
    seconds: float
    """Time spent in training steps, in seconds."""
    machine: str
    """The machine that it was trained on."""


@dataclass(frozen=True)
class Spread:
    """The values of one figure over several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The arithmetic mean; NaN without values."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """The standard deviation of the sample (divided by n - 1); NaN for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The confidence interval of the mean at ``level``, by Student's t; NaN for fewer than two values.

        For differences of pairs it is the interval of the paired t-test.
        """
        reach = float(stats.t.ppf((1 + level) / 2, len(self.values) - 1)) if len(self.values) > 1 else math.nan
        reach *= self.deviation / math.sqrt(max(1, len(self.values)))
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class Line:
    """A variant's line of the table."""

    variant: str
    psnr: dict[str, Spread]
    """PSNR-Y (dB) per dataset and ``overall``."""
    ssim: Spread
    gain: Spread
    """Overall PSNR-Y minus that of the rainy images, dB."""
    difference: Spread
    """Overall PSNR-Y minus that of the first variant with the same seed, dB, for the seeds that both have."""
    seconds: Spread
    parameters: int
    gflop: float


def variant_params(params: Params, variant: str, seed: int) -> Params:
    """The params of a trial. Raises ConfigError that names the variant for overrides that cannot be used."""
    overrides = params.ablation.variants[variant]
    try:
        for key in overrides:
            if key in PAIRED or key.split(".")[0] not in PARTS:
                raise ConfigError(f"{key}: must be equal in all variants so that they can be compared; override another param")
        chosen = trial_params(params, params.ablation.steps, {"seed": seed, **overrides})
        if any(getattr(chosen.train, name.split(".")[1]) != _shared(params, name) for name in PAIRED):
            raise ConfigError(
                "train: changes steps, batch or crop, which must be equal in all variants; override single params"
            )
    except ConfigError as error:
        raise ConfigError(f"ablation.variants.{variant}: {error}") from None
    return chosen


def _shared(params: Params, name: str) -> int:
    return params.ablation.steps if name == "train.steps" else int(getattr(params.train, name.split(".")[1]))


def plan(params: Params, data: str, code: str) -> list[Trial]:
    """Every variant with every seed, ordered by seed, so that a stopped ablation has complete pairs.

    ``data`` and ``code`` are the digests of the datasets and of the code that trains. Raises ConfigError for a variant that
    cannot be used.
    """
    chosen = [(v, seed, variant_params(params, v, seed)) for seed in params.ablation.seeds for v in params.ablation.variants]
    return [Trial(v, seed, own, digest_of(own, data, code)) for v, seed, own in chosen]


def digest_of(params: Params, *others: str) -> str:
    """SHA-256 (hex) of the params that a trial's result depends on, and of ``others``."""
    return fingerprint(params, {"seed": True, "loss": True, "train": True, "evaluate": {"tile": True}}, *others)


def write_score(folder: Path, trial: Trial, score: Score) -> None:
    """Write a trial's result to a file named by its digest."""
    content = {"variant": trial.variant, "seed": trial.seed, **asdict(score)}
    write_text(_place(folder, trial), json.dumps(content, indent=2) + "\n")


def read_score(folder: Path, trial: Trial) -> Score | None:
    """The result of an equal trial, under any variant name; None where there is none yet.

    Raises CheckpointError for a damaged file.
    """
    path = _place(folder, trial)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        return Score(content["figures"], float(content["seconds"]), str(content["machine"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a trial's result ({error!r}); delete that file, its trial runs again") from None


def _place(folder: Path, trial: Trial) -> Path:
    return folder / f"{trial.digest[:20]}.json"


def lines(trials: Sequence[Trial], scores: Mapping[str, Score]) -> list[Line]:
    """A line per variant that has a score, in the order of params.yaml; ``scores`` maps ``Trial.name`` to results."""
    by_variant: dict[str, dict[int, Score]] = {trial.variant: {} for trial in trials}
    configs: dict[str, NetworkConfig] = {trial.variant: trial.params.network for trial in trials}
    for trial in trials:
        if trial.name in scores:
            by_variant[trial.variant][trial.seed] = scores[trial.name]
    first = next(iter(by_variant.values()), {})
    return [_line(name, own, first, configs[name]) for name, own in by_variant.items() if own]


def _line(variant: str, own: Mapping[int, Score], first: Mapping[int, Score], config: NetworkConfig) -> Line:
    figures = [score.figures for score in own.values()]
    groups = ("overall", *(name for name in figures[0] if name != "overall"))
    return Line(
        variant,
        psnr={group: Spread(tuple(f[group]["derained"]["psnr_y"] for f in figures)) for group in groups},
        ssim=Spread(tuple(f["overall"]["derained"]["ssim_y"] for f in figures)),
        gain=Spread(tuple(f["overall"]["gain_psnr_y"] for f in figures)),
        difference=Spread(differences(own, first)),
        seconds=Spread(tuple(score.seconds for score in own.values())),
        **asdict(cost(config)),
    )


def differences(own: Mapping[int, Score], first: Mapping[int, Score]) -> tuple[float, ...]:
    """Overall PSNR-Y minus that of ``first``, dB, for each seed that both have."""
    both = [(own[seed].figures, first[seed].figures) for seed in own if seed in first]
    return tuple(a["overall"]["derained"]["psnr_y"] - b["overall"]["derained"]["psnr_y"] for a, b in both)
