"""Read the names of files and folders: words, numbers, roles (rainy or clean) and splits.

Names are compared as words and numbers: ``Rain-001`` and ``rain_1`` are equal, and so are two Unicode forms of one name. Roles
and splits are whole words, so ``GTRain`` and ``latest`` name no split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence, Set

Word = str | int
Key = tuple[Word, ...]

GLUE = "+"
"""Stands between letters and digits without a separator: ``park2`` is not ``park``, ``park_2`` may be."""
TOKEN = re.compile(r"\d+|[^\d\s\-_.,;()\[\]{}+~#@!&=…]+")
PHRASES = (
    (re.compile(r"(?<![^\W_])(no[-_ ]?rain|rain[-_ ]?free|without[-_ ]?rain)(?![^\W\d_])"), "norain"),
    (re.compile(r"ground[-_ ]?truths?"), "gt"),
)
"""Roles of two words, and the word for each."""
RAINY_WORDS = frozenset(["rain", "rainy", "in", "input", "inputs", "lq", "degraded"])
CLEAN_WORDS = frozenset(["norain", "clean", "gt", "target", "targets", "label", "labels", "hq"])
ROLES = RAINY_WORDS | CLEAN_WORDS
"""Words that tell whether a picture is the rainy or the clean one."""
ANYWHERE = ROLES | {"rd", "r", "c"}
"""Words that are also left out in the middle of a name."""
PLAIN = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pic",
        "pics",
        "photo",
        "photos",
        "frame",
        "frames",
        "patch",
        "patches",
        "crop",
        "crops",
        "set",
        "data",
        "folder",
        "files",
        "png",
        "jpg",
        "small",
        "full",
    ]
)
"""Words in the name of a folder that say nothing about its role."""
LAYER = re.compile(r"^rain[-_ ]?(streak|region)s?[-_ ]?\d", re.IGNORECASE)
"""Files with the rain itself, in old copies."""
CAMEL = (
    re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+"),  # GTRain: GT, Rain
    re.compile(r"[A-Z]+|[a-z]+|[A-Z][a-z]+"),  # TESTdata: TEST, data
)
GT_RAIN = re.compile(r"(?<![a-z])gt(?=rain)", re.IGNORECASE)
SPLIT_WORDS = {
    word: split
    for split, stems in (("train", ("train", "training")), ("test", ("test", "testing")), ("validation", ("val", "validation")))
    for stem in stems
    for word in (stem, f"{stem}set", f"{stem}data")
} | {"valid": "validation", "raintrainl": "train", "raintrainh": "train", "raintestl": "test", "raintesth": "test"}
"""The split that a whole word names."""


def words(text: str) -> Key:
    """Return the words and numbers of a name, in lower case, with ``GLUE`` between a word and a number that touch."""
    text = _folded(text)
    found: list[Word] = []
    end = -1
    for token in TOKEN.finditer(text):
        value: Word = int(token[0]) if token[0].isdigit() and len(token[0]) <= 100 else token[0]
        if isinstance(value, int) and token.start() == end and found and isinstance(found[-1], str):
            found.append(GLUE)
        found.append(value)
        end = token.end()
    return tuple(found)


def split_of(name: str) -> str:
    """Return the split that a folder or a list names by a whole word: train, validation or test; empty if none or several."""
    if _folded(name) == "rain12600":
        return "train"
    name = GT_RAIN.sub("gt ", unicodedata.normalize("NFKC", name))
    tokens = {word.lower() for way in CAMEL for word in way.findall(name)} | {str(word) for word in words(name)}
    found = {SPLIT_WORDS[token] for token in tokens if token in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else ""


def plain_role(name: str) -> str:
    """Return rainy or clean if a folder's name says this and nothing else, as ``rainy_images`` does; else empty.

    Such a name decides even over the names of the files in the folder.
    """
    return role_of(set(words(name)) - {"image", "images"})


def folder_role(name: str) -> str:
    """Return rainy or clean if all words of a folder's name say so, apart from a split and words such as images; else empty."""
    return role_of({word for word in words(name) if word not in SPLIT_WORDS and word not in PLAIN})


