"""The path of every file that a run reads or writes, relative to the project's folder.

dvc.yaml declares the same paths as outs, metrics and plots. A test checks that the two agree (docs/decisions/0002).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The files of the pipeline under ``root``."""

    root: Path = Path()

    @property
    def checked(self) -> Path:
        """``check``: says that the params can be used (always the same text)."""
        return self.root / "data/checked"

    def pairs(self, dataset: str) -> Path:
        """``prepare``: checked pairs by split, index.json and quarantine.json."""
        return self.root / "data/pairs" / dataset

    @property
    def leaks(self) -> Path:
        """``leaks``: scenes that two splits share (JSON)."""
        return self.root / "data/leaks.json"

    def shards(self, dataset: str) -> Path:
        """``pack``: WebDataset shards (tar files) and manifest.json."""
        return self.root / "data/shards" / dataset

    @property
    def best(self) -> Path:
        """``train``: the model that was best on the validation pairs (model.safetensors, model.json)."""
        return self.root / "checkpoints/best"

    @property
    def last(self) -> Path:
        """``train``: everything needed to resume the training."""
        return self.root / "checkpoints/last"

    @property
    def run(self) -> Path:
        """``train``: the MLflow run of this training (run.json)."""
        return self.root / "checkpoints/run.json"

    @property
    def train_metrics(self) -> Path:
        """``train``: final metrics, a DVC metric."""
        return self.root / "metrics/train.json"

    @property
    def history(self) -> Path:
        """``train``: a row per validation (CSV), a DVC plot."""
        return self.root / "plots/history.csv"

    @property
    def evaluate_metrics(self) -> Path:
        """``evaluate``: mean metrics per dataset and overall, a DVC metric."""
        return self.root / "metrics/evaluate.json"

    @property
    def images(self) -> Path:
        """``evaluate``: a row per image (CSV), a DVC plot."""
        return self.root / "plots/images.csv"

    @property
    def pictures(self) -> Path:
        """``evaluate``: before/after/error pictures and the histogram of the gain."""
        return self.root / "plots/pictures"

    @property
    def report(self) -> Path:
        """``evaluate``: figures, plots and pictures on one HTML page that loads nothing."""
        return self.root / "plots/report.html"

    @property
    def register_metrics(self) -> Path:
        """``register``: model name, version and run."""
        return self.root / "metrics/register.json"

    @property
    def best_params(self) -> Path:
        """``tune``: the params of the best trial, as overrides."""
        return self.root / "best_params.yaml"

    @property
    def trials(self) -> Path:
        """``tune``: a row per trial (CSV)."""
        return self.root / "trials.csv"

    @property
    def sweep(self) -> Path:
        """``tune``: plots of the sweep."""
        return self.root / "sweep"

    @property
    def ablation(self) -> Path:
        """``ablate``: a file per finished trial, the table and the plot. Not a DVC out, so a stopped ablation can resume."""
        return self.root / "ablation"

    @property
    def searched(self) -> Path:
        """``search``: the architecture that was found (genotype.json) and its weights, as a model folder."""
        return self.root / "architectures/searched"

    @property
    def runs(self) -> Path:
        """Ray's storage for running trainings. Not a DVC out, so a stopped run can resume."""
        return self.root / "runs"

    def profile(self, name: str) -> Path:
        """``profile`` and ``reference``: a folder with the files of the stages for a profile, apart from this project's."""
        return self.runs / name

    @property
    def journals(self) -> Path:
        """``evaluate`` and ``compare``: the images that are finished, so that a killed command goes on where it stopped."""
        return self.root / ".cache/measured"

    @property
    def served(self) -> Path:
        """``serve``: downloaded models, named by their content."""
        return self.root / ".cache/served"

    @property
    def manifests(self) -> Path:
        """Manifests of datasets whose shards stay in the bucket, named by DVC's digest."""
        return self.root / ".cache/manifests"

    @property
    def shard_cache(self) -> Path:
        """Shards from the bucket, unless the settings name another folder."""
        return self.root / ".cache/shards"
