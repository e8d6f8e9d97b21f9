"""``prepare.convert``: pairs of pictures that are not 8-bit RGB are converted and listed, or set aside with that advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from pipeline.config.data import Folders, Prepare
from pipeline.stages import prepare
from rdmc.data.images import Image, encode_png, read_rgb
from rdmc.data.pairs import PairEntry, read_index
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.errors import DataError

CONVERT = Prepare(max_quarantined=0.0, convert=True)
HALVES = ("rainy", "clean")
Save = Callable[[Image, Path], object]


def grey(image: Image) -> Image:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def saved(mode: str) -> Save:
    return lambda image, path: Pillow.fromarray(image).convert(mode).save(path)


def with_alpha(image: Image, path: Path) -> None:
    alpha = np.linspace(0, 255, image.shape[0] * image.shape[1]).astype(np.uint8).reshape(image.shape[:2])
    Pillow.fromarray(np.dstack([image, alpha])).save(path)


def deep(image: Image, path: Path) -> None:
    """Write 16 bits whose upper 8 are ``image``."""
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint16) * 256 + 77)


def deep_grey(image: Image, path: Path) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 256 + 77)


def palette(image: Image, path: Path) -> None:
    Pillow.fromarray(image).quantize(256, dither=Pillow.Dither.NONE).save(path)


def of_palette(image: Image) -> Image:
    return np.array(Pillow.fromarray(image).quantize(256, dither=Pillow.Dither.NONE).convert("RGB"))


KINDS: dict[str, tuple[Save, str, Callable[[Image], Image]]] = {
    "grey": (saved("L"), "png", lambda image: np.array(Pillow.fromarray(image).convert("L").convert("RGB"))),
    "RGB with alpha": (with_alpha, "png", lambda image: image),
    "palette": (palette, "png", of_palette),
    "16-bit": (deep, "png", lambda image: image),
    "16-bit of grey": (deep_grey, "tif", grey),
}
"""How a kind of picture is written, the suffix of its file, and the pixels that it should become."""


def views(count: int, seed: int = 0) -> list[tuple[Image, Image]]:
    """Rainy and clean views of 96x128 pixels, of one photograph."""
    astronaut = photograph(PHOTOS[0]).pixels
    cleans = [np.ascontiguousarray(astronaut[40 * i : 40 * i + 96, 30 * i : 30 * i + 128]) for i in range(count)]
    return [(render(clean, "light", (seed, i)), clean) for i, clean in enumerate(cleans)]


def write(folder: Path, pairs: list[tuple[Image, Image]], *saves: Save, suffix: str = "png") -> Folders:
    """Write pairs with one way of saving for both halves, or one for each, and return the dataset."""
    for half, save in zip(HALVES, saves * 2 if len(saves) == 1 else saves, strict=True):
        (folder / half).mkdir(parents=True)
        for i, pair in enumerate(pairs):
            save(pair[HALVES.index(half)], folder / half / f"{i}.{suffix}")
    globs = {half: f"{folder}/{half}/*" for half in HALVES}
    return Folders.model_validate({"source": "folders", "train": globs, "validation_share": 0})


def rgb(image: Image, path: Path) -> None:
    path.write_bytes(encode_png(image))


def run(dataset: Folders, rules: Prepare, out: Path) -> tuple[list[PairEntry], dict[str, Any]]:
    prepare.run("mine", dataset, rules, 0, out, processes=1)
    return read_index(out), json.loads((out / "quarantine.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_of_a_pair_are_converted_and_listed(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save, suffix, pixels = KINDS[kind]
    pairs = views(3)
    dataset = write(tmp_path / "set", pairs, save, suffix=suffix)
    entries, report = run(dataset, CONVERT, tmp_path / "out")
    assert (len(entries), report["quarantined"], report["warnings"]) == (3, [], [])
    for entry in entries:
        for half, original in zip(HALVES, pairs[int(entry.name)], strict=True):
            path = tmp_path / "out" / getattr(entry, half)
            assert path.suffix == ".png"
            assert path.read_bytes() == encode_png(pixels(original))
    name = kind.removesuffix(" of grey")
    files = sorted(f"{tmp_path}/set/{half}/{i}.{suffix}" for half in HALVES for i in range(3))
    assert sorted(report["converted"], key=lambda row: str(row["file"])) == [
        {"file": file, "kind": "converted", "reason": f"was {name}"} for file in files
    ]
    assert f"mine: converted 6 files to 8-bit RGB (6 {name})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_setting_they_are_set_aside_and_the_error_names_it(kind: str, tmp_path: Path) -> None:
    save, suffix, _ = KINDS[kind]
    dataset = write(tmp_path / "set", views(2), save, suffix=suffix)
    name = kind.removesuffix(" of grey")
    with pytest.raises(DataError, match=rf"2 of 2 pairs are bad.*is {name}, .*set prepare\.convert: true in params\.yaml"):
        run(dataset, Prepare(max_quarantined=1.0), tmp_path / "out")
    report = json.loads((tmp_path / "out.quarantine.json").read_text())
    assert (len(report["quarantined"]), report["converted"]) == (2, [])


def test_pairs_of_8_bit_rgb_keep_their_bytes_and_one_converted_side_makes_both_png(tmp_path: Path) -> None:
    def jpeg(image: Image, path: Path) -> None:
        Pillow.fromarray(image).save(path, "JPEG", quality=95)

    plain = write(tmp_path / "plain", views(2), jpeg, suffix="jpg")
    entries, report = run(plain, CONVERT, tmp_path / "out")
    assert report["converted"] == []
    assert [(tmp_path / "out" / entry.rainy).read_bytes() for entry in entries] == [
        (tmp_path / f"plain/rainy/{i}.jpg").read_bytes() for i in range(2)
    ]
    mixed = write(tmp_path / "mixed", views(1), jpeg, with_alpha, suffix="jpg.png")
    (tmp_path / "mixed/rainy/0.jpg.png").rename(tmp_path / "mixed/rainy/0.jpg")
    (tmp_path / "mixed/clean/0.jpg.png").rename(tmp_path / "mixed/clean/0.png")
    (entry,), report = run(mixed, CONVERT, tmp_path / "both")
    assert (Path(entry.rainy).suffix, Path(entry.clean).suffix) == (".png", ".png")
    assert np.array_equal(read_rgb(tmp_path / "both" / entry.rainy), read_rgb(tmp_path / "mixed/rainy/0.jpg"))
    assert [Path(row["file"]).name for row in report["converted"]] == ["0.png"]


def test_a_grey_picture_of_one_with_colours_is_set_aside(tmp_path: Path) -> None:
    pairs = views(3)
    dataset = write(tmp_path / "set", pairs, rgb)
    for half, number in (("rainy", 0), ("clean", 1)):
        saved("L")(pairs[number][HALVES.index(half)], tmp_path / f"set/{half}/{number}.png")
    entries, report = run(dataset, Prepare(max_quarantined=1.0, convert=True), tmp_path / "out")
    assert ([entry.name for entry in entries], report["converted"]) == (["2"], [])
    assert [(fault["kind"], fault["reason"].split(" and ")[0]) for fault in report["quarantined"]] == [
        ("channels", "the rainy picture is grey"),
        ("channels", "the clean picture is grey"),
    ]


def test_halves_of_one_file_are_converted_and_listed_once(tmp_path: Path) -> None:
    pairs = views(2)
    for i, (rainy, clean) in enumerate(pairs):
        with_alpha(np.hstack([clean, rainy]), tmp_path / f"{i}.png")
    train = {"images": f"{tmp_path}/*.png", "left": "clean"}
    dataset = Folders.model_validate({"source": "folders", "train": train, "validation_share": 0})
    entries, report = run(dataset, CONVERT, tmp_path / "out")
    assert [Path(row["file"]).name for row in report["converted"]] == ["0.png", "1.png"]
    for entry, (rainy, clean) in zip(entries, pairs, strict=True):
        assert np.array_equal(read_rgb(tmp_path / "out" / entry.rainy), rainy)
        assert np.array_equal(read_rgb(tmp_path / "out" / entry.clean), clean)


def test_one_clean_image_of_many_rainy_ones_is_listed_once(tmp_path: Path) -> None:
    for half in HALVES:
        (tmp_path / half).mkdir()
    ((_, clean),) = views(1)
    saved("L")(clean, tmp_path / "clean/1.png")
    for k in range(3):
        saved("L")(render(grey(clean), "light", (k,)), tmp_path / f"rainy/1_{k}.png")
    train = {half: f"{tmp_path}/{half}/*.png" for half in HALVES}
    dataset = Folders.model_validate({"source": "folders", "train": train, "validation_share": 0})
    entries, report = run(dataset, CONVERT, tmp_path / "out")
    assert (len(entries), len(report["converted"])) == (3, 4)


def test_deep_pictures_that_would_be_black_or_have_32_bits_are_set_aside(tmp_path: Path) -> None:
    pairs = views(3)
    dataset = write(tmp_path / "set", pairs, deep, suffix="tif")
    for half, number in (("rainy", 0), ("clean", 0)):  # 12 bits, in the lower part of 16
        image = pairs[number][HALVES.index(half)]
        cv2.imwrite(str(tmp_path / f"set/{half}/{number}.tif"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint16) * 16)
    Pillow.fromarray(pairs[1][0][..., 0].astype(np.float32)).save(tmp_path / "set/rainy/1.tif")
    entries, report = run(dataset, Prepare(max_quarantined=1.0, convert=True), tmp_path / "out")
    assert [entry.name for entry in entries] == ["2"]
    reasons = {Path(fault["file"]).name: fault["reason"] for fault in report["quarantined"]}
    assert reasons["0.tif"].startswith("has 16 bits and uses 12 or fewer of them")
    assert reasons["1.tif"].startswith("has 32 bits a pixel")


def test_pairs_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", views(4), saved("L"))
    for processes in (1, 2):
        prepare.run("mine", dataset, CONVERT, 0, tmp_path / str(processes), processes=processes)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / str(n)).rglob("*") if p.is_file()} for n in (1, 2))
    assert one == two
