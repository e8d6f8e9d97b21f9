"""GET requests over http and https and nothing else: no URL and no redirect can read a file of this machine."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from http.client import HTTPResponse, IncompleteRead
from typing import NoReturn
from urllib import request

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is closed."""
CHUNK = 1 << 20
HANDLERS = {"http": request.HTTPHandler, "https": request.HTTPSHandler}


class RefusedError(OSError):
    """A URL, the requested one or a redirect, whose scheme is not allowed."""


class _Refusal(request.UnknownHandler):
    """Refuse every other scheme with an error that names the URL. No connection is opened."""

    def __init__(self, schemes: Collection[str]) -> None:
        self.rule = " or ".join(schemes)

    def unknown_open(self, req: request.Request) -> NoReturn:
        raise RefusedError(f"leads to {req.full_url}, which is not {self.rule}")


def open_url(
    url: str, schemes: Collection[str] = ("https",), headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT
) -> HTTPResponse:
    """Return the response to a GET of ``url``. Redirects are followed and the environment's proxies are used.

    Raises RefusedError if the URL or a redirect has none of the ``schemes`` (https, http), HTTPError for an error response,
    another OSError or HTTPException if there is no response, ValueError for a string that is not a URL.
    """
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        *(HANDLERS[scheme]() for scheme in schemes),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
        request.HTTPDefaultErrorHandler(),
        _Refusal(schemes),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "rdmc"), *(headers or {}).items()]
    answer: HTTPResponse = opener.open(url, timeout=timeout)
    return answer


def pieces(answer: HTTPResponse) -> Generator[bytes, None, None]:
    """Yield a response's body in parts of at most ``CHUNK`` bytes. Raises IncompleteRead if it ends before its length."""
    with answer:
        while piece := answer.read(CHUNK):
            yield piece
        if answer.length:
            raise IncompleteRead(b"", answer.length)
