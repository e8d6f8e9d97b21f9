"""WebDataset shards and the manifest that describes them: the data contract of training.

A shard is a plain tar that any ``webdataset`` reads, with ``<key>.rainy.npy.zst``, ``<key>.clean.npy.zst`` and ``<key>.json``
for every pair (or .png, .jpg or .npy: ``Pixels``). The same pairs always give the same bytes. manifest.json holds each shard's
size, count, md5 (by which DVC's remote stores it) and sha256, and the position of each member's bytes, so that any pair can be
read alone.
"""

from __future__ import annotations

import gc
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rdmc.data.images import decode, encode_raw, encode_zstd
from rdmc.data.journal import PieceJournal, digest_of
from rdmc.data.pairs import PairEntry, sha256
from rdmc.errors import DataError, one_line
from rdmc.files import file_digest, write_text

MANIFEST = "manifest.json"
VERSION = 1
AGAIN = "run `dvc repro pack`"
RAW, ZSTD = "npy", "npy.zst"
"""Extensions of members that hold decoded pixels: numpy's file format, as it is and as a Zstandard frame."""
LOSSY = "jpg"
"""Extension of files whose pixels are several times as large in any lossless form."""
Pixels = Literal["original", "zstd", "raw"]
"""How shards hold images: the files' own bytes, their pixels under Zstandard (but JPEG files as they are), or bare pixels."""


class Sample(NamedTuple):
    """A pair in a shard; height and width in pixels. There may be millions; a named tuple is made in a tenth of the time."""

    key: str
    scene: str
    height: int
    width: int
    members: Mapping[str, tuple[int, int]]
    """Extension (``rainy.png``) -> offset and size of the member's bytes in the tar."""


