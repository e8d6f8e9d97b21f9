"""``serve`` without a server: what it checks first, what it prints, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.serving import serve
from pipeline.serving.app import Serving
from pipeline.serving.model_loader import FollowedModel
from pipeline.serving.requests import RequestLimits
from pipeline.serving.serve import choose_to_serve
from pipeline.serving.types import ModelStatus, ServingConfig
from rdmc.errors import ServiceError
from rdmc.reference import reference_card
from tests.support.followed import Registry
from tests.support.ports import free_port

CONFIG = ServingConfig("models:/rain@champion", "127.0.0.1", 8000, 1024, 1, 8, 5.0, RequestLimits(), Path("cache"))


class Interrupted(Serving):
    """A server that ends with Ctrl-C."""

    def watch(self) -> None:
        raise KeyboardInterrupt


class Ended(Serving):
    """A server whose Ray ends."""

    def watch(self) -> None:
        raise ServiceError("Ray has ended; serve again")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServingConfig]:
    """The configurations that a server was started with; none is started here."""
    configs: list[ServingConfig] = []

    @contextmanager
    def serving(config: ServingConfig, settings: Settings) -> Iterator[Serving]:
        configs.append(config)
        yield Interrupted("http://127.0.0.1:8000", ModelStatus("rain", "1", ""))

    monkeypatch.setattr(console, "width", 500)
    monkeypatch.setattr(serve, "serving", serving)
    monkeypatch.setattr(serve, "check_port", lambda *_: None)
    return configs


def test_ctrl_c_ends_it_and_the_address_is_printed(started: list[ServingConfig], capsys: pytest.CaptureFixture[str]) -> None:
    serve.run(CONFIG, Settings())
    shown = capsys.readouterr().out
    assert "serving models:/rain@champion at http://127.0.0.1:8000" in shown
    assert "model: rain version 1 (models:/rain@champion, MLflow at sqlite:///" in shown
    assert "stays" not in shown
    assert "http://127.0.0.1:8000/derain" in shown
    assert "cached" not in shown
    assert "log:" not in shown
    serve.run(replace(CONFIG, log=Path("serve.log")), Settings())
    assert f"log:       {Path('serve.log').resolve()} (requests" in capsys.readouterr().out
    assert started[-1].log == Path("serve.log").resolve(), "Ray works in another folder"


def test_paths_are_absolute_because_ray_works_in_another_folder(
    started: list[ServingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    serve.run(replace(CONFIG, model="checkpoints/best"), Settings())
    serve.run(CONFIG, Settings())
    assert [config.cache for config in started] == [tmp_path / "cache"] * 2
    assert [config.model for config in started] == [str(tmp_path / "checkpoints/best"), "models:/rain@champion"]


def test_without_a_name_and_a_store_the_reference_is_served_and_the_choice_is_explained(
    started: list[ServingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def serving(config: ServingConfig, settings: Settings) -> Iterator[Serving]:
        started.append(config)
        found = FollowedModel(config.model, settings, config.cache)
        yield Interrupted("http://127.0.0.1:8000", ModelStatus(found.current.name, found.current.version, found.problem))

    monkeypatch.setattr(serve, "serving", serving)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    serve.run(replace(CONFIG, model=""), Settings())
    serve.run(replace(CONFIG, model="reference"), Settings())
    chosen, named = [line for line in capsys.readouterr().out.splitlines() if line.startswith("model: ")]
    assert [config.model for config in started] == ["reference", "reference"]
    assert named == f"model: reference version {reference_card().version} (comes with the package)"
    assert chosen.startswith(f"{named}; nothing is registered yet, and this server stays with its choice")
    assert list(tmp_path.iterdir()) == [], "neither a store nor a cache"


def test_without_a_name_the_champion_or_the_candidate_of_the_params_is_followed(
    started: list[ServingConfig], models: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    models.client.set_registered_model_alias("rain", "candidate", "2")
    for champion, stays in (("champion", False), ("nobody", True)):
        serve.run(replace(CONFIG, model=""), Settings(), Register(model="rain", alias="candidate", champion=champion))
        assert ("there is no nobody, and this server stays with its choice" in capsys.readouterr().out) is stays
    assert [config.model for config in started] == ["models:/rain@champion", "models:/rain@candidate"]


def test_an_unavailable_registry_leaves_the_choice_that_is_cached(
    models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, settings, cache = (
        Register(model="rain", alias="candidate", champion="champion"),
        Settings(mlflow_timeout=1),
        tmp_path,
    )
    models.client.set_registered_model_alias("rain", "candidate", "2")
    store = Path(models.uri.removeprefix("sqlite:///"))
    for alias in ("candidate", "champion"):
        FollowedModel(f"models:/rain@{alias}", settings, cache)
        store.rename(store.with_suffix(".away"))
        try:
            choice = choose_to_serve(names, settings, cache)
            assert choose_to_serve(names, settings, tmp_path / "empty").model == "reference"
        finally:
            store.with_suffix(".away").rename(store)
        assert choice.model == f"models:/rain@{alias}"
        assert ("cannot say whether there is a champion" in choice.why) is (alias == "candidate")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServiceError, match="cannot be reached .*, or name another model: --model reference"):
        choose_to_serve(names, settings, cache)  # another store, so the copies are not its own


def test_a_model_from_the_cache_is_reported(
    started: list[ServingConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def cached(config: ServingConfig, settings: Settings) -> Iterator[Serving]:
        yield Interrupted("http://127.0.0.1:8000", ModelStatus("rain", "1", "MLflow is away"))

    monkeypatch.setattr(serve, "serving", cached)
    serve.run(CONFIG, Settings())
    assert "the model is the last one that was cached here: MLflow is away" in capsys.readouterr().out


def test_a_server_that_ends_is_an_error(started: list[ServingConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def ending(config: ServingConfig, settings: Settings) -> Iterator[Serving]:
        yield Ended("http://127.0.0.1:8000", ModelStatus("rain", "1", ""))

    monkeypatch.setattr(serve, "serving", ending)
    with pytest.raises(ServiceError, match="serve again"):
        serve.run(CONFIG, Settings())


def test_a_port_that_is_taken_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "serving", lambda *_: pytest.fail("it was started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServiceError, match="--port 8001"):
            serve.run(replace(CONFIG, port=taken.getsockname()[1]), Settings())


def test_a_shared_ray_may_listen_on_the_port_already(started: list[ServingConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "check_port", lambda *_: pytest.fail("the port was checked"))
    serve.run(CONFIG, Settings(ray_address="10.0.0.1:6379"))
    assert len(started) == 1
