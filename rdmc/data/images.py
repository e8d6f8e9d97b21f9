"""Read image files as 8-bit RGB arrays, and write them. There is one reader: the same bytes give the same pixels everywhere.

Reading is strict by default. A picture of a benchmark that is grey or has alpha, a palette or 16 bits is an error to report,
not one to repair silently. ``convert`` is for pictures that a user wants derained, and for pairs under `prepare.convert: true`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from rdmc.data.outline import check_outline
from rdmc.errors import DataError, SizeError, one_line
from rdmc.files import write_bytes

Image = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]
"""(H, W), luma, 0 to 255."""

MAX_PIXELS = 80_000_000
"""Pictures with more pixels are refused from their header, before memory is allocated (240 MB decoded)."""
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
"""The formats that may be read: common picture formats, none of which runs a program."""
KEPT = {"PNG": "png", "JPEG": "jpg"}
"""Formats whose bytes are kept unchanged, and their extension in pairs and shards."""
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""PNG parameters; any choice is lossless. Higher levels take several times as long and save a few percent of the size. In
photographs, run-length matching is faster than full matching and makes files a twelfth smaller."""
LEVEL = 3
"""Zstandard's level. Of photographs, 1 leaves 7 % more and 6 leaves 2 % less in half the speed of writing."""
DARK = 16
"""A 16-bit picture whose brightest 8-bit level is below this uses at most 12 of its bits."""
UPRIGHT = 1
ORIENTATION = 0x0112
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Pillow.DecompressionBombError),
    *(TypeError, LookupError, ArithmeticError, AttributeError),  # its metadata parsers do not check the bytes
)
"""The exceptions that Pillow raises for damaged files."""
DEEP = "32-bit"
"""The kind of pictures that cannot be converted either."""
MODES = {"L": "grey", "1": "black and white", "P": "palette", "LA": "grey with alpha", "RGBA": "RGB with alpha", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Picture:
    """A picture as pixels, and as the bytes of a PNG or JPEG file with exactly these pixels."""

    pixels: Image
    """(H, W, 3), RGB, 0 to 255."""
    data: bytes
    extension: str
    """png or jpg."""
    was: str = ""
    """What its file holds, such as grey or 16-bit, if it was converted; empty if that is 8-bit RGB."""


def read_rgb(source: Path | bytes, convert: bool = False) -> Image:
    """Return the picture in a file, or in a file's bytes, as (H, W, 3), RGB, 0 to 255, turned upright (EXIF).

    With ``convert``, grey, palette and CMYK pictures become RGB, alpha is dropped, and 16 bits become 8. Raises DataError if
    the file is missing, empty, damaged, truncated, larger than ``MAX_PIXELS`` or, without ``convert``, not 8-bit RGB.
    """
    data, name = (source, "image") if isinstance(source, bytes) else (read_bytes(source), str(source))
    return decode(data, name, convert)


def read_picture(path: Path, convert: bool = False) -> Picture:
    """Read a file. Its bytes are kept if they are an upright 8-bit RGB PNG or JPEG, else its pixels are encoded as PNG.

    Raises DataError as ``read_rgb`` does, and for a 16-bit picture to ``convert`` that uses 12 bits or less: it would be black.
    """
    data = read_bytes(path)
    with _open(data, str(path)) as image:
        was = _other_kind(image)
    if was and was != DEEP and not convert:
        hint = "save it as 8-bit RGB, or set prepare.convert: true in params.yaml"
        raise DataError(f"{path}: is {was}, the rule is 8-bit RGB; {hint}")
    pixels = decode(data, str(path), convert)
    if was == "16-bit" and int(pixels.max()) < DARK:
        raise DataError(f"{path}: has 16 bits and uses 12 or fewer of them, the rule is all; scale it and save it as 8-bit RGB")
    if was:
        return replace(as_png(pixels), was=was)
    with _open(data, str(path)) as image:
        if image.format in KEPT and image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT:
            return Picture(pixels, data, KEPT[image.format])
    return as_png(pixels)


def as_png(pixels: Image) -> Picture:
    """Return ``pixels`` (H, W, 3; RGB) with the bytes of a PNG."""
    return Picture(pixels, encode_png(pixels), "png")


def decode(data: bytes, name: str, convert: bool = False) -> Image:
    """Decode bytes as ``read_rgb`` does. ``name`` stands for them in errors."""
    with _open(data, name) as image:
        if not convert and (kind := _other_kind(image)):
            raise DataError(f"{name}: is {kind}, the rule is 8-bit RGB; save it as 8-bit RGB")
        try:
            if image.format == "PNG":
                with _open(data, name) as whole:
                    whole.verify()  # checks every chunk; Pillow's decoder skips the checksums of the pixels
            if image.mode in ("I", "F"):
                raise DataError(f"{name}: has 32 bits a pixel, at most 16 can be read; save it as 8-bit RGB")
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            return np.array(upright.convert("RGB"))
        except BROKEN as error:
            raise DataError(f"{name}: damaged or cut short ({one_line(error)}); fetch it again or remove it") from None


def pixels_digest(pixels: Image) -> str:
    """Return the SHA-256 (hex) of the size and the pixels (H, W, 3) of an image, in whatever file they are."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def decode_grey(data: bytes, name: str, side: int) -> Grey:
    """Return the luma (H, W) of a picture in any 8 or 16-bit mode, upright. It is for comparing, not for training.

    A JPEG is decoded at a half, a quarter or an eighth of its size if both sides keep ``side`` pixels; this takes a fraction
    of the time. Raises DataError if the file is empty, damaged, truncated or larger than ``MAX_PIXELS``.
    """
    with _open(data, name) as image:
        if image.mode in ("I", "F"):
            raise DataError(f"{name}: has 32 bits a pixel, at most 16 can be read; save it as 8-bit RGB")
        try:
            image.draft("L", (side, side))
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                return (np.asarray(upright) >> 8).astype(np.uint8)
            return np.array(upright.convert("L"))
        except BROKEN as error:
            raise DataError(f"{name}: damaged or cut short ({one_line(error)}); fetch it again or remove it") from None


def header(data: bytes, name: str) -> tuple[str, int, int]:
    """Return format (one of ``FORMATS``), width and height from a picture's header; nothing is decoded.

    A phone's picture that contains a second one has the format MPO. Raises SizeError for more than ``MAX_PIXELS``, else
    DataError.
    """
    with _open(data, name) as image:
        return str(image.format), image.width, image.height


def encode_png(pixels: Image) -> bytes:
    """Return the bytes of a PNG file of ``pixels`` (H, W, 3; RGB). The same pixels always give the same bytes."""
    fine, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), PNG)
    if not fine:
        raise DataError(f"image of shape {pixels.shape}: cannot be written as PNG; give uint8 of (H, W, 3)")
    return bytes(data)


def encode_raw(pixels: Image) -> bytes:
    """Return ``pixels`` (H, W, 3; RGB) in numpy's file format, uncompressed. The same pixels give the same bytes."""
    file = BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def decode_raw(data: bytes, name: str, height: int, width: int) -> Image:
    """Return the pixels (height, width, 3) that ``encode_raw`` wrote, read-only, for they lie in ``data``.

    Raises DataError where they are others or cut short; the format has no checksum of the pixels.
    """
    header = _numpy_header(height, width)
    if not data.startswith(header) or len(data) != len(header) + 3 * height * width:
        rule = f"the rule is a numpy file of uint8 of {(height, width, 3)}"
        raise DataError(f"{name}: damaged or cut short ({len(data)} bytes, {rule}); run `dvc repro pack`")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(height, width, 3)


@lru_cache(maxsize=1024)
def _numpy_header(height: int, width: int) -> bytes:
    """What a file of ``encode_raw`` begins with. numpy reads it by Python's own parser, a fifth of the time of a crop."""
    file = BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (height, width, 3)}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


