"""Addresses of pages in MLflow's user interface, for the terminal and for Markdown inside its own pages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.tracking.client import shown_uri

HOST, PORT = "127.0.0.1", 5000
"""Where `make mlflow` serves the pages if no other port is chosen."""
HISTORY = "-history"
"""End of the name of a registered model that holds a log of promotions and no model."""
VIEW = "?workflowType=machine_learning"
"""Opens a page in the view for model training. Without it, a browser that has not been here before gets the GenAI view."""


def experiment_page(experiment: str) -> str:
    """The page with the runs of an experiment, as a fragment of the interface's address."""
    return f"#/experiments/{experiment}/runs{VIEW}"


def run_page(experiment: str, run_id: str) -> str:
    """The page of a run, as a fragment."""
    return f"#/experiments/{experiment}/runs/{run_id}{VIEW}"


def curves_page(experiment: str, run_id: str) -> str:
    """The page with the charts of a run, as a fragment."""
    return f"#/experiments/{experiment}/runs/{run_id}/model-metrics{VIEW}"


def artifact_page(experiment: str, run_id: str, path: str) -> str:
    """The page that shows an artifact of a run, as a fragment. ``path`` is relative to the run's artifacts."""
    return f"#/experiments/{experiment}/runs/{run_id}/artifacts/{quote(path)}{VIEW}"


def model_page(model: str, version: int = 0) -> str:
    """The page of a registered model or of one of its versions, as a fragment."""
    return f"#/models/{quote(model, safe='')}{f'/versions/{version}' if version else ''}{VIEW}"


def served_at(settings: Settings) -> str:
    """The address of a server that shows these pages itself; empty for a store that has no pages of its own."""
    shown = shown_uri(settings.tracking_uri)
    return shown.rstrip("/") if urlsplit(shown).scheme in ("http", "https") else ""


def show_pages(settings: Settings, pages: Mapping[str, str]) -> None:
    """Print the address of each page of a finished command, after a line that says how to serve them where that is needed.

    ``pages`` has a fragment for each name.
    """
    address = served_at(settings)
    if not address:
        say("look at it:  make mlflow, then open")
        address = f"http://{HOST}:{PORT}"
    for line in page_lines(address, pages):
        say(line)


def page_lines(address: str, pages: Mapping[str, str]) -> list[str]:
    """A line for each page: its name and its full address, in columns."""
    width = max(map(len, pages), default=0)
    return [f"  {name:<{width}}  {address}/{fragment}" for name, fragment in pages.items()]
