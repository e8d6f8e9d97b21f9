"""``pack``: shards that other readers can read, the same bytes each time, and inputs that are refused."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import webdataset as wds
import zstandard
from PIL import Image as Pillow

from pipeline.config.data import Pack
from pipeline.stages import pack
from rdmc.data import shards
from rdmc.data.images import as_png, read_picture, read_rgb
from rdmc.data.loader import PairStore
from rdmc.data.pairs import QUARANTINE, read_index, write_index, write_pair
from rdmc.data.shards import MANIFEST, Pixels, Shard, read_manifest
from rdmc.datasets.rain import render
from rdmc.errors import DataError
from tests.support.data import scene

PIXELS: tuple[Pixels, ...] = get_args(Pixels)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    entries = [
        write_pair(folder, split, f"{split}-{i}", f"{split}-{i}", as_png(render(scene(i), "heavy", (i,))), as_png(scene(i)))
        for split, count in (("train", 6), ("test", 2))
        for i in range(count)
    ]
    write_index(folder, "mine", entries, len(entries), [])
    return folder


def test_webdataset_reads_the_shards(tmp_path: Path, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack.run("mine", pairs, Pack(shard_mb=0.02, pixels="original"), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.dataset == "mine"
    assert sum(shard.split == "train" for shard in manifest.shards) > 1
    urls = [str(tmp_path / "out" / shard.name) for shard in manifest.shards]
    dataset = wds.WebDataset(urls, shardshuffle=False, nodesplitter=wds.split_by_node).decode("rgb8")
    found = {sample["__key__"]: sample for sample in dataset}
    assert sorted(found) == sorted(entry.name for entry in read_index(pairs))
    assert (found["test-1"]["clean.png"] == scene(1)).all()
    assert (found["test-1"]["rainy.png"] == read_rgb(pairs / "test/test-1.rainy.png")).all()
    assert (tmp_path / "out" / QUARANTINE).read_bytes() == (pairs / QUARANTINE).read_bytes()
    shown = capsys.readouterr().out
    assert manifest.digest[:12] in shown
    assert all(split in shown for split in ("train", "validation", "test"))


@pytest.mark.parametrize("pixels", PIXELS)
def test_pack_twice_gives_the_same_bytes(tmp_path: Path, pairs: Path, pixels: Pixels) -> None:
    for name in ("one", "two"):
        pack.run("mine", pairs, Pack(shard_mb=0.02, pixels=pixels), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_every_form_has_the_same_pixels(tmp_path: Path, pairs: Path) -> None:
    for pixels in PIXELS:
        pack.run("mine", pairs, Pack(shard_mb=0.02, pixels=pixels), tmp_path / pixels)
    originals, *others = (PairStore([tmp_path / pixels], "train") for pixels in PIXELS)
    for other in others:
        assert [originals[i].key for i in range(6)] == [other[i].key for i in range(6)]
        for i in range(6):
            assert (originals[i].rainy == other[i].rainy).all()
            assert (originals[i].clean == other[i].clean).all()
    shards = read_manifest(tmp_path / "raw" / MANIFEST).shards
    assert max(shard.size for shard in shards) < 3 * 20_000  # a shard ends by the size of its content


def members(folder: Path) -> dict[str, dict[str, Any]]:
    """The samples of shards as webdataset decodes them, with the line for Zstandard that docs/data.md shows."""
    urls = [str(folder / shard.name) for shard in read_manifest(folder / MANIFEST).shards]
    dataset = wds.WebDataset(urls, shardshuffle=False, nodesplitter=wds.split_by_node)
    with_zstd = dataset.decode(wds.handle_extension("npy.zst", lambda data: np.load(BytesIO(zstandard.decompress(data)))))
    return {sample["__key__"]: sample for sample in with_zstd}


def test_other_readers_open_the_pixels(tmp_path: Path, pairs: Path) -> None:
    for pixels, extension in (("raw", "npy"), ("zstd", "npy.zst")):
        pack.run("mine", pairs, Pack.model_validate({"shard_mb": 0.02, "pixels": pixels}), tmp_path / pixels)
        assert (members(tmp_path / pixels)["test-1"][f"clean.{extension}"] == scene(1)).all()


def test_jpegs_stay_as_they_are_under_zstd(tmp_path: Path) -> None:
    data = BytesIO()
    Pillow.fromarray(scene(1)).save(data, "JPEG", quality=90)
    (tmp_path / "clean.jpg").write_bytes(data.getvalue())
    clean = read_picture(tmp_path / "clean.jpg")
    folder = tmp_path / "pairs"
    write_index(folder, "mine", [write_pair(folder, "train", "a", "a", as_png(scene(0)), clean)], 1, [])
    pack.run("mine", folder, Pack(shard_mb=1, pixels="zstd"), tmp_path / "out")
    (sample,) = read_manifest(tmp_path / "out" / MANIFEST).shards[0].samples
    assert set(sample.members) == {"rainy.npy.zst", "clean.jpg", "json"}
    pair = PairStore([tmp_path / "out"], "train")[0]
    assert (pair.clean == clean.pixels).all()
    assert (pair.rainy == scene(0)).all()


def test_changed_pairs_are_refused_and_older_shards_stay(tmp_path: Path, pairs: Path) -> None:
    pack.run("mine", pairs, Pack(shard_mb=1, pixels="original"), tmp_path / "out")
    before = (tmp_path / "out" / MANIFEST).read_bytes()
    (pairs / "train/train-0.clean.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"train-0\.clean\.png: changed since it was prepared"):
        pack.run("mine", pairs, Pack(shard_mb=1, pixels="original"), tmp_path / "out")
    assert (tmp_path / "out" / MANIFEST).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pairs"]


def test_missing_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; run `dvc repro prepare`"):
        pack.run("mine", tmp_path / "none", Pack(shard_mb=1, pixels="original"), tmp_path / "out")


def test_only_pairs_of_the_index_are_packed(tmp_path: Path, pairs: Path) -> None:
    index = json.loads((pairs / "index.json").read_text())
    index["pairs"] = index["pairs"][:1]
    (pairs / "index.json").write_text(json.dumps(index))
    pack.run("mine", pairs, Pack(shard_mb=1, pixels="original"), tmp_path / "out")
    assert [sample.key for _, sample in read_manifest(tmp_path / "out" / MANIFEST).samples("test")] == ["test-0"]


def written(monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> list[str]:
    """The shards that are written from now on; after ``most`` of them the process is interrupted."""
    names: list[str] = []
    write = shards._write_shard

    def counting(path: Path, *rest: Any) -> Shard:
        if len(names) == most:
            raise KeyboardInterrupt
        names.append(path.name)
        return write(path, *rest)

    monkeypatch.setattr(shards, "_write_shard", counting)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one after the other
    return names


def test_a_stopped_pack_goes_on_and_believes_nothing_unseen(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Pack(shard_mb=0.001, pixels="zstd")
    pack.run("mine", pairs, rules, tmp_path / "whole")
    names = [shard.name for shard in read_manifest(tmp_path / "whole" / MANIFEST).shards]
    assert len(names) == 8
    with monkeypatch.context() as patch:
        written(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            pack.run("mine", pairs, rules, tmp_path / "out")
    (folder,) = tmp_path.glob(".out.*.part")
    damaged = bytearray((folder / names[1]).read_bytes())
    damaged[700] ^= 1
    (folder / names[1]).write_bytes(damaged)
    (folder / names[5]).write_bytes(b"half")
    (folder / "train-00099.tar").write_bytes(b"of other pairs")
    again = written(monkeypatch)
    pack.run("mine", pairs, rules, tmp_path / "out")
    assert again == [names[1], *names[5:]]
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
    assert list(tmp_path.glob(".out.*")) == []


def test_a_stopped_pack_of_other_pairs_or_rules_is_not_used(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Pack(shard_mb=0.001, pixels="zstd")
    with monkeypatch.context() as patch:
        written(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            pack.run("mine", pairs, rules, tmp_path / "out")
    entries = [entry for entry in read_index(pairs) if entry.name != "train-0"]  # the shards' names stay, their pairs move
    write_index(pairs, "mine", entries, len(entries), [])
    again = written(monkeypatch)
    pack.run("mine", pairs, rules, tmp_path / "out")
    assert len(again) == 5, "train-1 to train-5; both of the test are as they were"
    for pixels in ("raw", "original"):
        again.clear()
        pack.run("mine", pairs, Pack(shard_mb=0.001, pixels=pixels), tmp_path / "out")
        assert again
