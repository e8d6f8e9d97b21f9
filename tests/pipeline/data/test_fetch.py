import shutil
import zipfile
from pathlib import Path

import pytest

from pipeline.data import fetch
from rdmc.data.images import encode_png
from rdmc.datasets.rain import render
from rdmc.errors import ConfigError, DataError, ServiceError
from rdmc.files import file_digest
from tests.support.data import scene
from tests.support.s3 import s3_server


@pytest.fixture
def rain12(tmp_path: Path) -> Path:
    """A folder with twelve pairs in the layout of Rain100L."""
    for number in range(12):
        clean = scene(number, 96, 128)
        for name, picture in (("norain", clean), ("rain", render(clean, "light", (number,)))):
            path = tmp_path / f"copy/{'rainy/' if name == 'rain' else ''}{name}-{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(picture))
    return tmp_path / "copy"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.mark.parametrize("kind", ["folder", "zip", "gztar"])
def test_a_copy_is_fetched_and_recognised(kind: str, rain12: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(rain12) if kind == "folder" else shutil.make_archive(str(tmp_path / "x"), kind, rain12)
    fetch.run(source, tmp_path / "raw/rain12", "" if kind == "folder" else file_digest(Path(source)), dvc=False)
    assert files(tmp_path / "raw/rain12") == files(rain12)
    printed = " ".join(capsys.readouterr().out.split())
    assert "folder: 12 test pairs" in printed
    assert f"rain12: {{source: benchmark, name: rain12, path: {tmp_path / 'raw/rain12'}}}" in printed
    assert f"to version it: dvc add {tmp_path / 'raw/rain12'}" in printed


def test_nothing_is_written_after_a_wrong_digest(rain12: Path, tmp_path: Path) -> None:
    source = shutil.make_archive(str(tmp_path / "x"), "zip", rain12)
    with pytest.raises(DataError, match="the rule is 123; fetch it again or fix the digest"):
        fetch.run(source, tmp_path / "raw", "123", dvc=False)
    assert not (tmp_path / "raw").exists()


def test_nothing_is_written_from_an_unsafe_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.png", b"1")
        file.writestr("../b.png", b"1")
    with pytest.raises(DataError, match="climbs out"):
        fetch.run(str(tmp_path / "x.zip"), tmp_path / "in/raw", "", dvc=False)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.zip"]


def test_a_folder_with_links_is_refused(rain12: Path, tmp_path: Path) -> None:
    (rain12 / "rainy/more").symlink_to("/")
    with pytest.raises(DataError, match="more: a link or device"):
        fetch.run(str(rain12), tmp_path / "raw", "", dvc=False)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none", "none: no such file, folder or address"),
        ("s3://bucket", "names a bucket and no object; add the archive's key"),
        ("s3://bucket/sets/", "run `dvc import-url s3://bucket/sets/ .*`, which downloads"),
    ],
)
def test_a_source_that_cannot_be_fetched_is_refused(source: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        fetch.run(source, tmp_path / "raw", "", dvc=False)


def test_a_replaced_object_is_fetched_again_and_what_cannot_be_unpacked_is_not_kept(
    rain12: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Path(shutil.make_archive(str(tmp_path / "good"), "zip", rain12)).read_bytes()
    monkeypatch.chdir(tmp_path)
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = server.bucket("raw")
        bucket.put_object(Key="x.zip", Body=good[: len(good) // 2])
        with pytest.raises(DataError, match=r"x\.zip: damaged archive"):
            fetch.run("s3://raw/x.zip", tmp_path / "raw/a", "", dvc=False)
        assert not [path for path in fetch.CACHE.rglob("*") if path.is_file() and path.stat().st_size > 1000]
        bucket.put_object(Key="x.zip", Body=good)
        fetch.run("s3://raw/x.zip", tmp_path / "raw/b", "", dvc=False)
        assert files(tmp_path / "raw/b") == files(rain12)
        (rain12 / "norain-000.png").write_bytes((rain12 / "norain-001.png").read_bytes())
        other = Path(shutil.make_archive(str(tmp_path / "other"), "zip", rain12)).read_bytes()
        bucket.put_object(Key="x.zip", Body=other)
        fetch.run("s3://raw/x.zip", tmp_path / "raw/c", "", dvc=False)
        assert files(tmp_path / "raw/c") == files(rain12) != files(tmp_path / "raw/b")
    capsys.readouterr()
    with pytest.raises(ServiceError, match=r"s3://raw/x\.zip: 127\.0\.0\.1.*; start the server or fix AWS_ENDPOINT") as caught:
        fetch.run("s3://raw/x.zip", tmp_path / "raw/d", "", dvc=False)
    assert "\n" not in str(caught.value) + capsys.readouterr().out
    assert not (tmp_path / "raw/d").exists()


def test_archives_in_an_archive_are_unpacked_and_said(rain12: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for half in ("rainy", "norain"):
        (tmp_path / f"in/{half}").mkdir(parents=True)
    for path in rain12.rglob("*.png"):
        shutil.copyfile(path, tmp_path / f"in/{'rainy' if path.parent.name == 'rainy' else 'norain'}" / path.name)
    for half in ("rainy", "norain"):
        shutil.make_archive(str(tmp_path / f"out/{half}"), "gztar" if half == "rainy" else "zip", tmp_path / "in" / half)
    fetch.run(shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path / "out"), tmp_path / "raw", "", dvc=False)
    assert files(tmp_path / "raw") == files(tmp_path / "in")
    printed = " ".join(capsys.readouterr().out.split())
    assert "norain.zip in it is an archive too, unpacked (12 files)" in printed
    assert f"{tmp_path / 'raw'}: 24 files" in printed
    assert "folder: 12 test pairs" in printed


def test_an_existing_folder_is_not_overwritten(rain12: Path) -> None:
    with pytest.raises(ConfigError, match="is there already; remove it or name another folder"):
        fetch.run(str(rain12), rain12, "", dvc=False)
