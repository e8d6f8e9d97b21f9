"""Random trees of names, roles, suffixes and splits, made with the answer known, through all matching.

A tree may have lost files on either side. In each one no pair is wrong, all pairs that are there are found in their split, and
every other file is reported.
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmc.data.pairs import Fault
from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.datasets.matching import Match, match_files
from rdmc.errors import DataError


@pytest.fixture(autouse=True, scope="module")
def denormals() -> None:
    """Hypothesis needs the small floats that a training in the same process has turned off."""
    torch.set_flush_denormal(False)


SPLITS = {
    "train": ("train", "Train", "TRAIN", "train_set", "training", "trainset", "rain_data_train_Heavy", "GTRain_train"),
    "test": ("test", "Test100", "testing", "TESTdata", "rain_heavy_test", "test-1"),
    "validation": ("val", "validation", "GT-RAIN_val", "Valid", "val_set"),
}
ROLES = (
    *(("rain", "norain"), ("rainy", "clean"), ("input", "target"), ("in", "gt"), ("LQ", "HQ"), ("Rain", "rain-free")),
    *(("degraded", "label"), ("input", "GT"), ("rain", "no_rain"), ("inputs", "targets")),
)
"""Words for the rainy and the clean picture in names of files and folders."""
FOLDERS = (*ROLES, ("rainy_images", "clean_images"), ("rain images", "GT images"), ("rainy_image", "ground_truth"))
NEUTRAL = ("outdoor", "LightRain", "latest", "a b", "公园", "été", "Straße", "X2", "set1", "night.v2", "GTRain", "Rain100H")
"""Names of folders that say neither a role nor a split; the last two only look so."""
WORDS = (
    "park",
    "Street",
    "test",
    "park in london",
    "rainbow",
    "été",
    "公园",
    "Straße",
    "brain",
    "terrain",
    "london-eye",
    "x",
    "im",
    "drain",
    "Über",
    "カメラ",
    "ﬁeld",
)
GAPS = ("-", "_", " ", ".")
SUFFIXES = (".png", ".PNG", ".jpg", ".JPG", ".jpeg", ".jfif", ".bmp", ".Webp", ".tif", ".ppm")
FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
MORE = (("_1", "_2", "_3"), ("_s80_a04", "_s85_a04", "_s85_a06"), ("x2", "x3", "x4"), ("_heavy", "_light", "_mild"))
"""What the names of several rainy pictures of one clean picture end with."""


SHAPES = (
    *("split/part/role", "part/split/role", "split/role/part", "role/split/part", "part/role/split"),
    *("same", "clean above", "split_role", "rainy twice", "rainy below"),
)
"""Where the folders of a split, a part and a role are."""
Identity = tuple[str | int, ...]


@dataclass
class Tree:
    """Files below a root, and the pairs that they are."""

    files: list[str] = field(default_factory=list)
    pairs: set[tuple[str, str, str]] = field(default_factory=set)
    """Split, rainy and clean file."""
    sides: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Split and role of each file."""
    parts: Counter[str] = field(default_factory=Counter)
    """Parts of each split."""

    def add(self, file: str, split: str, role: str) -> str:
        self.files.append(file)
        self.sides[file] = split, role
        return file


@dataclass(frozen=True)
class Style:
    """How one side of a dataset names its pictures."""

    role: str
    place: str
    """Where the role's word is in the name: first, last, or before its last number."""
    gap: str
    digits: int
    glued: bool
    """Whether a number follows a word without a gap."""
    case: str
    suffixes: tuple[str, ...]
    form: Literal["NFC", "NFD"]

    def name(self, identity: Identity, more: str = "") -> str:
        stem, place = "", "last" if self.place == "middle" and isinstance(identity[-1], str) else self.place
        for part in identity:
            text = f"{part:0{self.digits}d}" if isinstance(part, int) else part
            if part is identity[-1] and place == "middle" and self.role:
                text = f"{self.role}{self.gap}{text}"
            stem += (self.gap if stem and not (self.glued and text[0].isdigit() and not stem[-1].isdigit()) else "") + text
        stem += f"_{more}" if more.startswith("x") and not stem[-1].isdigit() else more
        if self.role and place != "middle":
            stem = f"{self.role}{self.gap}{stem}" if place == "first" else f"{stem}{self.gap}{self.role}"
        stem = stem.upper() if self.case == "upper" else stem.lower() if self.case == "lower" else stem
        return unicodedata.normalize(self.form, stem) + self.suffixes[len(stem) % len(self.suffixes)]


