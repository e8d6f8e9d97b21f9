"""``reference``: train the reference model from scratch and write it into the package.

It runs the stages of dvc.yaml, except ``register``, in a folder of its own (``runs/reference``), so the project's data,
checkpoints and metrics stay as they are. A stopped command resumes, and steps whose inputs have not changed are skipped.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.recipe import flatten
from pipeline.console import say, table
from pipeline.evaluation.evaluator import device_of, open_tests
from pipeline.evaluation.pages import read_page
from pipeline.profile.stages import run_stages, set_apart
from pipeline.reference.figures import reference_figures
from pipeline.reference.page import COLUMNS, MARKERS, rows, write_page
from pipeline.storage.datasets import read_manifests
from pipeline.versioning.lineage import code_digest
from rdmc.checkpoint import load_model
from rdmc.errors import ConfigError
from rdmc.models.cost import cost
from rdmc.reference import (
    FOLDER,
    LARGEST,
    WEIGHTS,
    ReferenceCard,
    ReferenceFacts,
    ReferenceTraining,
    as_stored,
    write_reference,
)

REFERENCE = "reference"
"""Name of the folder below ``runs``, whichever profile is used."""
HALF = 2
"""Bytes of a weight in float16."""
SECTIONS = ("architecture", "loss.", "train.")
"""The params that the card has besides ``seed`` and ``datasets``, which it has too."""


def run(project: Project[Params], out: Path = FOLDER, write: Path | None = None) -> ReferenceCard:
    """Make the reference model of a project's params and write it into ``out``; its tables also into the page ``write``.

    Returns the card. Raises, before anything starts, ConfigError for a network whose weights are too large for the package and
    for a page without markers; afterwards the errors of the stages.
    """
    project = set_apart(project, REFERENCE)
    _require_small(project.params)
    if write:
        read_page(write, MARKERS)
    code = code_digest()  # before the hours in which somebody may edit it: that of now is what this process has imported
    run_stages(project)
    card = _write(project, out, code)
    table(f"reference: version {card.version} on test images", COLUMNS, rows(card))
    size = (out / WEIGHTS).stat().st_size / 1e6
    say(f"reference: {out / WEIGHTS} ({size:.2f} MB) and its card; pictures of the test images: {project.paths.pictures}")
    if write:
        write_page(write, card)
    return card


def _require_small(params: Params) -> None:
    size = cost(params.network).parameters * HALF
    if size > LARGEST:
        raise ConfigError(
            f"network: weights of {size:,} bytes in float16 exceed {LARGEST:,}, the most for the package; "
            "choose a smaller network in the profile"
        )


def _write(project: Project[Params], out: Path, code: str) -> ReferenceCard:
    """Measure the trained model with the weights that are stored, and write it. ``code`` is the digest of what trained it."""
    params = project.params
    trained, facts = load_model(project.paths.best)
    network = as_stored(trained)
    figures = reference_figures(network, open_tests(project), params.evaluate, device_of(project.settings))
    training = ReferenceTraining(
        seed=params.seed,
        steps=params.train.steps,
        best_step=int(facts["step"]),
        datasets={name: rule.model_dump(mode="json") for name, rule in params.datasets.items()},
        params={name: value for name, value in flatten(params).items() if name.startswith(SECTIONS)},
    )
    data = {name: manifest.digest for name, manifest in read_manifests(project).items()}
    return write_reference(out, network, ReferenceFacts(data, code, training, figures))
