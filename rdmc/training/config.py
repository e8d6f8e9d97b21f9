"""The checked configs of a training, its loss and the architecture search.

The training itself is not imported here, so that a module which only reads params does not depend on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rdmc.errors import ConfigError

OPTIMISERS = ("adamw", "muon")
PRECISIONS = ("fp32", "bf16")
PIXEL = ("l1", "charbonnier", "mse", "psnr")
PRIORS = ("ratio", "infonce")
FEATURES = ("encoder", "vgg19")
VGG19_TAPS = (1, 3, 5, 9, 13)
"""The layers of VGG19 whose outputs are the levels of its feature space (published)."""
RECURSION = ("unrolled", "truncated")
UNITS = ("scene", "sample")


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. ``global_batch_size`` is the batch over all workers; the number of workers is a setting."""

    steps: int = 1000
    """Optimiser steps."""
    global_batch_size: int = 8
    """Crops per step, over all workers."""
    crop: int = 96
    """Height and width of a training crop in pixels."""
    crops_per_decode: int = 1
    """Crops cut from a pair, over some tens of steps, before another pair takes its place. Decoding falls by this factor."""
    shuffle_shards: int = 16
    """An epoch shuffles a dataset's shards, then the pairs within windows of this many shards: what a node needs at once."""
    weights: dict[str, float] = field(default_factory=dict)
    """How often a pair of a dataset is drawn, relative to pairs of other datasets, by dataset name; 1 if not named."""
    optimiser: str = "adamw"
    """adamw, or muon for the spatial convolutions and AdamW for everything else (docs/decisions/0015)."""
    lr: float = 1e-3
    """Peak learning rate, of both."""
    warmup_steps: int = 50
    """Steps of linear warm-up before the cosine decay to zero."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    clip_norm: float = 1.0
    """Gradients with a larger norm are scaled down to this norm."""
    ema_decay: float = 0.99
    """Decay of the averaged weights, which are validated and saved."""
    precision: str = "fp32"
    """fp32, or bf16 for autocast: faster on hardware that multiplies bf16 (GPUs, AVX512-BF16, AMX), slower elsewhere."""
    recompute: bool = False
    """Keep only the values between passes and recompute each pass for its gradients: less memory, more time."""
    validate_every: int = 100
    """Steps between validations; each saves a checkpoint."""

    def __post_init__(self) -> None:
        for name in ("steps", "global_batch_size", "crops_per_decode", "shuffle_shards", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}: {getattr(self, name)} is below 1; give a positive whole number")
        if self.crop < 16:
            raise ConfigError(f"train.crop: {self.crop} is below 16, the least the network and SSIM can use; raise it")
        _check_weights(self.weights)
        for name in ("lr", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"train.{name}: {getattr(self, name)} is not above 0; give a positive number")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"train.weight_decay: {self.weight_decay} is below 0; give 0 or more")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ConfigError(f"train.warmup_steps: {self.warmup_steps} is not within 0 to train.steps {self.steps}; lower it")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay: {self.ema_decay} is not within 0 to 1; give 0 to turn averaging off")
        self._require_known()

    def _require_known(self) -> None:
        for name, known in (("optimiser", OPTIMISERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"train.{name}: {getattr(self, name)!r} is not one of {', '.join(known)}; choose one of them")


@dataclass(frozen=True)
class LossConfig:
    """The loss and the weights of its terms. A term of weight 0 is left out and costs nothing."""

    pixel: str = "charbonnier"
    """Pixel distance: l1, charbonnier, mse or psnr. Its weight is 1."""
    ssim: float = 0.2
    """Weight of 1 - SSIM."""
    contrastive: float = 0.1
    """Weight of the contrastive prior."""
    prior: str = "ratio"
    """Form of the prior: ratio (of distances, as published) or infonce (patch against patch)."""
    features: str = "encoder"
    """Its feature space: encoder (the network's own, nothing to download) or vgg19 (trained on ImageNet, as published)."""
    levels: int = 3
    """Levels of the feature space, from the finest, that the prior uses."""
    temperature: float = 0.1
    """InfoNCE divides similarities by this: the lower, the more the hardest negatives count."""
    patches: int = 64
    """Patches of each image and level that InfoNCE compares; all of them if there are fewer."""
    projection: int = 32
    """Width of the head that projects the encoder's features for InfoNCE. VGG19's features are compared without a head."""
    vgg19_weights: str = ""
    """torchvision's VGG19 as .pth or .safetensors: an https:// URL, or an absolute path on every worker's machine."""
    vgg19_sha256: str = ""
    """SHA-256 (hex) of that file; required for a URL, optional for a path."""
    recursion: str = "unrolled"
    """How the recursive passes learn: unrolled (through all passes, as published) or truncated (each image through one pass,
    which starts from the result of a varying number of earlier ones; it costs little more than one pass)."""
    passes: float = 0.5
    """Weight of an earlier unrolled pass relative to the next one; 0 supervises only the last pass."""

    def __post_init__(self) -> None:
        if self.pixel not in PIXEL:
            raise ConfigError(f"loss.pixel: {self.pixel!r} is not one of {', '.join(PIXEL)}; choose one of them")
        if self.recursion not in RECURSION:
            raise ConfigError(f"loss.recursion: {self.recursion!r} is not one of {', '.join(RECURSION)}; choose one of them")
        for name in ("ssim", "contrastive", "passes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"loss.{name}: {getattr(self, name)} is not a weight; give a number of 0 or more")
        if self.prior not in PRIORS:
            raise ConfigError(f"loss.prior: {self.prior!r} is not one of {', '.join(PRIORS)}; choose one of them")
        for name in ("levels", "patches", "projection"):
            if getattr(self, name) < 1:
                raise ConfigError(f"loss.{name}: {getattr(self, name)} is below 1; give a positive whole number")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"loss.temperature: {self.temperature} is not above 0; give a positive number")
        self._require_features()

    def _require_features(self) -> None:
        if self.features not in FEATURES:
            raise ConfigError(f"loss.features: {self.features!r} is not one of {', '.join(FEATURES)}; choose one of them")
        if self.vgg19_sha256 and not re.fullmatch("[0-9a-f]{64}", self.vgg19_sha256):
            raise ConfigError(
                f"loss.vgg19_sha256: {self.vgg19_sha256!r} is not 64 digits 0-9, a-f; give the output of `sha256sum`"
            )
        if self.features != "vgg19":
            return
        if not self.vgg19_weights:
            raise ConfigError("loss.vgg19_weights: '' and loss.features is vgg19; name a file or URL, or choose encoder")
        remote = self.vgg19_weights.startswith("https://")
        if not remote and not self.vgg19_weights.startswith(("/", "~/")):  # each worker runs in its own folder
            raise ConfigError(
                f"loss.vgg19_weights: {self.vgg19_weights!r} is neither an absolute path nor an https:// URL; give one"
            )
        if remote and not self.vgg19_sha256:
            raise ConfigError(
                "loss.vgg19_sha256: '' and the weights come from a URL; give the output of `sha256sum` for that file"
            )

    @property
    def needs_vgg19(self) -> bool:
        """Whether the loss uses VGG19."""
        return self.features == "vgg19" and self.contrastive > 0

    @property
    def described(self) -> str:
        """The loss in one line, as a run prints it."""
        if not self.contrastive:
            return f"loss {self.pixel}, no contrastive prior"
        space = "VGG19" if self.needs_vgg19 else "the network's own encoder"
        return f"loss {self.pixel}, contrastive prior {self.prior} over {self.levels} levels of {space}"

    def require_levels(self, taps: int) -> None:
        """Raise ConfigError if the prior uses more levels than VGG19 has, or than the network has (``taps``)."""
        owner, most = ("VGG19", len(VGG19_TAPS)) if self.features == "vgg19" else ("the network", taps)
        if self.contrastive and self.levels > most:
            raise ConfigError(f"loss.levels: {self.levels} exceeds the {most} levels that {owner} has; lower it")


@dataclass(frozen=True)
class SearchConfig:
    """The architecture search. The weights follow the recipe of ``train``, over the number of steps given here."""

    steps: int = 600
    """Steps; each is one step of the architecture and one of the weights."""
    lr: float = 3e-4
    """Learning rate of the architecture's Adam, the same at every step (published: 3e-4)."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of Adam's two moments (published: 0.5, 0.999)."""
    weight_decay: float = 1e-3
    """L2 penalty on the architecture parameters (published: 1e-3)."""
    keep: int = 4
    """How many connections, the strongest, stay after the search."""
    held_out: float = 0.5
    """Share of the training scenes (or samples) whose pairs train the architecture. The others train the weights."""
    by: str = "scene"
    """What is held out: a scene with all its pairs, or a sample, whether or not other pairs show the same scene."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"search.steps: {self.steps} is below 1; give a positive whole number")
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"search.lr: {self.lr} is not above 0; give a positive number")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"search.betas: {list(self.betas)} are not both within 0 to 1; give two such numbers")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"search.weight_decay: {self.weight_decay} is below 0; give 0 or more")
        if self.keep < 0:
            raise ConfigError(f"search.keep: {self.keep} is below 0; give how many connections stay")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"search.held_out: {self.held_out} is not between 0 and 1; give the share that is held out")
        if self.by not in UNITS:
            raise ConfigError(f"search.by: {self.by!r} is not one of {', '.join(UNITS)}; choose one of them")


def _check_weights(weights: Mapping[str, float]) -> None:
    for dataset, weight in weights.items():
        if not 1e-6 <= weight <= 1e6:
            raise ConfigError(f"train.weights.{dataset}: {weight} is not within 1e-6 to 1e6; give a number near 1")
