"""A headless Chromium that is controlled over the DevTools protocol, without a further package."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)
SECONDS = 120


def chromium() -> str | None:
    """Path of the installed browser; None without one."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


class Page:
    """One page of the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.number, self.events = connection, 0, list[Any]()

    def call(self, method: str, **params: Any) -> Any:
        """Send a command of the protocol and return its result. Events that arrive meanwhile go to ``events``."""
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.connection.recv(timeout=SECONDS))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def value(self, script: str) -> Any:
        """The value of a script."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until a script's value is true."""
        end = time.monotonic() + SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"{script}: {self.value('document.body.innerText')}"
            time.sleep(0.05)

    def drop(self, path: Path) -> None:
        """Drop a file on the page as a user does."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)


@contextmanager
def page(url: str, folder: Path) -> Iterator[Page]:
    """Open ``url`` in a new browser, whose profile is in ``folder``."""
    command = [str(chromium()), *QUIET, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS) as answer:
            target = next(entry for entry in json.load(answer) if entry["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=2**26) as connection:
            found = Page(connection)
            for domain in ("Page", "Runtime", "Log"):
                found.call(f"{domain}.enable")
            found.call("Page.navigate", url=url)
            found.until("document.readyState === 'complete' && location.href !== 'about:blank'")
            yield found
    finally:
        process.terminate()
        process.wait(30)


def _port(note: Path) -> str:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if note.is_file() and (lines := note.read_text().splitlines()):
            return lines[0]
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")
