"""Hostile and damaged archives: nothing is left behind, and the error is one line."""

from __future__ import annotations

import gzip
import io
import random
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rdmc.datasets.archives import ArchiveLimits, safe_name, unpack
from rdmc.errors import DataError

Build = Callable[[Path], object]
FILES = {"a/1.png": b"one", "a/2.png": b"two" * 1000, "list.txt": b"x"}


def make_zip(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes] = FILES, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o4777
            file.addfile(info, io.BytesIO(data))
    return path


def add_tar(path: Path, **fields: object) -> Path:
    """Write a tar with one member that has these header fields."""
    with tarfile.open(path, "w") as file:
        info = tarfile.TarInfo()
        for key, value in fields.items():
            setattr(info, key, value)
        file.addfile(info)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_plain_archives_are_unpacked(kind: str, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x") if kind == "zip" else make_tar(tmp_path / "x", mode=kind)
    assert unpack(path, tmp_path / "out") == 3
    assert content(tmp_path / "out") == FILES
    assert {stat.S_IMODE(found.stat().st_mode) & 0o7111 for found in (tmp_path / "out").rglob("*.png")} == {0}


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a\\b", "C:/x", "a\nb", "", "x" * 300, "a/" * 600 + "b", "a\ud800"]
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(DataError) as caught:
        safe_name(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/b.png", "Straße 1.png", "./a", "a//b", "..a/b..c"])
def test_safe_names_are_accepted(name: str) -> None:
    assert ".." not in safe_name(name).parts


def hostile() -> dict[str, tuple[Build, str]]:
    def link(path: Path) -> None:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(info, "/etc/passwd")

    def encrypted(path: Path) -> None:
        make_zip(path, {"a.png": b"abc"})
        data = bytearray(path.read_bytes())
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(bytes(data))

    def header_bomb(path: Path) -> None:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 1 << 33
        with gzip.open(path, "wb", 1) as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT))

    return {
        "climbs (zip)": (lambda path: make_zip(path, {"../x.png": b"a"}), "climbs out"),
        "climbs (tar)": (lambda path: make_tar(path, {"a/../../x.png": b"a"}), "climbs out"),
        "absolute (zip)": (lambda path: make_zip(path, {"/x.png": b"a"}), "absolute"),
        "absolute (tar)": (lambda path: make_tar(path, {"/x.png": b"a"}), "absolute"),
        "link (zip)": (link, "a link or device"),
        "symlink (tar)": (lambda path: add_tar(path, name="x", type=tarfile.SYMTYPE, linkname="/"), "a link, device"),
        "hard link (tar)": (
            lambda path: add_tar(path, name="x", type=tarfile.LNKTYPE, linkname="y") and None,
            "a link, device",
        ),
        "device (tar)": (lambda path: add_tar(path, name="x", type=tarfile.CHRTYPE), "a link, device"),
        "pipe (tar)": (lambda path: add_tar(path, name="x", type=tarfile.FIFOTYPE), "a link, device"),
        "encrypted": (encrypted, "encrypted"),
        "case": (lambda path: make_zip(path, {"A/x.png": b"1", "a/X.png": b"2"}), "only by case"),
        "accents": (lambda path: make_tar(path, {"\u00e9.png": b"1", "e\u0301.png": b"2"}), "only by case"),
        "below a file": (lambda path: make_tar(path, {"a": b"1", "a/b": b"2"}), "lies below a file"),
        "folder over a file": (lambda path: make_zip(path, {"a/b": b"1", "a": b"2"}), "appears twice"),
        "bytes (zip)": (lambda path: make_zip(path, {"a": bytes(3_000_000)}), "a bomb"),
        "bytes (tar)": (lambda path: make_tar(path, {"a": bytes(3_000_000)}, "w:gz"), "a bomb"),
        "members": (lambda path: make_tar(path, {str(k): b"" for k in range(60)}), "more than 50 members"),
        "header": (header_bomb, "a bomb"),
        "a page": (lambda path: path.write_bytes(b"<!doctype html>"), "not a zip or tar"),
        "nothing": (lambda path: path.write_bytes(b""), "not a zip or tar"),
        "empty": (lambda path: make_zip(path, {}), "holds no files"),
        "cut (zip)": (lambda path: path.write_bytes(make_zip(path).read_bytes()[:-30]), "damaged archive"),
        "cut (tar)": (
            lambda path: path.write_bytes(make_tar(path, mode="w:gz").read_bytes()[:-30]) and None,
            "damaged archive",
        ),
    }