@dataclass(frozen=True)
class Shard:
    """One tar; size in bytes."""

    name: str
    split: str
    size: int
    count: int
    md5: str
    sha256: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Manifest:
    """All shards of a dataset."""

    dataset: str
    shards: tuple[Shard, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Pairs that were left out, as split/name, with the reason."""

    def samples(self, split: str) -> list[tuple[Shard, Sample]]:
        """Return the pairs of a split, in the order of the shards."""
        return [(shard, sample) for shard in self.shards if shard.split == split for sample in shard.samples]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over everything in the manifest. Two datasets with the same digest hold the same bytes."""
        return sha256(json.dumps(_plain(self), sort_keys=True, separators=(",", ":")).encode())


def write_shards(
    entries: Iterable[PairEntry],
    pairs: Path,
    folder: Path,
    dataset: str,
    shard_bytes: int,
    excluded: Mapping[str, str] | None = None,
    pixels: Pixels = "original",
    track: Callable[[Iterable[Shard], int], Iterable[Shard]] = lambda made, count: made,
    journal: PieceJournal | None = None,
) -> Manifest:
    """Pack the ``entries`` of an index, whose files are below ``pairs``, into ``folder``. Write and return the manifest.

    Shards are written by threads, one per core; decoding and compressing release Python's lock. ``track`` may show the
    progress: it gets the shards as they are finished, in order, and their number, and yields them. With the ``journal``
    of a folder in which a killed process was at work, finished shards stay, if their pairs and their bytes are the same.

    A shard is closed once its files have ``shard_bytes``, or its bare pixels if it holds them. Pairs ``excluded``, as
    split/name, are recorded with the reason.

    Raises DataError if a file differs from the index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = list(_groups(sorted(entries, key=lambda e: (e.split, e.name)), pairs, shard_bytes, pixels))

    def write(split: str, number: int, group: list[PairEntry]) -> Shard:
        path = folder / f"{split}-{number:05d}.tar"
        return _finished(path, group, known.get(path.name)) or _write_shard(path, split, group, pairs, pixels)

    known = {row["name"]: row for row in journal.rows.values()} if journal else {}
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        made = pool.map(write, *zip(*groups, strict=True)) if groups else iter(())
        shards = tuple(track(_noted(made, [group for *_, group in groups], journal), len(groups)))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, nothing more is begun
    manifest = Manifest(dataset, shards, dict(excluded or {}))
    write_manifest(folder / MANIFEST, manifest)
    return manifest


def _noted(made: Iterable[Shard], groups: list[list[PairEntry]], journal: PieceJournal | None) -> Iterator[Shard]:
    """Yield the shards, and write each into the journal first."""
    for number, (shard, group) in enumerate(zip(made, groups, strict=True)):
        if journal:
            journal.add(
                number, {"name": shard.name, "pairs": digest_of([asdict(one) for one in group]), "shard": _plain_shard(shard)}
            )
            del journal.rows[number]  # the manifest holds it
        yield shard


def _finished(path: Path, group: list[PairEntry], row: Mapping[str, Any] | None) -> Shard | None:
    """The shard that a killed process has finished, if it holds these pairs and its bytes are as they were; else None."""
    if not row or row["pairs"] != digest_of([asdict(one) for one in group]):
        return None
    shard = _shard(row["shard"])
    return shard if path.is_file() and file_digest(path) == shard.sha256 else None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest as ``read_manifest`` reads it."""
    write_text(path, json.dumps({"version": VERSION, **_plain(manifest)}, indent=1, sort_keys=True) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at ``path``. Raises DataError if it is missing, damaged or of another version."""
    try:
        with _uncollected():
            found = json.loads(path.read_text())
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']}, this program reads {VERSION}")
            shards = tuple(_shard(shard) for shard in found["shards"])
        manifest = Manifest(str(found["dataset"]), shards, dict(found.get("excluded", {})))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {one_line(error)}); {AGAIN}") from None
    return manifest


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python not look for garbage meanwhile: among millions of new objects, that is most of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def verify_shard(path: Path, shard: Shard) -> None:
    """Compare a whole shard with its manifest. Raises DataError if size or md5 differ."""
    check_size(path, shard)
    if (found := file_digest(path, "md5")) != shard.md5:
        raise DataError(f"{path}: md5 {found}, the manifest says {shard.md5}; {AGAIN}")


def check_size(path: Path, shard: Shard) -> None:
    """Compare a shard's size with its manifest, without reading it. Raises DataError."""
    size = path.stat().st_size if path.is_file() else None
    if size != shard.size:
        what = "no such file" if size is None else f"{size} bytes"
        raise DataError(f"{path}: {what}, the manifest says {shard.size} bytes; {AGAIN}")


def _groups(
    entries: Iterable[PairEntry], pairs: Path, shard_bytes: int, pixels: Pixels
) -> Iterator[tuple[str, int, list[PairEntry]]]:
    """Yield split, number and entries of each shard."""
    group: list[PairEntry] = []
    number = held = 0
    for entry in entries:
        if group and (entry.split != group[0].split or held >= shard_bytes):
            yield group[0].split, number, group
            number = number + 1 if entry.split == group[0].split else 0
            group, held = [], 0
        group.append(entry)
        held += _bytes_of(entry, pairs, pixels)
    if group:
        yield group[0].split, number, group


def _bytes_of(entry: PairEntry, pairs: Path, pixels: Pixels) -> int:
    if pixels == "raw":
        return 2 * 3 * entry.height * entry.width
    return sum((pairs / file).stat().st_size for file in (entry.rainy, entry.clean) if (pairs / file).is_file())


def _write_shard(path: Path, split: str, entries: list[PairEntry], pairs: Path, pixels: Pixels) -> Shard:
    from webdataset import TarWriter  # here, for readers of shards do without it

    with path.open("wb") as file, TarWriter(file, user="rdmc", group="rdmc", mode=0o644, mtime=0, encoder=False) as tar:
        for entry in entries:
            tar.write({"__key__": entry.name, **_members(entry, pairs, pixels)})
    places = member_places(path)
    samples = tuple(Sample(e.name, e.scene, e.height, e.width, places[e.name]) for e in entries)
    return Shard(path.name, split, path.stat().st_size, len(samples), file_digest(path, "md5"), file_digest(path), samples)


def _members(entry: PairEntry, pairs: Path, pixels: Pixels) -> dict[str, bytes]:
    facts = {"scene": entry.scene, "height": entry.height, "width": entry.width}
    found = {}
    for file, digest in ((entry.rainy, entry.sha256_rainy), (entry.clean, entry.sha256_clean)):
        role, kind = Path(file).name.removeprefix(f"{entry.name}.").split(".")
        data = _checked(pairs / file, digest)
        if pixels == "raw":
            kind, data = RAW, encode_raw(decode(data, str(pairs / file)))
        elif pixels == "zstd" and kind != LOSSY:
            kind, data = ZSTD, encode_zstd(decode(data, str(pairs / file)))
        found[f"{role}.{kind}"] = data
    return {**found, "json": json.dumps(facts, sort_keys=True).encode()}


def _checked(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}, the index lists it; run `dvc repro prepare`") from None
    if sha256(data) != digest:
        raise DataError(f"{path}: changed since it was prepared (sha256 differs from the index); run `dvc repro prepare`")
    return data


def member_places(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Return key -> extension -> (offset, size), read from the written tar."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, extension = member.name.split(".", 1)
            found.setdefault(key, {})[extension] = (member.offset_data, member.size)
    return found


def _plain(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as plain data for JSON. ``dataclasses.asdict`` copies every part and takes ten times as long."""
    shards = [_plain_shard(shard) for shard in manifest.shards]
    return {"dataset": manifest.dataset, "shards": shards, "excluded": dict(manifest.excluded)}


def _plain_shard(shard: Shard) -> dict[str, Any]:
    return {**vars(shard), "samples": [sample._asdict() for sample in shard.samples]}


def _shard(found: Mapping[str, Any]) -> Shard:
    """Return a checked shard of the manifest. Raises KeyError, TypeError or ValueError."""
    samples = tuple(_sample(sample, found["size"]) for sample in found["samples"])
    shard = Shard(**{**found, "samples": samples})
    if shard.count != len(samples):
        raise ValueError(f"{shard.name} lists {len(samples)} samples and counts {shard.count}")
    if Path(shard.name).name != shard.name:
        raise ValueError(f"shard {shard.name!r} is not a plain file name")
    return shard


def _sample(found: Mapping[str, Any], shard_size: int) -> Sample:
    members = {}
    for extension, (offset, size) in found["members"].items():
        if not (isinstance(offset, int) and isinstance(size, int)):
            raise TypeError(f"{found['key']}.{extension}: offset {offset!r} and size {size!r}, the rule is whole numbers")
        if offset < 0 or size < 0 or offset + size > shard_size:
            raise ValueError(f"{found['key']}.{extension} lies outside its shard")
        members[extension] = (offset, size)
    return Sample(found["key"], found["scene"], found["height"], found["width"], members)
