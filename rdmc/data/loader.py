"""Pairs by position: read from local or remote shards, decoded, and cached in memory up to a limit."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from rdmc.data.images import Image, decode, decode_raw, decode_zstd
from rdmc.data.pairs import sha256
from rdmc.data.sampling import Part
from rdmc.data.shards import AGAIN, MANIFEST, RAW, ZSTD, Manifest, Sample, Shard, check_size, read_manifest
from rdmc.errors import DataError

Fetch = Callable[[Path, Shard], Path]
"""A function from a dataset's folder and one of its shards to a file with the shard's bytes. The file may be removed before
it is read; then it is fetched again."""
TRIES = 5
"""How often a shard is fetched if it is removed before it is read. This happens if a cache is too small."""


@dataclass(frozen=True)
class Pair:
    """A decoded pair: both (H, W, 3), RGB, 0 to 255, for reading only."""

    key: str
    """``dataset/name``."""
    dataset: str
    rainy: Image
    clean: Image


@dataclass(frozen=True)
class _Place:
    """The location of a pair."""

    dataset: str
    folder: Path
    shard: Shard
    sample: Sample


def local_shard(folder: Path, shard: Shard) -> Path:
    """Return the path of a shard beside its manifest."""
    return folder / shard.name


class PairStore:
    """The pairs of one split of several datasets by position, ordered by dataset names and keys.

    ``folders`` hold the manifests that ``pack`` wrote, and the shards too unless ``fetch`` finds them elsewhere. Decoded
    pairs are cached up to ``cache_mb``; the least recently used pair is dropped first. The store is thread-safe. A process
    that receives a copy starts with an empty cache. Raises DataError for a missing or damaged manifest or shard and, without
    ``allow_empty``, for a split without pairs.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        split: str,
        cache_mb: int = 1024,
        allow_empty: bool = False,
        fetch: Fetch = local_shard,
    ) -> None:
        found = sorted(((folder, read_manifest(folder / MANIFEST)) for folder in folders), key=lambda item: item[1].dataset)
        self._fetch, self._room = fetch, cache_mb * 2**20
        self._shards = [[(folder, shard) for shard in manifest.shards if shard.split == split] for folder, manifest in found]
        self._datasets = [manifest.dataset for _, manifest in found]
        for folder, manifest in found:
            for shard in manifest.shards:
                if fetch is local_shard or local_shard(folder, shard).exists():
                    check_size(local_shard(folder, shard), shard)
        self._places = [
            _Place(dataset, folder, shard, sample)
            for dataset, shards in zip(self._datasets, self._shards, strict=True)
            for folder, shard in shards
            for sample in shard.samples
        ]
        if not self._places and not allow_empty:
            names = ", ".join(str(folder) for folder in folders)
            raise DataError(f"{names}: no {split} pairs; name some in params.yaml under `datasets` and run `dvc repro pack`")
        self.digest = _digest(manifest for _, manifest in found)
        """SHA-256 (hex) over the manifests. It determines every byte of the data."""
        self._kept: OrderedDict[int, Pair] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Pair:
        index = range(len(self))[index]  # negative positions and IndexError, as in a list
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        pair = self._read(self._places[index])
        with self._lock:
            self._keep(index, pair)
        return pair

    def labels(self) -> list[tuple[str, str]]:
        """Return key (``dataset/name``) and scene of every pair, in order."""
        return [(f"{place.dataset}/{place.sample.key}", place.sample.scene) for place in self._places]

    def select(self, keys: Collection[str]) -> PairStore:
        """Return the pairs of these keys in the same order, as a separate store with its share of the cache."""
        part = copy(self)
        part._places = [place for place in self._places if f"{place.dataset}/{place.sample.key}" in keys]
        held = Counter((place.folder, place.shard.name) for place in part._places)
        part._shards = [
            [(folder, replace(shard, count=held[folder, shard.name])) for folder, shard in shards if held[folder, shard.name]]
            for shards in self._shards
        ]
        part._kept, part._lock = OrderedDict(), Lock()
        part._room = self._room * len(part) // max(len(self), 1)
        return part

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process, without the cached pairs and the lock."""
        held = sum(_size(pair) for pair in self._kept.values())
        return {**self.__dict__, "_kept": OrderedDict(), "_lock": None, "_room": self._room + held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def parts(self, weights: Mapping[str, float] | None = None) -> tuple[Part, ...]:
        """Return the datasets as parts of a mixture, in the order of positions. ``weights`` are by name, 1 if not given."""
        return tuple(
            Part(tuple(shard.count for _, shard in shards), (weights or {}).get(dataset, 1.0) if shards else 1.0)
            for dataset, shards in zip(self._datasets, self._shards, strict=True)
        )

    def prefetch(self, part: int, shard: int) -> None:
        """Fetch a shard by the numbers of its dataset and itself. An error is left to the read that needs the shard."""
        with suppress(Exception):
            self._fetch(*self._shards[part][shard])

    @property
    def is_local(self) -> bool:
        """Whether all shards are beside their manifests, so that there is nothing to prefetch."""
        return self._fetch is local_shard

    def share_cache(self, processes: int) -> None:
        """Reduce the cache to the share of one of ``processes``, so that together they stay within the limit."""
        self._room //= processes

    def _read(self, place: _Place) -> Pair:
        found = {}
        for extension, (offset, size) in place.sample.members.items():
            role, _, kind = extension.partition(".")
            if kind:
                name = f"{place.folder / place.shard.name}: {place.sample.key}.{extension}"
                found[role] = _decoded(self._bytes(place, offset, size), name, kind, place.sample)
        if set(found) != {"rainy", "clean"} or found["rainy"].shape != found["clean"].shape:
            name = f"{place.folder / place.shard.name}: {place.sample.key}"
            raise DataError(f"{name} is not a rainy and a clean image of one size; {AGAIN}")
        return Pair(f"{place.dataset}/{place.sample.key}", place.dataset, found["rainy"], found["clean"])

    def _bytes(self, place: _Place, offset: int, size: int) -> bytes:
        """Read at an offset, without a shared file pointer. Opening the file for each read is cheap compared to decoding."""
        for _ in range(TRIES):
            try:
                path = self._fetch(place.folder, place.shard)
            except DataError as error:
                raise DataError(f"{place.dataset}: {place.shard.name}: {error}") from None
            with suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY)
                try:
                    return os.pread(file, size, offset)
                finally:
                    os.close(file)
        raise DataError(f"{place.folder / place.shard.name}: was removed before every attempt to read it; {AGAIN}")

    def _keep(self, index: int, pair: Pair) -> None:
        self._room += _size(self._kept.pop(index)) if index in self._kept else 0
        self._kept[index] = pair
        self._room -= _size(pair)
        while self._room < 0:
            self._room += _size(self._kept.popitem(last=False)[1])


def _decoded(data: bytes, name: str, kind: str, sample: Sample) -> Image:
    """The pixels of a member. Raises DataError if it is damaged."""
    if kind == ZSTD:
        return decode_zstd(data, name, sample.height, sample.width)
    if kind == RAW:
        return decode_raw(data, name, sample.height, sample.width)
    return decode(data, name)


def _digest(manifests: Iterable[Manifest]) -> str:
    return sha256("\n".join(sorted(f"{m.dataset} {m.digest}" for m in manifests)).encode())


def _size(pair: Pair) -> int:
    return pair.rainy.nbytes + pair.clean.nbytes