@pytest.mark.parametrize("case", hostile())
def test_hostile_archives_leave_nothing_behind(case: str, tmp_path: Path) -> None:
    build, message = hostile()[case]
    build(tmp_path / "x")
    limits = ArchiveLimits(total=10_000_000, ratio=20, free=100_000, members=50)
    with pytest.raises(DataError, match=message) as caught:
        unpack(tmp_path / "x", tmp_path / "out", limits)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_zip_that_understates_its_sizes_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x", {"a": bytes(3_000_000)})
    data = path.read_bytes().replace(struct.pack("<I", 3_000_000), struct.pack("<I", 100))
    path.write_bytes(data)
    with pytest.raises(DataError):
        unpack(path, tmp_path / "out", ArchiveLimits(free=100_000, ratio=20))
    assert not (tmp_path / "out").exists()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with some bytes changed, removed, repeated or cut off."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(found) or 1)
        kind = rng.randrange(4)
        if kind == 0 and found:
            found[place % len(found)] = rng.randrange(256)
        elif kind == 1:
            del found[place : place + rng.randint(1, 40)]
        elif kind == 2:
            found[place:place] = found[place : place + rng.randint(1, 60)]
        elif rng.random() < 0.2:
            del found[place:]
    return bytes(found)


def check_mutations(folder: Path, seeds: range) -> None:
    originals = [make_zip(folder / "z").read_bytes()]
    originals += [make_tar(folder / "t", mode=mode).read_bytes() for mode in ("w", "w:gz", "w:bz2", "w:xz")]
    unpacked, left, messages = 0, 0, list[str]()
    for seed in seeds:
        rng = random.Random(seed)
        (folder / "x").write_bytes(mutated(originals[seed % len(originals)], rng))
        try:
            unpacked += unpack(folder / "x", folder / f"out{seed}", ArchiveLimits(total=10_000_000, free=1_000_000)) > 0
        except DataError as error:
            messages.append(str(error))
            left += (folder / f"out{seed}").exists()
    assert left == sum("\n" in line for line in messages) == 0
    assert all(path.resolve().is_relative_to(folder) for path in folder.rglob("*"))
    assert {path.name for path in folder.iterdir() if not path.name.startswith("out")} == {"x", "z", "t"}
    assert 0 < unpacked < len(seeds)


def test_damaged_archives_give_a_one_line_error(tmp_path: Path) -> None:
    check_mutations(tmp_path, range(250))


