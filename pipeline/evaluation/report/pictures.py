"""Pictures with a before/after slider, inside the page: WebP, shrunk to a size that is still worth a zoom."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image as Pillow

from rdmc.data.images import Image, encode_png

LONGEST = 1280
"""Most pixels of the longer side."""
QUALITY = 85
"""Of WebP, 0 to 100."""
ZOOMS = (1, 2, 4)


@dataclass
class Album:
    """The pictures of a page. The first one that does not fit into ``room`` bytes and all after it are left out and counted."""

    room: int
    count: int = 0
    left_out: int = 0

    def picture(self, title: str, about: str, rainy: Image, derained: Image, clean: Image) -> str:
        """A picture of three (H, W, 3) uint8 RGB images: the derained one, and on its left the rainy or the clean one.

        Empty if it is left out.
        """
        encoded = [] if self.left_out else [_webp(image) for image in (derained, rainy, clean)]
        size = sum(map(len, encoded))
        if not encoded or size > self.room:
            self.left_out += 1
            return ""
        self.room -= size
        self.count += 1
        height, width = rainy.shape[:2]
        return _figure(f"p{self.count}", title, f"({width}x{height}). {about}", encoded)


def plot(image: Image, about: str) -> str:
    """A plot, (H, W, 3) uint8 RGB, as a PNG inside the page."""
    data = base64.b64encode(encode_png(image)).decode()
    return f'<p><img class="plot" alt="{escape(about)}" src="data:image/png;base64,{data}"></p>'


def _figure(name: str, title: str, about: str, encoded: list[str]) -> str:
    derained, rainy, clean = encoded
    image = '<img alt="{}"{} src="{}">'
    over = ' class="over" data-name="{}"{}'
    return "".join(
        [
            f'<figure class="compare" id="{name}">',
            f"<figcaption><strong>{escape(title)}</strong> {escape(about)}</figcaption>",
            '<div class="view"><div class="pair" data-left="rainy">',
            image.format(escape(f"{title}, derained"), "", derained),
            image.format(escape(f"{title}, rainy"), over.format("rainy", ""), rainy),
            image.format(escape(f"{title}, clean"), over.format("clean", " hidden"), clean),
            f'<input type="range" min="0" max="100" value="50" aria-label="{escape(title)}: how much is the left image">',
            '</div></div><div class="tools">',
            _choice(f"left-{name}", "left of the line", (("rainy", "rainy"), ("clean", "clean"))),
            _choice(f"zoom-{name}", "zoom", ((str(zoom), f"{zoom}x") for zoom in ZOOMS)),
            "</div></figure>",
        ]
    )


def _choice(name: str, legend: str, values: Iterable[tuple[str, str]]) -> str:
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"{"" if number else " checked"}> {text}</label>'
        for number, (value, text) in enumerate(values)
    )
    return f"<fieldset><legend>{legend}</legend>{buttons}</fieldset>"


def _webp(image: Image) -> str:
    """A data URI of the image, shrunk to ``LONGEST``."""
    shown = Pillow.fromarray(np.ascontiguousarray(image))
    shown.thumbnail((LONGEST, LONGEST), Pillow.Resampling.LANCZOS)
    data = io.BytesIO()
    shown.save(data, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