def of_folder(name: str) -> Key:
    """Return the words of a folder's name without its role: ``s1_in`` gives s1, ``test_rainy_images`` gives test."""
    key = words(name)
    return tuple(word for word in key if word not in ROLES and word not in PLAIN) if folder_role(name) else _stripped(key)


def role_of(roles: Set[Word]) -> str:
    """Return rainy or clean if all words say so; else, and for no words, empty."""
    return "clean" if roles and roles <= CLEAN_WORDS else "rainy" if roles and roles <= RAINY_WORDS else ""


def file_role(stem: str) -> str:
    """Return layer, rainy or clean, by the word at the end of a name, before its last number, or at its beginning."""
    if LAYER.search(stem):
        return "layer"
    key = tuple(word for word in words(stem) if word != GLUE)
    if len(key) > 2 and isinstance(key[-1], int) and key[-2] in ("r", "c"):
        return "rainy" if key[-2] == "r" else "clean"
    for word in (*key[-1:], *(key[-2:-1] if key and isinstance(key[-1], int) else ()), *key[:1]):
        if word in ROLES:
            return "clean" if word in CLEAN_WORDS else "rainy"
    return ""


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    for pattern, word in PHRASES:
        text = pattern.sub(word, text)
    return text


Keys = Callable[[Sequence[str]], list[Key | None]]
"""A function from the names of one side, without extension, to what is compared; None for a name that cannot be compared."""


def exact(stems: Sequence[str]) -> list[Key | None]:
    """Return the names as they are, in one Unicode form."""
    return [(unicodedata.normalize("NFC", stem),) for stem in stems]


def as_words(stems: Sequence[str]) -> list[Key | None]:
    """Return the words and numbers of each name."""
    return [words(stem) for stem in stems]


def without_ends(stems: Sequence[str]) -> list[Key | None]:
    """Return the words without the roles at either end: ``rain-1``, ``norain-001`` and ``1_GT`` give 1."""
    return [_stripped(words(stem)) for stem in stems]


def without_common(stems: Sequence[str]) -> list[Key | None]:
    """Return ``without_ends``, also without the words that all names of this side begin or end with."""
    keys = [_stripped(words(stem)) for stem in stems]
    if len(set(keys)) < 2:
        return list(keys)
    first = _shared([key[:-1] for key in keys])
    last = _shared([key[:first:-1] for key in keys])
    return [_stripped(key[first : len(key) - last]) for key in keys]


def without_roles(stems: Sequence[str]) -> list[Key | None]:
    """Return the words without roles at any place: ``pie-rd-rain-5`` and ``pie-norain-5`` give pie 5."""
    return [tuple(word for word in words(stem) if word not in ANYWHERE) for stem in stems]


def of_video(stems: Sequence[str]) -> list[Key | None]:
    """Return what stands before R or C and a frame's number: ``X-R-007`` and ``X-C-000`` give X.

    Other roles do not count: the numbers of ``X-rain-7`` and ``X-norain-8`` are scenes, not frames.
    """
    found: list[Key | None] = []
    for key in map(words, stems):
        numbered = len(key) > 2 and isinstance(key[-1], int) and key[-2] in ("r", "c")
        found.append(tuple(word for word in key[:-2] if word not in ANYWHERE) if numbered else None)
    return found


def _stripped(key: Key) -> Key:
    """Return the key without the roles at either end."""
    start, end = 0, len(key)
    while start < end and (key[start] in ROLES or key[start] == GLUE):
        start += 1
    while end > start and (key[end - 1] in ROLES or key[end - 1] == GLUE):
        end -= 1
    return key[start:end]


def _shared(keys: Sequence[Key]) -> int:
    """Return how many leading words all keys share. A number ends them, because it tells pictures apart."""
    count = 0
    for column in zip(*keys, strict=False):
        if len(set(column)) > 1 or not isinstance(column[0], str):
            break
        count += 1
    return count