@st.composite
def styles(draw: st.DrawFn, named: bool, many: bool) -> tuple[Style, Style]:
    """Styles of the rainy and the clean side. ``named``: the names of the files say which is which."""
    words = draw(st.sampled_from(ROLES)) if named else draw(st.sampled_from([*ROLES, *[("", "")] * 4]))
    words = words if named or draw(st.booleans()) else (words[0], "")
    place = draw(st.sampled_from(["first", "last"] if many or not words[1] else ["first", "last", "middle"]))
    glued = draw(st.booleans())
    sides = [
        Style(
            word,
            place,
            draw(st.sampled_from(GAPS)),
            draw(st.integers(1, 4)),
            glued,
            draw(st.sampled_from(["as it is", "as it is", "upper", "lower"])),
            tuple(draw(st.lists(st.sampled_from(SUFFIXES), min_size=1, max_size=2))),
            draw(st.sampled_from(FORMS)),
        )
        for word in words
    ]
    return sides[0], sides[1]


@st.composite
def identities(draw: st.DrawFn) -> list[Identity]:
    """Scenes of one kind: numbers, words with numbers, two numbers, or words. No name is the beginning of another.

    If it were, and its clean picture were lost, names alone could not tell; the pixels do (``rdmc.datasets.scenes``).
    """
    number = st.integers(0, 40) | st.integers(100, 10_000)
    word = st.sampled_from(WORDS)
    kind = draw(
        st.sampled_from([st.tuples(number), st.tuples(word, number), st.tuples(number, number), st.tuples(word, number, word)])
    )
    return draw(st.lists(kind, min_size=1, max_size=7, unique_by=lambda parts: str(parts).casefold()))


@st.composite
def places(draw: st.DrawFn, split: str, part: str) -> tuple[str, str, bool]:
    """Folders of the rainy and the clean pictures of a part, and whether the names of files must tell the role."""
    folder = draw(st.sampled_from(SPLITS[split]))
    rainy, clean = draw(st.sampled_from(FOLDERS))
    shape = draw(st.sampled_from(SHAPES))
    if shape == "same":
        return f"{folder}/{part}", f"{folder}/{part}", True
    if shape == "clean above":
        return f"{folder}/{part}/{rainy}", f"{folder}/{part}", True
    if shape == "split_role":
        return f"{part}/{split}_{rainy}", f"{part}/{split}_{clean}", False
    if shape == "rainy twice":
        return f"{folder}/{part}/input/{rainy}", f"{folder}/{part}/{clean}", False
    if shape == "rainy below":
        return f"{folder}/{part}/{rainy}/X2", f"{folder}/{part}/{clean}", False
    sides = [shape.replace("split", folder).replace("role", role).replace("part", part) for role in (rainy, clean)]
    if shape.endswith("part"):  # such folders exist on each side, perhaps copied by another system
        sides = [unicodedata.normalize(draw(st.sampled_from(FORMS)), side) for side in sides]
    return sides[0], sides[1], False


@st.composite
def trees(draw: st.DrawFn, splits: int = 3, parts: int = 2) -> Tree:
    """A dataset of up to so many splits with up to so many parts each."""
    tree, taken = Tree(), set[str]()
    for split in draw(st.lists(st.sampled_from([*SPLITS]), min_size=1, max_size=splits, unique=True)):
        for part in draw(st.lists(st.sampled_from(NEUTRAL), min_size=1, max_size=parts, unique=True)):
            rainy, clean, named = draw(places(split, part))
            if {rainy.casefold(), clean.casefold()} & taken:
                continue
            taken |= {rainy.casefold(), clean.casefold()}
            add_part(draw, tree, split, (rainy, clean), named)
    return tree


