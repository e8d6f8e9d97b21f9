import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zstandard
from PIL import Image as Pillow

from rdmc.data import images
from rdmc.data.images import (
    Image,
    decode_grey,
    decode_raw,
    decode_zstd,
    encode_png,
    encode_raw,
    encode_zstd,
    pixels_digest,
    read_picture,
    read_rgb,
    write_png,
)
from rdmc.errors import DataError

Picture = Callable[..., Image]


def encoded(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png16(shape: tuple[int, ...]) -> bytes:
    values = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    return bytes(cv2.imencode(".png", values)[1])


def test_png_is_lossless_and_always_the_same_bytes(tmp_path: Path, picture: Picture) -> None:
    pixels = picture()
    write_png(tmp_path / "deep" / "a.png", pixels)
    assert np.array_equal(read_rgb(tmp_path / "deep" / "a.png"), pixels)
    assert encode_png(pixels) == encode_png(pixels.copy()) == (tmp_path / "deep" / "a.png").read_bytes()


def test_raw_pixels_are_numpys_own_format(picture: Picture) -> None:
    pixels = picture()
    data = encode_raw(pixels[:, ::-1])
    assert data == encode_raw(pixels[:, ::-1].copy())
    assert np.array_equal(np.load(BytesIO(data)), pixels[:, ::-1])
    found = decode_raw(data, "a", *pixels.shape[:2])
    assert np.array_equal(found, pixels[:, ::-1])
    assert not found.flags.writeable, "whoever keeps the pair reads the same pixels"


RAW = encode_raw(np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize("bad", [b"", b"\x93NUMPY", b"PNG", RAW[:-1], RAW + b"0", b"\0" * len(RAW)])
def test_damaged_raw_pixels_give_a_one_line_error(bad: bytes) -> None:
    with pytest.raises(DataError, match="^a: damaged or cut short .*; run `dvc repro pack`$"):
        decode_raw(bad, "a", 4, 5)


def test_raw_pixels_must_be_uint8_rgb_of_the_size_that_is_expected() -> None:
    others: list[Any] = [np.zeros((5, 4, 3), np.uint8), np.zeros((5, 4), np.uint8), np.zeros((4, 5, 3), np.float32)]
    for other in others:
        with pytest.raises(DataError, match=r"the rule is a numpy file of uint8 of \(4, 5, 3\)"):
            decode_raw(encode_raw(other), "a", 4, 5)


def test_pixels_under_zstandard_are_numpys_own_format(picture: Picture) -> None:
    pixels = picture()
    height, width = pixels.shape[:2]
    data = encode_zstd(pixels)
    assert data == encode_zstd(pixels.copy())
    assert zstandard.decompress(data) == encode_raw(pixels)
    found = decode_zstd(data, "a", height, width)
    assert np.array_equal(found, pixels)
    assert not found.flags.writeable


@pytest.mark.parametrize("shape", [(1, 1), (9, 10), (1000, 3), (1, 99_999)])
def test_pixels_of_any_shape_come_back(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    assert np.array_equal(np.load(BytesIO(encode_raw(pixels))), pixels)
    assert np.array_equal(decode_raw(encode_raw(pixels), "a", *shape), pixels)
    assert np.array_equal(decode_zstd(encode_zstd(pixels), "a", *shape), pixels)


def test_damaged_pixels_under_zstandard_are_refused(picture: Picture) -> None:
    pixels = picture()
    height, width = pixels.shape[:2]
    data = encode_zstd(pixels)
    for place in range(0, len(data), 7):
        bad = bytearray(data)
        bad[place] ^= 16
        with pytest.raises(DataError, match="^a: damaged or cut short .*; run `dvc repro pack`$"):
            decode_zstd(bytes(bad), "a", height, width)
    for other in (b"", data[:-1], data[:9], zstandard.compress(bytes(10**6))):
        with pytest.raises(DataError, match="^a: damaged or cut short"):
            decode_zstd(other, "a", height, width)
    with pytest.raises(DataError, match="bytes when unpacked"):
        decode_zstd(data, "a", height + 1, width)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_other_lossless_formats_are_read(kind: str, picture: Picture) -> None:
    assert np.array_equal(read_rgb(encoded(Pillow.fromarray(picture()), kind)), picture())


@pytest.mark.parametrize(
    ("mode", "said"),
    [("L", "grey"), ("LA", "grey with alpha"), ("P", "palette"), ("RGBA", "RGB with alpha"), ("1", "black and white")],
)
def test_other_modes_are_refused_or_converted(mode: str, said: str, picture: Picture) -> None:
    data = encoded(Pillow.fromarray(picture()).convert(mode), "PNG")
    with pytest.raises(DataError, match=f"image: is {said}, the rule is 8-bit RGB; save it"):
        read_rgb(data)
    assert read_rgb(data, convert=True).shape == (24, 32, 3)


def test_cmyk_is_refused_or_converted(picture: Picture) -> None:
    data = encoded(Pillow.fromarray(picture()).convert("CMYK"), "JPEG")
    with pytest.raises(DataError, match="is CMYK"):
        read_rgb(data)
    assert read_rgb(data, convert=True).shape == (24, 32, 3)


def test_dropping_alpha_keeps_the_colours(picture: Picture) -> None:
    alpha = np.full((24, 32, 1), 7, np.uint8)
    data = encoded(Pillow.fromarray(np.concatenate([picture(), alpha], axis=2)), "PNG")
    assert np.array_equal(read_rgb(data, convert=True), picture())


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_16_bits_are_refused_or_scaled(shape: tuple[int, ...]) -> None:
    data = png16(shape)
    with pytest.raises(DataError, match="is 16-bit, the rule is 8-bit RGB"):
        read_rgb(data)
    values = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)).astype(np.uint16)
    expected = values[..., ::-1] if len(shape) == 3 else np.repeat(values[..., None], 3, axis=2)  # OpenCV reads BGR
    assert np.array_equal(read_rgb(data, convert=True), expected >> 8)


def test_16_bits_of_grey_are_turned_upright() -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 256
    file, exif = BytesIO(), Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(values).save(file, "PNG", exif=exif)
    assert np.array_equal(read_rgb(file.getvalue(), convert=True)[..., 0], [[3, 0], [4, 1], [5, 2]])


def test_32_bits_are_refused_even_when_converting() -> None:
    data = encoded(Pillow.fromarray(np.ones((20, 30), np.float32)), "TIFF")
    with pytest.raises(DataError, match="32 bits a pixel"):
        read_rgb(data, convert=True)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}), ("WEBP", {})]
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_picture_cut_short_is_refused(kind: str, options: dict[str, Any], share: float, picture: Picture) -> None:
    data = encoded(Pillow.fromarray(picture(64, 64)), kind, **options)
    with pytest.raises(DataError, match=r"image: (damaged|not an image)"):
        read_rgb(data[: int(len(data) * share)])