@pytest.mark.slow
def test_ten_thousand_damaged_archives_give_a_one_line_error(tmp_path: Path) -> None:
    check_mutations(tmp_path, range(1000, 11_000))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("real_world.zip.001", r"`cat .*real_world\.zip\.\* > .*real_world\.zip`"),
        ("whole.tar.gz.aa", r"`cat .*whole\.tar\.gz\.\* > .*whole\.tar\.gz`"),
        ("data.z01", r"`zip -s 0 .*data\.zip --out .*data\.joined\.zip`"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_part_of_a_split_archive_is_called_that(name: str, how: str, first: bool, tmp_path: Path) -> None:
    build = make_zip if ".z" in name else lambda path: make_tar(path, mode="w:gz")
    whole = build(tmp_path / "whole").read_bytes()
    part = tmp_path / name
    part.write_bytes(whole[: len(whole) // 2] if first else whole[len(whole) // 2 :])
    with pytest.raises(DataError, match=f"a part of a split archive, the rule is a whole one; join the parts with {how}"):
        unpack(part, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_separators_of_windows_become_folders(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "w.zip", {"set\\rain\\": b"", "set\\rain\\1.png": b"one", "set\\norain\\1.png": b"two"})
    assert unpack(archive, tmp_path / "out") == 2
    assert (tmp_path / "out/set/rain/1.png").read_bytes() == b"one"
    for name in ("..\\1.png", "C:\\1.png", "\\1.png"):
        with pytest.raises(DataError, match=r"w\.zip: .*(absolute|drive|climbs out)"):
            unpack(make_zip(tmp_path / "w.zip", {name: b"x"}), tmp_path / "bad")
    with pytest.raises(DataError, match=r"w\.zip: .*backslash"):
        unpack(make_zip(tmp_path / "w.zip", {"a\\1.png": b"x", "a/2.png": b"x"}), tmp_path / "bad")


def test_the_notes_of_a_mac_are_left_out(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "m.zip", {"a/1.png": b"one", "a/._1.png": b"note", "__MACOSX/a/1.png": b"note"})
    assert unpack(archive, tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["1.png"]


def inner(build: Build, folder: Path) -> bytes:
    build(folder / "inner")
    data = (folder / "inner").read_bytes()
    (folder / "inner").unlink()
    return data


@pytest.mark.parametrize("outer", [make_zip, make_tar])
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("set.ZIP", make_zip),
        ("set.tar", make_tar),
        ("set.tar.gz", lambda path: make_tar(path, mode="w:gz")),
        ("set.tar.xz", lambda path: make_tar(path, mode="w:xz")),
    ],
)
def test_an_archive_in_the_archive_is_unpacked(
    outer: Callable[[Path, dict[str, bytes]], Path], name: str, build: Build, tmp_path: Path
) -> None:
    lines: list[str] = []
    archive = outer(tmp_path / "x", {f"in/{name}": inner(build, tmp_path), "in/readme.txt": b"x"})
    assert unpack(archive, tmp_path / "out", tell=lines.append) == 4
    assert content(tmp_path / "out") == {f"in/set/{file}": data for file, data in FILES.items()} | {"in/readme.txt": b"x"}
    assert lines == [f"{archive}: in/{name} in it is an archive too, unpacked (3 files)"]


def test_an_archive_two_levels_deep_or_of_another_format_is_named(tmp_path: Path) -> None:
    lines: list[str] = []
    deep = inner(lambda path: make_zip(path, {"deep.zip": inner(make_zip, tmp_path), "1.png": b"x"}), tmp_path)
    archive = make_zip(tmp_path / "x", {"a.zip": deep, "b.7z": b"7z", "c.zip.001": b"PK", "2.png": b"y"})
    assert unpack(archive, tmp_path / "out", tell=lines.append) == 5
    assert set(content(tmp_path / "out")) == {"a/1.png", "a/deep.zip", "b.7z", "c.zip.001", "2.png"}
    assert len(lines) == 4
    for name in ("a/deep.zip", "b.7z", "c.zip.001"):
        assert sum(f"{name} in it is left packed (only zip and tar in the archive itself" in line for line in lines) == 1


@pytest.mark.parametrize("case", hostile())
def test_a_hostile_archive_in_the_archive_stays_packed_and_is_named(case: str, tmp_path: Path) -> None:
    build, message = hostile()[case]
    data = inner(build, tmp_path)
    lines: list[str] = []
    archive = make_tar(tmp_path / "x", {"a/bad.zip": data, "a/1.png": b"x"})
    limits = ArchiveLimits(total=200_000, ratio=20, free=200_000, members=50)
    assert unpack(archive, tmp_path / "out", limits, lines.append) == 2
    assert content(tmp_path / "out") == {"a/bad.zip": data, "a/1.png": b"x"}
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert re.search(message, lines[0])
    assert "a/bad.zip in it is left packed" in lines[0]
    assert str(tmp_path / "out") not in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x"]


def test_many_archives_in_the_archive_share_its_limits(tmp_path: Path) -> None:
    data = inner(lambda path: make_zip(path, {"0": bytes(60_000)}), tmp_path)
    archive = make_zip(tmp_path / "x", {f"{k}.zip": data for k in range(10)})
    lines: list[str] = []
    unpack(archive, tmp_path / "out", ArchiveLimits(total=200_000, free=200_000), lines.append)
    assert sum(len(data) for data in content(tmp_path / "out").values()) <= 200_000
    assert sum("gives more than 200,000 bytes, a bomb" in line for line in lines) == 7


def test_an_archive_in_the_archive_does_not_replace_what_is_beside_it(tmp_path: Path) -> None:
    lines: list[str] = []
    archive = make_zip(tmp_path / "x", {"Set/1.png": b"one", "set.zip": inner(make_zip, tmp_path)})
    assert unpack(archive, tmp_path / "out", tell=lines.append) == 2
    assert set(content(tmp_path / "out")) == {"Set/1.png", "set.zip"}
    assert "there is a set beside it" in lines[0]
