"""Photographs in and out: what a file holds beside its colours is kept where the new file can hold it, or the loss is named.

``derain`` and ``serve`` share this, so that both write the same bytes.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from rdmc.data.images import BROKEN, FORMATS, ORIENTATION, UPRIGHT, Grey, Image, decode, encode_png, read_bytes
from rdmc.errors import DataError, one_line

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""The formats that can be written, by suffix. JPEG and WebP are lossy."""
QUALITY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
PROCESSED = 0x000B
"""EXIF's ProcessingSoftware: what has changed a picture after the camera."""
MARK = "rdmc derain"
"""The value of ``PROCESSED`` in every result, by which ``derain`` recognises it."""
CAMERA, SIZES = 0x8769, (0xA002, 0xA003)
"""EXIF's own folder of tags, and its tags of width and height in it."""
GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
"""Pillow's modes without colour."""
WARNINGS = Lock()
"""Recorded warnings are those of all threads, so one photograph is read at a time."""
SIGNATURE_AND_IHDR = 33
"""Bytes of a PNG before the place of its other chunks."""


@dataclass(frozen=True)
class Photograph:
    """A photograph: pixels for the network, and what its file holds beside them."""

    pixels: Image
    """(H, W, 3), RGB, 0 to 255, upright."""
    grey: bool = False
    """Whether the file has no colours. Then a result has none either."""
    alpha: Grey | None = None
    """(H, W), 0 (transparent) to 255, upright; None if the file has no transparency."""
    profile: bytes = b""
    """The ICC profile of the file; empty if it has none."""
    exif: bytes = b""
    """EXIF for a result: that of the file without orientation, preview and old sizes, and with the mark of a result."""
    lost: tuple[str, ...] = field(default=())
    """What of the file no result keeps, for the user."""

    def encoded(self, derained: Image, form: str) -> bytes:
        """Return the bytes of a file in ``form``, one of the values of ``SUFFIXES``, from the network's result (H, W, 3).

        Raises DataError for a picture that the format cannot hold.
        """
        if not self.grey and _colourless(self.pixels):  # a black-and-white photograph that was saved in colour
            derained = np.array(Pillow.fromarray(derained).convert("L").convert("RGB"))
        if form == "PNG" and not self.grey and self.alpha is None:
            return _with_chunks(encode_png(derained), self.profile, self.exif)
        image = Pillow.fromarray(derained)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None and form != "JPEG":
            image.putalpha(Pillow.fromarray(self.alpha))
        options = QUALITY.get(form, {"compress_level": 1, "compress_type": zlib.Z_RLE})
        file = BytesIO()
        try:
            image.save(file, form, exif=self.exif, icc_profile=self.profile or None, **options)
        except BROKEN as error:
            size = f"{derained.shape[1]}x{derained.shape[0]} pixels"
            raise DataError(f"{size}: cannot be written as {form} ({one_line(error)}); write a PNG") from None
        return file.getvalue()

    def losses(self, form: str) -> list[str]:
        """Return what of the file a result in ``form`` does not keep."""
        flat = ["transparency, which JPEG has not"] if self.alpha is not None and form == "JPEG" else []
        return [*self.lost, *flat]


def read_photo(source: Path | bytes) -> Photograph:
    """Read a photograph of any kind. Raises DataError as ``rdmc.data.images.read_rgb`` does."""
    with WARNINGS, warnings.catch_warnings(record=True) as said:  # Pillow reads damaged EXIF in part, and warns
        warnings.simplefilter("always")
        photo = _read(source)
    damaged = {f"damaged metadata ({one_line(warning.message)})" for warning in said if "EXIF" in str(warning.message)}
    return replace(photo, lost=(*photo.lost, *sorted(damaged)))


def _read(source: Path | bytes) -> Photograph:
    data, name = (source, "image") if isinstance(source, bytes) else (read_bytes(source), str(source))
    pixels = decode(data, name, convert=True)
    with Pillow.open(BytesIO(data), formats=FORMATS) as image:
        lost = []
        grey = image.mode in GREY
        if image.mode.startswith("I;16") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ())):
            lost.append("the lower 8 of 16 bits")
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            lost.append("all frames after the first")
        try:
            alpha = _alpha(image)
            profile = image.info.get("icc_profile") or b""
            exif = _exif(image)
        except BROKEN as error:
            return Photograph(pixels, grey, exif=_marked(Pillow.Exif()), lost=(*lost, f"damaged metadata ({one_line(error)})"))
    if profile and profile[16:20] != (b"GRAY" if grey else b"RGB "):
        lost.append(f"an ICC profile for {profile[16:20].decode('latin-1').strip() or 'unknown'} colours")
        profile = b""
    return Photograph(pixels, grey, alpha, profile, exif, tuple(lost))


def is_result(path: Path) -> bool:
    """Whether a file is marked as a result of ``derain``. Only headers are read; what is no picture is none."""
    try:
        with Pillow.open(path, formats=FORMATS) as image:
            return MARK.encode() in (image.info.get("exif") or b"")
    except BROKEN:  # includes UnidentifiedImageError, an OSError; the reader of the pixels reports it
        return False


def _colourless(pixels: Image) -> bool:
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def _alpha(image: Pillow.Image) -> Grey | None:
    """Return the transparency of a picture, upright; None if it has none."""
    if not image.has_transparency_data:
        return None
    shown = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return np.array(ImageOps.exif_transpose(shown).getchannel("A"))


def _exif(image: Pillow.Image) -> bytes:
    """Return the EXIF of a result: that of ``image``, whose pixels are now upright."""
    exif = image.getexif()
    turned = exif.pop(ORIENTATION, UPRIGHT) in (5, 6, 7, 8)  # width and height change places
    camera = exif.get_ifd(CAMERA)
    if turned and all(tag in camera for tag in SIZES):
        camera[SIZES[0]], camera[SIZES[1]] = camera[SIZES[1]], camera[SIZES[0]]
    return _marked(exif)


def _marked(exif: Pillow.Exif) -> bytes:
    exif[PROCESSED] = MARK
    return exif.tobytes()


def _with_chunks(png: bytes, profile: bytes, exif: bytes) -> bytes:
    """Return a PNG file with an ICC profile and EXIF. It is written here because OpenCV is several times faster than Pillow."""
    chunks = [(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))] if profile else []
    chunks += [(b"eXIf", exif.removeprefix(b"Exif\0\0"))]
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"".join((png[:SIGNATURE_AND_IHDR], *parts, png[SIGNATURE_AND_IHDR:]))
