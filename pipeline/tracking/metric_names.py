"""The names under which MLflow has figures. Its charts are grouped by what stands before the first ``/``.

Reports, ``metrics/`` and ``plots/`` keep the short names (``psnr_y``). They are translated where they go to MLflow, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Mapping

TEST, EARLIER = "test/", "evaluate/"
"""Beginning of the figures on test images, and how it was in runs of earlier versions of this code."""
GROUPS = {
    "loss/total": "loss",
    **{f"loss/{term}": term for term in ("pixel", "ssim", "contrastive", "mi_bound")},
    "validation/psnr_y": "psnr_y",
    "validation/ssim_y": "ssim_y",
    "validation/best_psnr_y": "best_psnr_y",
    "rate/lr": "lr",
    "rate/images_per_second": "images_per_second",
    "progress/epoch": "epoch",
    **{f"time/{part}_seconds": f"{part}_seconds" for part in ("step", "data", "validation", "pause")},
    "progress/training_seconds": "training_seconds",
}
NAMES = {short: name for name, short in GROUPS.items()}


def metric_name(short: str) -> str:
    """MLflow's name for a figure of a report; a name that is not known here stays as it is."""
    return NAMES.get(short, short)


def figures_on_tests(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures on test images among a run's metrics, such as ``light/derained/psnr_y``, also those of an earlier run."""
    known: dict[str, float] = {}
    for beginning in (EARLIER, TEST):
        known |= {name.removeprefix(beginning): value for name, value in metrics.items() if name.startswith(beginning)}
    return known
