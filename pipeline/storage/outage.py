"""The bucket through an outage: requests that fail because the server is gone are repeated until it is back.

s3fs reads some failures as "there is no such file". So a short outage could end a training with a false cause.

Uploads are sent without ``Expect: 100-continue``. aiohttp waits for the answer to that header without a limit, whatever the
timeouts are, so a server that goes silent there would stop a training until its own limit (an hour for rclone).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import s3fs
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper

from pipeline.console import say
from pipeline.storage.s3 import endpoint
from rdmc.errors import ServiceError

FIRST, LONGEST = 0.2, 5.0
"""Seconds of the first and of the longest pause between two attempts; each pause is twice the one before."""
NOTICE = 2.0
"""Seconds after which an outage is said; a request that fails once is nothing to report."""
BUSY = 429
"""HTTP status of a server that asks for a pause. Those from 500 on are the server's own errors."""


class OutageError(ServiceError):
    """The bucket could not be reached for ``RDMC_OUTAGE`` seconds."""


class PatientS3(s3fs.S3FileSystem):
    """s3fs whose requests are repeated for ``patience`` seconds while the server cannot be reached or fails.

    A request then raises OutageError. Refusals and missing objects are raised at once, as by s3fs.
    """

    def __init__(self, *args: Any, patience: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = patience
        self.said = False

    async def set_session(self, *args: Any, **kwargs: Any) -> Any:
        """The client, made at the first call. Its uploads do not ask the server before they send."""
        before, client = self._s3, await super().set_session(*args, **kwargs)
        if client is not before:
            client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    async def _call_s3(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        begun, pause = time.monotonic(), FIRST
        place = f"s3://{kwargs.get('Bucket', '')} at {urlsplit(endpoint()).netloc or 'AWS'}"
        while True:
            try:
                answer = await super()._call_s3(method, *akwarglist, **kwargs)
            except Exception as error:
                if not is_outage(error):
                    raise
                lasted, name = time.monotonic() - begun, type(error).__name__
                if lasted >= self.patience:
                    cure = "raise RDMC_OUTAGE, then run the same command again" if self.patience else "fix AWS_ENDPOINT_URL"
                    raise OutageError(
                        f"{place}: not reached for {lasted:.0f} s ({name}); start the server or {cure}"
                    ) from error
                if lasted > NOTICE and not self.said:
                    self.said = True  # once for all requests that wait
                    say(f"{place} cannot be reached ({name}); trying again for {self.patience:.0f} s (RDMC_OUTAGE)")
                await asyncio.sleep(min(pause, self.patience - lasted))
                pause = min(2 * pause, LONGEST)
            else:
                if self.said:
                    self.said = False
                    say(f"{place} answers again")
                return answer

    call_s3 = sync_wrapper(_call_s3)  # s3fs binds its own when the class is made; files use it


def is_outage(error: BaseException) -> bool:
    """Whether a request failed because of the network or the server, so that the same request may succeed later."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    if isinstance(cause, ClientError):
        status = int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status == BUSY or status >= 500
    return isinstance(error, (NoConnectionError, HTTPClientError, ResponseParserError, ConnectionError, TimeoutError))