def add_part(draw: st.DrawFn, tree: Tree, split: str, folders: tuple[str, str], named: bool) -> None:
    """Add pictures of several scenes to a tree. Some files are lost."""
    tree.parts[split] += 1
    chance = draw(st.sampled_from([0.0, 0.0, 0.1, 0.4]))
    more = draw(st.sampled_from([("",), ("",), *MORE]))
    rainy, clean = draw(styles(named, len(more) > 1))
    in_folders = named and len(more) == 1 and draw(st.booleans())  # a folder for each scene
    for number, identity in enumerate(draw(identities())):
        halves = f"{folders[1]}/{clean.name(identity)}"
        wet = [f"{folders[0]}/{rainy.name(identity, end)}" for end in more[: draw(st.integers(1, len(more)))]]
        if in_folders:
            place = f"{folders[1]}/scene {number}"
            halves, wet = f"{place}/{clean.role}.png", [f"{place}/{rainy.role}.jpg"]
        lost = draw(st.sampled_from(["rainy", "clean"])) if draw(st.floats(0, 1)) < chance else ""
        if lost != "clean":
            tree.add(halves, split, "clean")
        for file in wet if lost != "rainy" else ():
            tree.add(file, split, "rainy")
            if lost != "clean":
                tree.pairs.add((split, file, halves))


def check(tree: Tree, matches: Sequence[Match], faults: Sequence[Fault], root: Path, complete: bool = True) -> None:
    """Compare what was found with what the tree is."""
    shown = [(m.split, m.rainy.relative_to(root).as_posix(), m.clean.relative_to(root).as_posix()) for m in matches]
    wrong, lost = set(shown) - tree.pairs, tree.pairs - set(shown)
    assert not wrong, f"wrong pairs\n{wrong}"
    assert not (complete and lost), f"lost pairs\n{lost}"
    assert len(shown) == len(set(shown))
    used = {file for _, *halves in shown for file in halves}
    reported = {Path(fault.file).relative_to(root).as_posix() for fault in faults}
    named = {file for file in tree.files if any(file in fault.reason for fault in faults)}
    silent = set(tree.files) - used - reported - named
    assert not silent, f"files lost in silence\n{silent}"
    assert not reported & used, f"files reported though used\n{reported & used}"
    assert len(reported) == len(faults), "files reported twice"
    assert len({(match.split, match.name) for match in matches}) == len(matches), "two pairs of one name"
    scenes = {(split, clean): match.scene for (split, _, clean), match in zip(shown, matches, strict=True)}
    assert len(scenes) == len(set(scenes.values())), "a scene for each clean picture"


def examine(tree: Tree) -> None:
    """Find the pairs of a tree on disk."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "copy")
        for name in tree.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        if not tree.pairs:  # prepare refuses these, or reports every file
            with suppress(DataError):
                found = find_pairs(root, Hints())
                assert not found.matches
            return
        found = find_pairs(root, Hints())
        check(tree, found.matches, found.faults, root)


def examine_globs(tree: Tree) -> None:
    """Match the rainy and the clean files of each split as two globs would give them.

    One way of reading names is used for all files of a split. So where two parts name theirs differently, the pairs of one may
    be reported instead of matched.
    """
    for split in sorted({split for split, _ in tree.sides.values()}):
        rainy, clean = (
            sorted(Path(file) for file, side in tree.sides.items() if side == (split, role)) for role in ("rainy", "clean")
        )
        pairs = {pair for pair in tree.pairs if pair[0] == split}
        if pairs:
            part = Tree([str(path) for path in (*rainy, *clean)], pairs)
            check(part, *match_files(split, rainy, clean), Path(), complete=tree.parts[split] == 1)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(trees())
def test_pairs_of_a_random_tree_are_found_and_all_losses_reported(tree: Tree) -> None:
    examine(tree)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(trees())
def test_pairs_of_globs_are_matched_and_all_losses_reported(tree: Tree) -> None:
    examine_globs(tree)


@pytest.mark.slow
@settings(max_examples=4000, deadline=None)
@given(trees(), st.booleans())
def test_pairs_of_thousands_of_random_trees(tree: Tree, globs: bool) -> None:
    (examine_globs if globs else examine)(tree)
