"""Checked pairs on disk, written by ``prepare`` and read by ``pack``.

- ``{train,validation,test}/<name>.rainy.<ext>`` and ``<name>.clean.<ext>``: 8-bit RGB, ext png or jpg
- ``index.json``: every pair, with its name, scene, split, size, files and their SHA-256
- ``quarantine.json``: every file that was set aside and the reason; other findings of the checks
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from rdmc.data.images import Picture
from rdmc.errors import DataError
from rdmc.files import write_text

SPLITS = ("train", "validation", "test")
INDEX, QUARANTINE = "index.json", "quarantine.json"
MIN_SIDE = 16
"""Shortest side in pixels. A smaller picture is of no use for training."""
MAX_NAME = 60
"""Most characters of a pair's name. The oldest tar format allows 100 for a whole path."""


@dataclass(frozen=True)
class PairEntry:
    """A pair in the index. Paths of files are relative to the index's folder; height and width in pixels."""

    name: str
    scene: str
    split: str
    height: int
    width: int
    rainy: str
    clean: str
    sha256_rainy: str
    sha256_clean: str


@dataclass(frozen=True)
class Fault:
    """A file that was set aside and the rule that it breaks."""

    file: str
    reason: str
    kind: str = "unreadable"
    """unreadable, size, unmatched, duplicate, identical, misaligned, swapped, scene, turned, blank, channels or enlarged;
    converted for a file that is used."""


@dataclass(frozen=True)
class Findings:
    """Findings of the checks beside the faults."""

    warnings: Sequence[Fault] = ()
    """Pairs that were kept but should be looked at."""
    splits: Mapping[str, Mapping[str, float | int | None]] = field(default_factory=dict)
    """Figures by split: pairs that could be read, pairs kept, and the mean PSNR in dB of the rainy lumas of all read pairs."""
    layout: str = ""
    """The layout of the files, if it was detected and not configured."""
    said: Sequence[str] = ()
    """Which benchmark the counts and figures point to, in words."""
    converted: Sequence[Fault] = ()
    """Files of kept pairs that were not 8-bit RGB and were converted (`prepare.convert`), each with what it was."""


NONE = Findings()


def clean_name(text: str) -> str:
    """Return ``text`` as a pair's name: [a-z0-9_-]+, which is safe as a key in a WebDataset tar."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:MAX_NAME] or "pair"


def scene_name(split: str, identity: str) -> str:
    """Return a scene's name: its split, and ``identity`` in the letters of ``clean_name``.

    Names often start at 1 in every split, so the split belongs to it. If the letters cannot hold the whole identity, a part of
    its SHA-256 follows: 公园 and 河边 are two scenes.
    """
    shown = clean_name(identity)
    return f"{split}-{shown}" if shown == identity else f"{split}-{shown[:40]}-{sha256(identity.encode())[:10]}"


def write_pair(folder: Path, split: str, name: str, scene: str, rainy: Picture, clean: Picture) -> PairEntry:
    """Write both pictures below ``folder`` and return their entry. Raises DataError if they cannot be a pair."""
    check_sizes(rainy, clean)
    height, width = rainy.pixels.shape[:2]
    files = {"rainy": f"{split}/{name}.rainy.{rainy.extension}", "clean": f"{split}/{name}.clean.{clean.extension}"}
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / files["rainy"]).write_bytes(rainy.data)
    (folder / files["clean"]).write_bytes(clean.data)
    digests = {"sha256_rainy": sha256(rainy.data), "sha256_clean": sha256(clean.data)}
    return PairEntry(name, scene, split, height, width, **files, **digests)


def check_sizes(rainy: Picture, clean: Picture) -> None:
    """Raise DataError if the sizes differ or are too small."""
    height, width = rainy.pixels.shape[:2]
    if clean.pixels.shape != rainy.pixels.shape:
        other = f"{clean.pixels.shape[1]}x{clean.pixels.shape[0]}"
        raise DataError(f"rainy is {width}x{height} and clean {other}, the rule is one size; crop or remove one of them")
    if min(height, width) < MIN_SIDE:
        raise DataError(f"{width}x{height} is smaller than {MIN_SIDE} pixels a side; remove it or give a larger one")


def remove_pair(folder: Path, entry: PairEntry) -> None:
    """Remove the files of a written pair."""
    (folder / entry.rainy).unlink()
    (folder / entry.clean).unlink()


def move_pair(folder: Path, entry: PairEntry, split: str) -> PairEntry:
    """Move a written pair to another split and return its new entry."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    moved = replace(entry, split=split, rainy=f"{split}/{Path(entry.rainy).name}", clean=f"{split}/{Path(entry.clean).name}")
    (folder / entry.rainy).rename(folder / moved.rainy)
    (folder / entry.clean).rename(folder / moved.clean)
    return moved


def validation_scenes(scenes: Iterable[str], share: float, seed: int) -> set[str]:
    """Return the ``share`` of ``scenes`` held out from training (at least one if there are two), fixed by ``seed``."""
    shuffled = sorted(set(scenes), key=lambda scene: sha256(f"{seed}/{scene}".encode()))
    if share == 0 or len(shuffled) < 2:
        return set()
    return set(shuffled[: min(max(round(share * len(shuffled)), 1), len(shuffled) - 1)])


def write_index(
    folder: Path, dataset: str, entries: Iterable[PairEntry], examined: int, faults: Iterable[Fault], found: Findings = NONE
) -> None:
    """Write index.json and quarantine.json. ``examined`` counts all pairs that were checked, good and bad."""
    pairs = sorted(entries, key=lambda entry: (entry.split, entry.name))
    _write_json(folder / INDEX, {"dataset": dataset, "pairs": [asdict(entry) for entry in pairs]})
    write_quarantine(folder / QUARANTINE, examined, faults, found)


def write_quarantine(path: Path, examined: int, faults: Iterable[Fault], found: Findings = NONE) -> None:
    """Write the report: what was set aside of all pairs ``examined``, and the other findings of the checks."""
    _write_json(path, {"examined": examined, "quarantined": [asdict(fault) for fault in faults], **asdict(found)})


def read_index(folder: Path) -> list[PairEntry]:
    """Return the pairs of ``folder``, sorted by split and name. Raises DataError if the index is missing or damaged."""
    path = folder / INDEX
    try:
        found = json.loads(path.read_text())
        entries = [PairEntry(**{field.name: pair[field.name] for field in fields(PairEntry)}) for pair in found["pairs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
        raise DataError(f"{path}: {what}; run `dvc repro prepare`") from None
    return sorted(entries, key=lambda entry: (entry.split, entry.name))


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def _write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")
