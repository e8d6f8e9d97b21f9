import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset as wds

from rdmc.data.pairs import read_index
from rdmc.data.shards import MANIFEST, read_manifest, verify_shard, write_shards
from rdmc.errors import DataError

MakeShards = Callable[..., Path]


def test_a_plain_webdataset_reads_every_pair(make_shards: MakeShards, pairs: Path) -> None:
    folder = make_shards()
    urls = [str(path) for path in sorted(folder.glob("train-*.tar"))]
    assert len(urls) > 1
    found = {sample["__key__"]: sample for sample in wds.WebDataset(urls, shardshuffle=False, nodesplitter=wds.split_by_node)}
    entries = [entry for entry in read_index(pairs) if entry.split == "train"]
    assert list(found) == [entry.name for entry in entries]
    for entry in entries:
        assert found[entry.name]["rainy.png"] == (pairs / entry.rainy).read_bytes()
        assert found[entry.name]["clean.png"] == (pairs / entry.clean).read_bytes()
        facts = json.loads(found[entry.name]["json"])
        assert facts == {"scene": entry.scene, "height": entry.height, "width": entry.width}


def test_the_same_pairs_give_the_same_bytes(make_shards: MakeShards, tmp_path: Path, pairs: Path) -> None:
    first = make_shards()
    (pairs / "train" / "train-0.rainy.png").touch()  # a new time, the same content
    again = tmp_path / "again"
    write_shards(reversed(read_index(pairs)), pairs, again, "small", 12_000)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_tars_do_not_name_their_author(make_shards: MakeShards) -> None:
    with tarfile.open(make_shards() / "train-00000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "rdmc", "rdmc", 0o644)}


def test_offsets_give_the_bytes_of_each_member(make_shards: MakeShards, pairs: Path) -> None:
    folder = make_shards()
    places = read_manifest(folder / MANIFEST).samples("test")
    assert [sample.key for _, sample in places] == ["test-0", "test-1", "test-2"]
    for shard, sample in places:
        offset, size = sample.members["rainy.png"]
        data = (folder / shard.name).read_bytes()[offset : offset + size]
        assert data == (pairs / "test" / f"{sample.key}.rainy.png").read_bytes()


def test_shards_are_closed_at_their_size_and_verified(make_shards: MakeShards) -> None:
    folder = make_shards(shard_bytes=12_000)
    manifest = read_manifest(folder / MANIFEST)
    train = [shard for shard in manifest.shards if shard.split == "train"]
    assert [shard.name for shard in train] == [f"train-{i:05d}.tar" for i in range(len(train))]
    assert sum(shard.count for shard in train) == 7
    assert all(shard.count >= 2 for shard in train[:-1])  # one pair holds less than 12,000 bytes
    for shard in manifest.shards:
        verify_shard(folder / shard.name, shard)
    assert len(list(make_shards("whole", 10**9).glob("*.tar"))) == 3


def test_the_digest_follows_the_content(make_shards: MakeShards) -> None:
    first = read_manifest(make_shards() / MANIFEST)
    assert read_manifest(make_shards() / MANIFEST).digest == first.digest
    assert read_manifest(make_shards(shard_bytes=1) / MANIFEST).digest != first.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("dataset"), "KeyError"),
        (lambda m: m.update(version=9), "version 9, this program reads 1"),
        (lambda m: m["shards"][0].update(size="big"), "TypeError"),
        (lambda m: m["shards"][0].update(colour="red"), "TypeError"),
        (lambda m: m["shards"][0].update(count=99), "counts 99"),
        (lambda m: m["shards"][0].update(name="../x.tar"), "not a plain file name"),
        (lambda m: m["shards"][0].update(samples=None), "TypeError"),
        (lambda m: m["shards"][0]["samples"][0]["members"].update(json=[10**9, 1]), "lies outside"),
        (lambda m: m["shards"][0]["samples"][0].update(members=3), "AttributeError"),
    ],
)
def test_a_damaged_manifest_gives_a_one_line_error(
    change: Callable[[dict[str, object]], object], message: str, make_shards: MakeShards
) -> None:
    path = make_shards() / MANIFEST
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    assert "dvc repro pack" in str(caught.value)


def test_a_missing_or_cut_manifest_gives_a_one_line_error(make_shards: MakeShards, tmp_path: Path) -> None:
    path = make_shards() / MANIFEST
    path.write_text(path.read_text()[:100])
    for broken, said in {path: "damaged", tmp_path / "none.json": "no such file"}.items():
        with pytest.raises(DataError, match=f"{broken.name}: {said}.*; run `dvc repro pack`"):
            read_manifest(broken)


def test_a_damaged_shard_gives_a_one_line_error(make_shards: MakeShards) -> None:
    folder = make_shards()
    shard = read_manifest(folder / MANIFEST).shards[0]
    path = folder / shard.name
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"{shard.name}: md5 .*, the manifest says {shard.md5}; run"):
        verify_shard(path, shard)
    path.write_bytes(data[:-1])
    with pytest.raises(DataError, match=f"{len(data) - 1} bytes, the manifest says {len(data)}"):
        verify_shard(path, shard)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        verify_shard(path, shard)


def test_a_pair_that_changed_since_it_was_prepared_is_refused(pairs: Path, tmp_path: Path) -> None:
    entries = read_index(pairs)
    path = pairs / entries[0].clean
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"changed since it was prepared.*dvc repro prepare"):
        write_shards(entries, pairs, tmp_path / "out", "small", 10**9)
    path.unlink()
    with pytest.raises(DataError, match=r"No such file.*dvc repro prepare"):
        write_shards(entries, pairs, tmp_path / "out", "small", 10**9)
