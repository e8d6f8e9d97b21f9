"""Check requests before they reach a network: each must hold one image that is not too large.

Headers and sizes decide; no pixel is decoded here. Slow work runs in a thread, outside of the event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from rdmc.data.images import header
from rdmc.errors import DataError, SizeError, one_line

MAGIC = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WebP": b"RIFF"}
"""Accepted formats, and the bytes that their files begin with. Pillow's other formats are old or rare."""
NAMES = {*(name.upper() for name in MAGIC), "MPO"}
"""Pillow's names of the formats. MPO is a phone's JPEG with a second JPEG behind it, which is ignored."""
FORM = "multipart/form-data"
PLAIN = ("image/", "application/octet-stream")
VAGUE = {"", "*/*", "application/x-www-form-urlencoded", "binary/octet-stream", "application/binary"}
"""Types of programs that were given none, such as curl with ``--data-binary``. The first bytes tell what the body is."""
MADE = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP"}
"""What an answer can be, by media type."""
FIELD = "image"
ENVELOPE = 16_384
"""Most bytes that a form may have in addition to its image."""
DISCARD_FACTOR = 4
"""A refused body of up to this many times the size limit is read and discarded, so that its sender sees the reason."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits on the size and duration of a request."""

    megabytes: float = 32.0
    """Largest body in MiB."""
    megapixels: float = 24.0
    """Largest image in millions of pixels, by the size in its header."""
    seconds: float = 60.0
    """Most seconds for the body to arrive."""


class RequestError(Exception):
    """A request that is refused with an HTTP status and one line of explanation."""

    def __init__(self, status: int, line: str, closes: bool = False) -> None:
        """``closes`` closes the connection afterwards. It is for requests of which too much is still to arrive."""
        super().__init__(line)
        self.status, self.line, self.closes = status, line, closes

    def response(self) -> Response:
        """The response, with the line as JSON."""
        headers = {"Retry-After": "1"} if self.status == 503 else {}
        headers |= {"Connection": "close"} if self.closes else {}
        text = json.dumps({"error": one_line(self.line)}) + "\n"
        return Response(text, self.status, headers, "application/json")


def own_names(host: str) -> frozenset[str]:
    """The host names that a server on ``host`` accepts. Empty, so that any name is accepted, if other machines reach it."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    return frozenset({host.lower(), "localhost", "127.0.0.1", "::1"}) if loopback else frozenset()


def admit(request: Request, names: frozenset[str]) -> None:
    """Raise RequestError for a request that a browser sends on behalf of another site.

    Two signs give it away: the header ``Sec-Fetch-Site``, and a ``Host`` that is not among ``names`` (of ``own_names``). A site
    may let its own name resolve to 127.0.0.1 and then read the answers of a server there (DNS rebinding).
    """
    host = request.headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if names and host and name not in names:
        raise RequestError(
            403, f"Host {host[:80]!r}: this server is called {', '.join(sorted(names))}; a proxy must name it so"
        )
    if request.method == "POST" and request.headers.get("sec-fetch-site") == "cross-site":
        raise RequestError(403, "another site's page sent this; use this server's own page, or a program")


async def picture(request: Request, limits: RequestLimits) -> bytes:
    """The bytes of the image of a request, which is its body or the field ``image`` of a form. Raises RequestError."""
    kind = request.headers.get("content-type", PLAIN[1]).partition(";")[0].strip().lower()
    if kind != FORM and kind not in VAGUE and not kind.startswith(PLAIN):
        raise RequestError(415, f"{kind[:80]}: send {', '.join(MAGIC)} as the body, or {FORM} with the field {FIELD!r}")
    most = int(limits.megabytes * 2**20) + (ENVELOPE if kind == FORM else 0)
    body = await _body(request, most, limits)
    if kind == FORM:
        body = await _from_form(request, body)
    await asyncio.to_thread(check, body, limits)
    return body


def wanted_form(accept: str) -> str:
    """The format of the answer that an ``Accept`` header names: PNG unless JPEG or WebP is named with a higher weight.

    ``*/*`` and ``image/*`` leave the choice to the server. An image is also the answer to a caller who names none of the three.
    """
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *options = (text.strip().lower() for text in part.split(";"))
        given = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            weights[MADE[kind]] = max(float(given), weights.get(MADE[kind], 0.0))
        except (KeyError, ValueError):
            continue
    return max(("PNG", "JPEG", "WEBP"), key=lambda form: weights.get(form, 0.0))  # of equal ones, the first


def check(body: bytes, limits: RequestLimits) -> None:
    """Raise RequestError unless ``body`` begins like an image of an accepted format and size."""
    if not body:
        raise RequestError(400, f"zero bytes: send {', '.join(MAGIC)} as the body")
    if len(body) > limits.megabytes * 2**20:
        raise _too_long(limits, False)
    if not body.startswith(tuple(MAGIC.values())):
        raise RequestError(415, f"not {', '.join(MAGIC)} by its first bytes; save it as one of them")
    try:
        form, width, height = header(body, "image")
    except SizeError as error:
        raise RequestError(413, str(error)) from None
    except DataError as error:
        raise RequestError(422, str(error)) from None
    if form.upper() not in NAMES:
        raise RequestError(415, f"{form}: send {', '.join(MAGIC)}")
    if width * height > limits.megapixels * 1e6:
        raise RequestError(
            413, f"{width}x{height} is more than {limits.megapixels:g} megapixels; cut it into parts or shrink it"
        )


async def _body(request: Request, most: int, limits: RequestLimits) -> bytes:
    """The body of a request. Raises RequestError if it has more than ``most`` bytes or does not arrive in time."""
    closes = too_long_to_discard(request, limits)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_long(limits, closes)
    parts, length = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                parts.append(part)
                length += len(part)
                if length > most:
                    raise _too_long(limits, closes)
    except TimeoutError:
        raise RequestError(
            408, f"the body did not arrive within {limits.seconds:g} s; send it faster or send less", True
        ) from None
    except ClientDisconnect:
        raise RequestError(400, "the connection ended before the body did") from None
    return b"".join(parts)


async def _from_form(request: Request, body: bytes) -> bytes:
    """The image's field of a form. Raises RequestError if there is none or the form is broken."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    buffered = Request(request.scope, receive)
    try:
        async with buffered.form(max_files=1, max_fields=8, max_part_size=ENVELOPE) as form:
            field = form.get(FIELD)
            if field is None or isinstance(field, str):
                raise RequestError(400, f"the form has no file {FIELD!r}; give the image's field that name")
            return await field.read()
    except (HTTPException, MultiPartException, ValueError, LookupError, UnicodeError) as error:
        reason = getattr(error, "detail", None) or getattr(error, "message", None) or str(error) or type(error).__name__
        raise RequestError(400, f"the form cannot be read ({reason}); send one file in the field {FIELD!r}") from None


def too_long_to_discard(request: Request, limits: RequestLimits) -> bool:
    """Whether the rest of a refused body must not be read and discarded: it is far too long, or its length is not declared."""
    declared = request.headers.get("content-length", "")
    return not declared.isdecimal() or int(declared) > DISCARD_FACTOR * limits.megabytes * 2**20


def _too_long(limits: RequestLimits, closes: bool) -> RequestError:
    return RequestError(413, f"more than {limits.megabytes:g} MiB; send less", closes)
