"""The reference model: weights inside the package, so that an image can be derained without a training.

``weights/reference.safetensors`` holds the weights in float16. ``weights/reference.json`` is its card: the format version, the
network's config, the SHA-256 of the weights, what it was trained from, and its figures. ``python -m pipeline reference``
trains the model and writes both files. docs/reference.md describes it.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rdmc.checkpoint import restored
from rdmc.errors import CheckpointError, ConfigError, one_line
from rdmc.files import write_bytes
from rdmc.models.base import Restorer
from rdmc.models.factory import NetworkConfig, config_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 1
"""The format version of the card. A card of another version is refused."""
FOLDER = Path(__file__).with_name("weights")
WEIGHTS, CARD = "reference.safetensors", "reference.json"
LARGEST = 3_000_000
"""Most bytes that the weights may have, because every clone and package carries them."""
CURE = "restore it with `git checkout rdmc/weights`, install the package again, or make it with `make reference`"


@dataclass(frozen=True)
class ReferenceFigures:
    """Figures over test images. PSNR-Y is in dB, SSIM-Y from -1 to 1 (``rdmc.metrics``)."""

    images: int
    rainy_psnr_y: float
    """Mean over the images, as are the next three."""
    rainy_ssim_y: float
    derained_psnr_y: float
    derained_ssim_y: float
    worst_gain_psnr_y: float
    """Smallest PSNR-Y of a derained image minus that of the rainy one, dB; negative if an image came out worse."""
    clean_psnr_y: float
    """Lowest PSNR-Y of a clean test image after it went through the network, dB: what an image without rain keeps."""


@dataclass(frozen=True)
class ReferenceTraining:
    """How the model was trained."""

    seed: int
    steps: int
    """Optimiser steps of the training."""
    best_step: int
    """The step whose averaged weights were best on the validation images; these are the model."""
    datasets: Mapping[str, Any]
    """The datasets by name, as ``datasets`` in params.yaml."""
    params: Mapping[str, Any]
    """The other params of the training by dotted name, such as ``train.lr``."""


@dataclass(frozen=True)
class ReferenceFacts:
    """What is known of the model besides its weights."""

    data: Mapping[str, str]
    """Dataset -> SHA-256 of its manifest."""
    code: str
    """SHA-256 of the code that trained it (``pipeline.versioning.lineage.code_digest``)."""
    training: ReferenceTraining
    figures: Mapping[str, ReferenceFigures]
    """Figures by dataset, and over all test images as ``overall``, measured with the float16 weights."""


@dataclass(frozen=True)
class ReferenceCard:
    """The card of a reference model."""

    network: NetworkConfig
    sha256: str
    """SHA-256 (hex) of the weights' file."""
    facts: ReferenceFacts

    @property
    def version(self) -> str:
        """The first twelve digits of the weights' SHA-256. The model has no other version."""
        return self.sha256[:12]


def reference_card(folder: Path = FOLDER) -> ReferenceCard:
    """Return the card of the reference model, without its weights.

    Raises CheckpointError if the card is missing, damaged, of another format version, or names a network that this code cannot
    build.
    """
    path = folder / CARD
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or not a finite number
        raise CheckpointError(f"{path}: {one_line(error)}; {CURE}") from None
    version = data.get("format") if isinstance(data, dict) else None
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(f"{path}: format {version!r} is not {FORMAT}, which this code reads; {CURE}")
    try:
        return _card(data)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a card of format {FORMAT} ({one_line(error)}); {CURE}") from None


def load_reference(folder: Path = FOLDER) -> Restorer:
    """Return the reference model: float32 weights on the CPU, in evaluation mode.

    It takes and returns images of (N, 3, height, width), float32, RGB, 0 to 1, of any height and width; the output is not
    clamped. ``rdmc.derain_image`` applies it to a uint8 image.

    Raises CheckpointError if one of the two files is missing or damaged, if they do not belong together, or if this code
    cannot build the network. Nothing is returned then.
    """
    card, path = reference_card(folder), folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {one_line(error)}; {CURE}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.sha256:
        raise CheckpointError(f"{path}: has SHA-256 {digest[:12]}…, {CARD} names {card.sha256[:12]}…; {CURE}")
    try:
        return restored(card.network, load(data), path, CURE)
    except (SafetensorError, TypeError, ValueError, RuntimeError) as error:  # all but the first: odd numbers in the config
        raise CheckpointError(f"{path}: {one_line(error)}; {CURE}") from None


