"""Answers of web servers over http and https and nothing else: no address, and no redirect, reads a file of this machine."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from http.client import HTTPResponse, IncompleteRead
from typing import NoReturn
from urllib import request

TIMEOUT = 30.0
"""Seconds without a byte before a connection is given up."""
CHUNK = 1 << 20
HANDLERS = {"http": request.HTTPHandler, "https": request.HTTPSHandler}


class RefusedError(OSError):
    """An address, the one asked for or one that a server leads to, of a scheme that was not asked for."""


class _Refusal(request.UnknownHandler):
    """Says which address was met; it is not connected to."""

    def __init__(self, schemes: Collection[str]) -> None:
        self.rule = " or ".join(schemes)

    def unknown_open(self, req: request.Request) -> NoReturn:
        raise RefusedError(f"leads to {req.full_url}, which is not {self.rule}")


def open_url(
    url: str, schemes: Collection[str] = ("https",), headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT
) -> HTTPResponse:
    """The answer to a GET of ``url``, redirects and the environment's proxies followed.

    Raises RefusedError where it is, or leads to, an address of none of ``schemes`` (https, http), HTTPError for an answer that
    is an error, another OSError or HTTPException where there is none, ValueError for what cannot be an address.
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
    """An answer's body in parts of at most ``CHUNK`` bytes. Raises IncompleteRead where it ends before its length."""
    with answer:
        while piece := answer.read(CHUNK):
            yield piece
        if answer.length:
            raise IncompleteRead(b"", answer.length)
