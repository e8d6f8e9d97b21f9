"""The images on which others' networks are tried: pairs, or real photographs without a clean image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.comparison.sets import PairSet, pair_sets
from pipeline.config.params import Params
from pipeline.config.project import Project
from rdmc.data.images import Image, read_rgb
from rdmc.data.pairs import Fault
from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.errors import DataError
from rdmc.files import PICTURES


@dataclass(frozen=True)
class RainScene:
    """An image with rain, and the same scene without it if that is known."""

    name: str
    """Without a suffix."""
    rainy: Image
    clean: Image | None = None


@dataclass(frozen=True)
class CaseSet:
    """The images of one dataset or folder."""

    name: str
    pairs: PairSet | None = None
    photographs: Sequence[Path] = ()
    """Without clean images; used where there are no pairs."""

    def __len__(self) -> int:
        return len(self.pairs.pairs) if self.pairs else len(self.photographs)

    def faults(self) -> list[Fault]:
        """What was set aside when the pairs were found."""
        return list(self.pairs.faults) if self.pairs else []

    def cases(self, faults: list[Fault]) -> Iterator[RainScene]:
        """Read the images one after the other. A photograph that cannot be read is added to ``faults``."""
        if self.pairs:
            for index, (key, _) in enumerate(self.pairs.pairs.labels()):
                pair = self.pairs.pairs[index]
                yield RainScene(key.partition("/")[2], pair.rainy, pair.clean)
        for path in self.photographs:
            try:
                yield RainScene(path.stem, read_rgb(path, convert=True))
            except DataError as error:
                faults.append(Fault(str(path), str(error).removeprefix(f"{path}: ")))


def case_sets(names: Sequence[str], project: Project[Params] | None) -> list[CaseSet]:
    """Open what a user names: datasets of params.yaml, folders of pairs, and folders of photographs without a clean image.

    Raises ConfigError for a name that is none of these, DataError for one without pictures.
    """
    found: list[CaseSet] = []
    for name in dict.fromkeys(names):
        packed = project is not None and name in project.params.datasets
        if not packed and Path(name).is_dir() and not find_pairs(Path(name), Hints(split="test")).matches:
            found.append(_photographs(Path(name)))
        else:
            (pairs,) = pair_sets([name], project)
            found.append(CaseSet(pairs.name, pairs))
    return found


def _photographs(root: Path) -> CaseSet:
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not paths:
        raise DataError(f"{root}: no pictures; name a folder of pairs or of photographs")
    return CaseSet(root.resolve().name, photographs=paths)
