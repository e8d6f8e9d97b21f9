"""Photographs keep what is in them: grey, transparency, ICC profile and EXIF, in every format; what is lost is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.serving.photos import MARK, PROCESSED, is_result, read_photo
from rdmc.data.images import encode_png, read_rgb
from rdmc.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FOR_GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
FORMS = ["PNG", "JPEG", "WEBP"]
CAMERA, WIDTH, HEIGHT, ORIENTATION, MAKER, SOFTWARE, PLACE = 0x8769, 0xA002, 0xA003, 0x0112, 0x010F, 0x0131, 0x8825


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def of_mode(mode: str) -> Image.Image:
    image = Image.fromarray(COLOUR)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(COLOUR[..., 1]))
    return image.convert(mode)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_grey_stays_grey(mode: str, form: str) -> None:
    source = Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257) if mode == "I;16" else of_mode(mode)
    photo = read_photo(saved(source))
    assert (photo.pixels[..., 0] == photo.pixels[..., 2]).all()
    tinted = photo.pixels // 2 + np.array([3, 0, 5], np.uint8)  # a network gives back colours, if only slight ones
    found = opened(photo.encoded(tinted, form))
    colours = np.asarray(found.convert("RGB")).astype(int)
    assert np.ptp(colours, axis=2).max() <= (1 if form == "WEBP" else 0), "WebP has colours always, and rounds them"
    if form == "PNG":
        assert found.mode == ("LA" if mode == "LA" else "L")


def test_a_grey_photograph_that_is_saved_in_colour_stays_grey() -> None:
    photo = read_photo(encode_png(np.repeat(COLOUR[..., :1], 3, axis=2)))
    found = read_rgb(photo.encoded(photo.pixels // 2 + np.array([3, 0, 5], np.uint8), "PNG"))
    assert np.ptp(found.astype(int), axis=2).max() == 0
    assert np.ptp(read_rgb(read_photo(encode_png(COLOUR)).encoded(COLOUR, "PNG")).astype(int), axis=2).max() > 100


@pytest.mark.parametrize("mode", ["RGBA", "LA", "palette", "one colour"])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparency_is_kept(form: str, mode: str) -> None:
    options: dict[str, Any] = {}
    if mode == "palette":
        source, options["transparency"] = of_mode("RGB").quantize(8), 3
    elif mode == "one colour":
        source, options["transparency"] = of_mode("RGB"), tuple(int(level) for level in COLOUR[4, 5])
    else:
        source = of_mode(mode)
    data = saved(source, "PNG", **options)
    expected = np.asarray(opened(data).convert("RGBA"))[..., 3]
    assert 0 <= expected.min() < expected.max() <= 255
    photo = read_photo(data)
    assert np.array_equal(np.asarray(opened(photo.encoded(photo.pixels, form)).convert("RGBA"))[..., 3], expected)
    assert photo.losses(form) == []
    assert photo.losses("JPEG") == ["transparency, which JPEG has not"]
    assert opened(photo.encoded(photo.pixels, "JPEG")).size == (40, 30)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("mode", "profile"), [("RGB", SRGB), ("RGBA", SRGB), ("L", FOR_GREY)])
def test_the_colour_profile_is_kept(mode: str, profile: bytes, form: str) -> None:
    photo = read_photo(saved(of_mode(mode), icc_profile=profile))
    found = opened(photo.encoded(photo.pixels, form))
    assert found.info["icc_profile"] == profile
    if form == "PNG":
        assert np.array_equal(np.asarray(found.convert("RGB")), photo.pixels)


def test_a_profile_of_other_colours_is_left_out_and_named() -> None:
    photo = read_photo(saved(of_mode("CMYK"), "JPEG", icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:]))
    assert photo.losses("PNG") == ["an ICC profile for CMYK colours"]
    assert "icc_profile" not in opened(photo.encoded(photo.pixels, "PNG")).info


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_exif_is_kept_without_the_orientation(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER], exif[SOFTWARE] = orientation, "Camera & Co", "firmware 3"
    exif.get_ifd(CAMERA).update({WIDTH: 40, HEIGHT: 30, 0x829A: 0.02})
    exif.get_ifd(PLACE).update({1: "N", 2: (47.0, 22.0, 1.5)})
    photo = read_photo(saved(of_mode("RGB"), "JPEG", exif=exif, quality=95))
    size = (30, 40) if orientation == 6 else (40, 30)
    assert photo.pixels.shape[1::-1] == size
    found = opened(photo.encoded(photo.pixels, form))
    kept = found.getexif()
    assert found.size == size
    assert ORIENTATION not in kept
    assert (kept[MAKER], kept[SOFTWARE], kept[PROCESSED]) == ("Camera & Co", "firmware 3", MARK)
    camera = kept.get_ifd(CAMERA)
    assert (camera[WIDTH], camera[HEIGHT], float(camera[0x829A])) == (*size, 0.02)
    assert [float(part) for part in kept.get_ifd(PLACE)[2]] == [47.0, 22.0, 1.5]


def test_a_plain_picture_has_the_pixels_of_the_network(tmp_path: Path) -> None:
    photo = read_photo(encode_png(COLOUR))
    assert np.array_equal(read_rgb(photo.encoded(255 - COLOUR, "PNG")), 255 - COLOUR)
    assert (photo.grey, photo.alpha, photo.profile, photo.losses("PNG")) == (False, None, b"", [])


def test_lost_bits_and_frames_are_named() -> None:
    deep = Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 200)
    assert read_photo(saved(deep)).losses("PNG") == ["the lower 8 of 16 bits"]
    moving = saved(of_mode("P"), "GIF", save_all=True, append_images=[of_mode("P").rotate(90)])
    assert "all frames after the first" in read_photo(moving).losses("PNG")


def test_damaged_exif_costs_the_exif_and_not_the_picture() -> None:
    data = saved(of_mode("RGB"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    photo = read_photo(data)
    assert opened(photo.encoded(photo.pixels, "PNG")).getexif()[PROCESSED] == MARK
    (loss,) = photo.losses("PNG")
    assert loss.startswith("damaged metadata (Corrupt EXIF")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_result_is_recognised(form: str, mode: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "target"
    source.write_bytes(saved(of_mode(mode)))
    photo = read_photo(source)
    target.write_bytes(photo.encoded(photo.pixels, form))
    assert (is_result(source), is_result(target)) == (False, True)
    (tmp_path / "text").write_text(MARK)
    assert not is_result(tmp_path / "text")


def test_a_picture_that_is_too_long_for_the_format_is_an_error() -> None:
    photo = read_photo(encode_png(np.zeros((1, 17_000, 3), np.uint8)))
    with pytest.raises(DataError, match=r"^17000x1 pixels: cannot be written as WEBP .*; write a PNG$"):
        photo.encoded(photo.pixels, "WEBP")


def test_photographs_read_at_the_same_time_have_each_their_own_losses() -> None:
    damaged = saved(of_mode("RGB"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    files = [damaged, saved(of_mode("RGB"), "JPEG")] * 40
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read_photo, files))
    assert [len(photo.lost) for photo in found] == [1, 0] * 40