def as_stored(network: Restorer) -> Restorer:
    """Return a copy of ``network`` with its weights rounded as the reference model's are, in evaluation mode on the CPU.

    Raises CheckpointError if a weight is not finite in float16.
    """
    return restored(network.config, _halved(network), Path(WEIGHTS), CURE)


def write_reference(folder: Path, network: Restorer, facts: ReferenceFacts) -> ReferenceCard:
    """Write ``network`` as the reference model into ``folder`` and return its card.

    Both files are written elsewhere first and read back. Then each replaces its predecessor by a rename. Raises
    CheckpointError, and writes nothing, if a weight is not finite in float16 or the weights take more than ``LARGEST`` bytes.
    """
    data = save(_halved(network))
    if len(data) > LARGEST:
        raise CheckpointError(
            f"{folder / WEIGHTS}: {len(data):,} bytes exceed {LARGEST:,}, the most for weights in the package; "
            "train a smaller network (profiles/reference.yaml)"
        )
    digest = hashlib.sha256(data).hexdigest()
    content = {"format": FORMAT, "sha256": digest, "network": asdict(network.config), **asdict(facts)}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), data, text)
        load_reference(Path(name))
        card = reference_card(Path(name))
    _write(folder, data, text)
    return card


def _write(folder: Path, weights: bytes, card: str) -> None:
    write_bytes(folder / WEIGHTS, weights)
    write_bytes(folder / CARD, card.encode())


def _halved(network: Restorer) -> dict[str, Tensor]:
    """The network's tensors on the CPU, floats in float16. Raises CheckpointError if one is not finite."""
    halved: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        halved[name] = (plain.half() if plain.is_floating_point() else plain).clone()
        if not bool(torch.isfinite(halved[name]).all()):
            raise CheckpointError(
                f"{name}: holds numbers that are not finite in float16, as the reference stores it; train again"
            )
    return halved


def _card(data: dict[str, Any]) -> ReferenceCard:
    """The card in plain data. Raises KeyError, TypeError, ValueError or ConfigError for anything else."""
    rest = {name: value for name, value in data.items() if name not in ("format", "sha256", "network")}
    facts = _made(ReferenceFacts, rest, training=_training, figures=_all_figures)
    sha256 = data["sha256"]
    if not isinstance(sha256, str) or len(sha256) != 64:
        raise ValueError(f"sha256: {sha256!r} is not a SHA-256 digest")
    return ReferenceCard(config_of(data["network"]), sha256, facts)


def _training(data: Any) -> ReferenceTraining:
    return _made(ReferenceTraining, data)


def _all_figures(data: Any) -> dict[str, ReferenceFigures]:
    if not isinstance(data, dict) or "overall" not in data:
        raise ValueError("figures: has no overall")
    return {str(name): _made(ReferenceFigures, group) for name, group in data.items()}


Made = TypeVar("Made", bound="DataclassInstance")
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "Mapping": (dict,)}
"""The types of a JSON value for each type of a field."""


def _made(cls: type[Made], data: Any, **inner: Callable[[Any], Any]) -> Made:
    """A dataclass from plain data with exactly its fields; ``inner`` makes the fields that are not plain values."""
    wanted = {field.name: str(field.type).partition("[")[0] for field in fields(cls)}
    if not isinstance(data, dict) or data.keys() != wanted.keys():
        raise ValueError(f"{cls.__name__} has exactly the keys {', '.join(wanted)}")
    for name, kind in wanted.items():
        value = data[name]
        if name not in inner and (isinstance(value, bool) or not isinstance(value, KINDS[kind])):
            raise ValueError(f"{name}: {value!r} is not of type {kind}")
        if kind == "float" and not math.isfinite(value):  # such as 1e999
            raise ValueError(f"{name}: {value!r} is not finite")
    return cls(**{name: inner[name](value) if name in inner else value for name, value in data.items()})


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")