def encode_zstd(pixels: Image) -> bytes:
    """Return what ``encode_raw`` writes, as a Zstandard frame with a checksum. The same pixels give the same bytes."""
    from zstandard import ZstdCompressor  # here, for training from other shards does without it

    return ZstdCompressor(level=LEVEL, write_checksum=True).compress(encode_raw(pixels))


def decode_zstd(data: bytes, name: str, height: int, width: int) -> Image:
    """Return the pixels (height, width, 3) that ``encode_zstd`` wrote, read-only.

    Raises DataError where they are others or damaged.
    """
    import zstandard

    expected = len(_numpy_header(height, width)) + 3 * height * width
    try:
        if (size := zstandard.frame_content_size(data)) != expected:  # before so much memory is taken
            raise ValueError(f"{size} bytes when unpacked, {expected} expected")
        pixels = zstandard.ZstdDecompressor().decompress(data)
    except (ValueError, zstandard.ZstdError) as error:
        raise DataError(f"{name}: damaged or cut short ({one_line(error)}); run `dvc repro pack`") from None
    return decode_raw(pixels, name, height, width)


def write_png(path: Path, pixels: Image) -> None:
    """Write ``pixels`` (H, W, 3; RGB, 0 to 255) as a PNG file, whole or not at all."""
    write_bytes(path, encode_png(pixels))


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file. Raises DataError if it is missing or cannot be read."""
    if not path.is_file():
        what = "a broken link" if path.is_symlink() else "not a file" if path.exists() else "no such file"
        raise DataError(f"{path}: {what}; name an image file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)}); check its permissions") from None


def _open(data: bytes, name: str) -> Pillow.Image:
    """Open a picture and check its header. Nothing is decoded yet."""
    if not data:
        raise DataError(f"{name}: zero bytes; fetch it again or remove it")
    check_outline(data, name)
    try:
        image = Pillow.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image ({', '.join(FORMATS)}); remove it or narrow the glob") from None
    except Pillow.DecompressionBombError as error:
        raise SizeError(f"{name}: {one_line(error)}; cut it into parts") from None
    except BROKEN as error:
        raise DataError(f"{name}: damaged or too large ({one_line(error)}); fetch it again or remove it") from None
    if image.width * image.height > MAX_PIXELS:
        raise SizeError(f"{name}: {image.width}x{image.height} is more than {MAX_PIXELS:,} pixels; cut it into parts")
    return image


def _other_kind(image: Pillow.Image) -> str:
    """Return what a picture is that is not 8-bit RGB, for example grey; else empty.

    Pillow calls 16-bit colour RGB too and drops half the bits; its tiles tell.
    """
    if image.mode in ("I", "F"):
        return DEEP
    if image.mode.startswith("I;16") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ())):
        return "16-bit"
    return "" if image.mode == "RGB" else MODES.get(image.mode, f"mode {image.mode}")