def test_a_flipped_bit_in_a_png_is_refused(picture: Picture) -> None:
    data = bytearray(encode_png(picture()))
    data[len(data) // 2] ^= 1
    with pytest.raises(DataError, match="damaged"):
        read_rgb(bytes(data))


@pytest.mark.filterwarnings("ignore:Metadata Warning:UserWarning:PIL")  # from Pillow, for the tag with too many entries
@pytest.mark.parametrize("tag", [struct.pack(">HHLL", 0x011A, 1, 4, 0), struct.pack(">HHLL", 0x010F, 11, 4, 0)])
def test_damaged_metadata_is_refused(tag: bytes, picture: Picture) -> None:
    turned = struct.pack(">HHLL", images.ORIENTATION, 3, 1, 6 << 16)
    exif = b"MM\0*\0\0\0\x08\0\x02" + b"".join(sorted([tag, turned])) + bytes(4)
    with pytest.raises(DataError, match="image: damaged"):
        read_rgb(encoded(Pillow.fromarray(picture()), "WEBP", exif=exif))


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "zero bytes"), (b"a shopping list", "not an image"), (b"%!PS-Adobe", "not an")]
)
def test_a_file_that_is_not_a_picture_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError, match=f"x.png: {said}"):
        read_rgb(tmp_path / "x.png")


