"""promote, rollback and history through an MLflow server on PostgreSQL, and directly on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from pipeline.promotion import history, promote, rollback
from pipeline.promotion.champion import move, settle
from pipeline.registry.versions import known_aliases
from rdmc.errors import ServiceError
from tests.support.mlflow_server import mlflow_server, postgresql
from tests.support.ports import free_port
from tests.support.registry import EASY, register_shifts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as uri:
        yield uri


def test_the_commands_and_a_race(
    database: str,
    tmp_path: Path,
    params: Params,
    make_workspace: Callable[..., Paths],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    rules = with_overrides(params, EASY)
    monkeypatch.chdir(tmp_path)
    with mlflow_server(database, tmp_path, port):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"http://127.0.0.1:{port}")
        client = MlflowClient(uri, uri)
        register_shifts(make_workspace(Path()), params, client, (-0.5, 10.0, -2.0), monkeypatch)

        def run_promote(version: str, force: bool = False, reason: str = "") -> bool:
            return promote.run(Project(rules, Settings(), Paths()), version, force, reason)

        assert run_promote("1")
        assert not run_promote("2")
        assert run_promote("candidate")
        assert run_promote("2", force=True, reason="a demonstration")
        rollback.run(Project(rules, Settings(), Paths()), "it rained")
        assert known_aliases(client, "rdmc")["champion"] == 3
        assert client.get_model_version("rdmc", "3").tags["verdict"].startswith("passed")
        capsys.readouterr()
        history.run(Project(rules, Settings(), Paths()), as_json=True)
        kinds = [entry["kind"] for entry in json.loads(capsys.readouterr().out)]
        assert kinds == ["promote", "refuse", "promote", "force", "rollback"]

        for address in (uri, database):
            results = _race(address, rules)
            assert results.count("won") == 1
            assert sum("another command made version" in result for result in results) == 2
            assert known_aliases(client, "rdmc")["champion"] == results.index("won") + 1


def _race(address: str, params: Params) -> list[str]:
    client, names, start = MlflowClient(address, address), params.register_, Barrier(3)
    state = settle(client, names)

    def one(version: int) -> str:
        own = MlflowClient(address, address)
        start.wait()
        try:
            move(own, names, state, "force", version, "", "a race")
        except ServiceError as error:
            return str(error)
        return "won"

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(one, (1, 2, 3)))
