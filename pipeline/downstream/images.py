"""The images on which others' networks are tried: pairs, or real photographs without a clean image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.comparison.sets import PairSet, pair_sets, set_name
from pipeline.config.params import Params
from pipeline.config.project import Project
from rdmc.data.images import Image, read_rgb
from rdmc.data.pairs import Fault
from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.errors import DataError
from rdmc.files import pictures


@dataclass(frozen=True)
class RainScene:
    """An image with rain, and the same scene without it if that is known."""

    name: str
    """Without a suffix, unless other files have the same; then with its folders and suffix."""
    rainy: Image
    clean: Image | None = None


@dataclass(frozen=True)
class CaseSet:
    """The images of one dataset or folder."""

    name: str
    pairs: PairSet | None = None
    names: Mapping[Path, str] = field(default_factory=dict)
    """Of photographs without clean images: each file's name. Used where there are no pairs."""

    def __len__(self) -> int:
        return len(self.pairs.pairs) if self.pairs else len(self.names)

    def faults(self) -> list[Fault]:
        """What was set aside when the pairs were found."""
        return list(self.pairs.faults) if self.pairs else []

    def cases(self, faults: list[Fault]) -> Iterator[RainScene]:
        """Read the images one after the other. A photograph that cannot be read is added to ``faults``."""
        if self.pairs:
            for index, (key, _) in enumerate(self.pairs.pairs.labels()):
                pair = self.pairs.pairs[index]
                yield RainScene(key.partition("/")[2], pair.rainy, pair.clean)
        for path in self.names:
            try:
                yield RainScene(self.names[path], read_rgb(path, convert=True))
            except DataError as error:
                faults.append(Fault(str(path), str(error).removeprefix(f"{path}: ")))


def case_sets(names: Sequence[str], project: Project[Params] | None) -> list[CaseSet]:
    """Open what a user names: datasets of params.yaml, folders of pairs, and folders of photographs without a clean image.

    Each gets a name of its own, by which its figures and pictures are told from those of the others.

    Raises ConfigError for a name that is none of these, DataError for one without pictures.
    """
    found: list[CaseSet] = []
    known = project.params.datasets if project else {}
    for name in dict.fromkeys(names):
        if name not in known and Path(name).is_dir() and not find_pairs(Path(name), Hints(split="test")).matches:
            found.append(_photographs(Path(name), {*known, *(one.name for one in found)}))
        else:
            (pairs,) = pair_sets([name], project, {one.name for one in found})
            found.append(CaseSet(pairs.name, pairs))
    return found


def _photographs(root: Path, taken: Collection[str]) -> CaseSet:
    paths = pictures(root)
    if not paths:
        raise DataError(f"{root}: no pictures; name a folder of pairs or of photographs")
    stems = Counter(path.stem for path in paths)
    names = {path: path.stem if stems[path.stem] == 1 else _long(path, root) for path in paths}
    return CaseSet(set_name(root, taken), names=names)


def _long(path: Path, root: Path) -> str:
    """A name that no other file below ``root`` has."""
    return path.relative_to(root).as_posix().replace("/", "-")