def test_a_path_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    for name, said in {"gone.png": "no such file", "link.png": "a broken link", "": "not a file"}.items():
        with pytest.raises(DataError, match=said):
            read_rgb(tmp_path / name)


@pytest.mark.parametrize("side", [20_000, 9_000])
def test_a_decompression_bomb_is_refused_from_its_header(side: int) -> None:
    data = bytearray(encode_png(np.zeros((16, 16, 3), np.uint8)))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert side**2 > images.MAX_PIXELS
    with pytest.raises(DataError, match=r"bomb.*; cut it|more than 80,000,000 pixels; cut it"):
        read_rgb(bytes(data))


def test_exif_orientation_is_applied_and_its_bytes_are_not_kept(tmp_path: Path, picture: Picture) -> None:
    turned = Pillow.Exif()
    turned[images.ORIENTATION] = 6  # shown turned by 90 degrees
    (tmp_path / "turned.jpg").write_bytes(encoded(Pillow.fromarray(picture(24, 32)), "JPEG", exif=turned))
    (tmp_path / "upright.jpg").write_bytes(encoded(Pillow.fromarray(picture(24, 32)), "JPEG"))
    upright, shown = read_picture(tmp_path / "upright.jpg"), read_picture(tmp_path / "turned.jpg")
    assert np.array_equal(shown.pixels, np.rot90(upright.pixels, -1))
    assert (upright.extension, shown.extension) == ("jpg", "png")
    assert upright.data == (tmp_path / "upright.jpg").read_bytes()
    assert np.array_equal(read_rgb(shown.data), shown.pixels)


def test_another_format_is_kept_as_a_lossless_png(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "a.bmp").write_bytes(encoded(Pillow.fromarray(picture()), "BMP"))
    found = read_picture(tmp_path / "a.bmp")
    assert found.extension == "png"
    assert np.array_equal(read_rgb(found.data), picture())


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "RGBA", "CMYK", "1"])
def test_luma_of_any_mode(mode: str, picture: Picture) -> None:
    image = Pillow.fromarray(picture()).convert(mode)
    found = decode_grey(encoded(image, "TIFF" if mode == "CMYK" else "PNG"), "x", 8)
    assert np.array_equal(found, np.array(image.convert("L")))


def test_luma_of_a_16_bit_and_of_a_turned_picture(picture: Picture) -> None:
    values = np.asarray(cv2.imdecode(np.frombuffer(png16((6, 9)), np.uint8), cv2.IMREAD_UNCHANGED))
    assert np.array_equal(decode_grey(png16((6, 9)), "x", 8), (values >> 8).astype(np.uint8))
    exif = Pillow.Exif()
    exif[images.ORIENTATION] = 6
    upright = Pillow.fromarray(picture()).convert("L")
    assert np.array_equal(decode_grey(encoded(upright, "PNG", exif=exif), "x", 8), np.rot90(np.array(upright), -1))


def test_luma_of_a_jpeg_is_decoded_at_reduced_size() -> None:
    data = encoded(Pillow.linear_gradient("L").resize((640, 400)).convert("RGB"), "JPEG")
    whole = decode_grey(data, "x", 300)
    assert whole.shape == (400, 640)
    small = decode_grey(data, "x", 100)
    assert small.shape == (100, 160)
    assert np.abs(cv2.resize(whole, (160, 100), interpolation=cv2.INTER_AREA).astype(int) - small).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_luma_of_a_damaged_file_gives_a_one_line_error(kind: str, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Pillow.fromarray(picture()), kind)
    with pytest.raises(DataError, match="^x: damaged or cut short"):
        decode_grey(data[: len(data) * 2 // 3], "x", 8)
    monkeypatch.setattr(images, "MAX_PIXELS", 10)
    with pytest.raises(DataError, match="^x: .* is more than 10 pixels"):
        decode_grey(data, "x", 8)


def test_a_digest_of_pixels_is_of_their_values_and_their_size() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixels_digest(image) == pixels_digest(image.copy())
    assert len({pixels_digest(one) for one in (image, image[::-1], image.reshape(4, 2, 3))}) == 3
