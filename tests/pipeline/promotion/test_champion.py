"""The log of promotions in a real store: which entries count, what is finished later, races, and stores that fail."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.config.registry import Register
from pipeline.promotion import champion as champion_module
from pipeline.promotion.champion import append, follow, log_name, look, move, read_log, sentence, settle
from pipeline.promotion.log import PromotionLog
from pipeline.registry.versions import known_aliases
from rdmc.errors import ServiceError
from tests.support.registry import add_versions

NAMES = Register(model="rdmc", alias="candidate", champion="champion")


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A registry with five versions without models, and no pause before an alias counts as moved by hand."""
    monkeypatch.setattr(champion_module, "PAUSE", 0)
    client = MlflowClient(store, store)
    add_versions(client, "rdmc", 5)
    return client


def promote(client: MlflowClient, version: int, kind: str = "promote") -> None:
    move(client, NAMES, settle(client, NAMES), kind, version, "passed", "")


def champion(client: MlflowClient) -> int:
    return known_aliases(client, "rdmc").get("champion", 0)


def story(log: PromotionLog) -> list[tuple[str, int, int]]:
    return [(entry.kind, entry.before, entry.after) for entry in log.entries]


def test_promotions_and_rollbacks(client: MlflowClient) -> None:
    assert settle(client, NAMES) == PromotionLog(())
    assert champion(client) == 0
    for version in (1, 2, 3):
        promote(client, version)
        assert champion(client) == version
    for back in (2, 1):
        log = settle(client, NAMES)
        assert log.earlier[0] == back
        promote(client, back, "rollback")
        assert champion(client) == back
    log = settle(client, NAMES)
    assert (log.champion, log.earlier) == (1, []), "nothing before the first"
    assert log.rolled_back(3)
    assert log.rolled_back(2)
    assert not log.rolled_back(1)
    promote(client, 3)
    log = settle(client, NAMES)
    assert not log.rolled_back(3), "promoted again"
    assert log.earlier == [1]
    assert [entry.number for entry in log.counted] == [1, 2, 3, 4, 5, 6]
    assert all(entry.done and "@" in entry.who and entry.at.endswith("+00:00") for entry in log.entries)


def test_mlflow_shows_the_log(client: MlflowClient) -> None:
    promote(client, 2)
    append(client, NAMES, settle(client, NAMES), "refuse", 3, "refused: overall -0.30 dB", "nightly")
    found = client.get_model_version("rdmc-history", "2")
    assert found.tags["verdict"] == "refused: overall -0.30 dB"
    assert str(found.description).startswith("**version 3 refused**, champion before: 2")
    assert "nightly" in str(found.description)
    assert found.run_id == client.get_model_version("rdmc", "3").run_id, "one click from its run"
    assert champion(client) == 2
    entry = settle(client, NAMES).entries[1]
    assert sentence(entry) == found.description


def test_only_one_of_several_simultaneous_promotions_counts(client: MlflowClient, store: str) -> None:
    promote(client, 1)
    log, start = settle(client, NAMES), Barrier(4)

    def one(version: int) -> str:
        start.wait()
        try:
            move(MlflowClient(store, store), NAMES, log, "promote", version, "passed", "")
        except ServiceError as error:
            return str(error)
        return "won"

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, (2, 3, 4, 5)))
    assert results.count("won") == 1
    assert sum("another command made version" in result for result in results) == 3
    log = settle(client, NAMES)
    assert log.champion == champion(client) == results.index("won") + 2
    assert len(log.counted) == 2
    assert sorted(version for _, _, version in story(log)) == [1, 2, 3, 4, 5], "the attempts are in the history"


class Failing:
    """A client whose connection breaks after some requests: the last one takes effect, but its answer is lost."""

    def __init__(self, client: MlflowClient, requests: int) -> None:
        self.client, self.left = client, requests

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def request(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            answer = method(*args, **kwargs) if self.left >= 0 else None
            if self.left <= 0:
                raise MlflowException("connection lost")
            return answer

        return request


def test_a_promotion_that_is_interrupted_is_done_or_not_done(client: MlflowClient) -> None:
    """The connection breaks after each request of a promotion in turn."""
    promote(client, 1)
    outcomes = set()
    for requests in range(1, 100):
        before = settle(client, NAMES)
        version = 2 + requests % 4
        failing = Failing(client, requests)
        try:
            move(failing, NAMES, before, "promote", version, "passed", "")  # type: ignore[arg-type]
        except MlflowException:
            committed = len(read_log(client, NAMES).counted) > len(before.counted)
            log = settle(client, NAMES)
            assert champion(client) == log.champion == (version if committed else before.champion)
            assert all(entry.done for entry in log.counted)
            outcomes.add(committed)
        else:
            break
    assert outcomes == {False, True}
    assert settle(client, NAMES).champion == champion(client) == version
    assert not [entry for entry in settle(client, NAMES).entries if entry.kind == "adopt"], (
        "no interruption was taken for a move by hand"
    )


def test_a_request_that_was_sent_twice_counts_once(client: MlflowClient) -> None:
    log = settle(client, NAMES)
    entry = append(client, NAMES, log, "promote", 1, "passed", "")
    tags = client.get_model_version(log_name(NAMES), "1").tags
    client.create_model_version(log_name(NAMES), "models:/rdmc/1", tags=tags, await_creation_for=0)
    follow(client, NAMES)
    assert [counted.token for counted in settle(client, NAMES).counted] == [entry.token]


def test_an_alias_that_was_moved_by_hand_is_recorded(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.set_registered_model_alias("rdmc", "champion", "4")
    log = settle(client, NAMES)
    assert story(log) == [("adopt", 0, 4)], "a champion from before the history began"
    promote(client, 2)
    client.set_registered_model_alias("rdmc", "champion", "5")
    assert story(settle(client, NAMES))[2:] == [("adopt", 2, 5)]
    client.delete_registered_model_alias("rdmc", "champion")
    log = settle(client, NAMES)
    assert (log.champion, log.earlier, champion(client)) == (0, [5, 2, 4], 0)
    assert capsys.readouterr().out.count("outside of this program") == 3
    client.delete_model_version("rdmc", "5")
    promote(client, 3)
    client.delete_model_version("rdmc", "3")
    log = settle(client, NAMES)
    assert story(log)[-1] == ("adopt", 3, 0), "the champion itself was deleted"


def test_a_lost_alias_leaves_the_line_of_champions(client: MlflowClient) -> None:
    for version in (4, 5):
        promote(client, version)
    client.delete_registered_model_alias("rdmc", "champion")
    log = settle(client, NAMES)
    assert (log.champion, log.line) == (0, [4, 5]), "the next challenger is compared with 5"
    promote(client, 3)
    assert settle(client, NAMES).earlier == [5, 4]
    client.delete_registered_model_alias("rdmc", "champion")
    promote(client, settle(client, NAMES).earlier[0], "rollback")
    log = settle(client, NAMES)
    assert (log.champion, log.earlier) == (3, [5, 4]), "restored, not one further back"


def test_a_slow_request_of_another_command_is_not_recorded_as_a_move_by_hand(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow command sets the alias to the champion that it read, and corrects that itself."""
    for version in (1, 2):
        promote(client, version)
    client.set_registered_model_alias("rdmc", "champion", "1")
    monkeypatch.setattr(champion_module, "sleep", lambda _: follow(client, NAMES))
    assert settle(client, NAMES).champion == champion(client) == 2
    assert [entry.kind for entry in read_log(client, NAMES).entries] == ["promote", "promote"]


def test_looking_changes_nothing(client: MlflowClient) -> None:
    promote(client, 1)
    assert look(client, NAMES) == (read_log(client, NAMES), "")
    append(client, NAMES, settle(client, NAMES), "promote", 2, "passed", "")
    before = read_log(client, NAMES)
    log, difference = look(client, NAMES)
    assert log == read_log(client, NAMES) == before
    assert difference == "champion is version 1, but 2 by the history; the next promote or rollback settles it"
    assert champion(client) == 1
    assert settle(client, NAMES).champion == champion(client) == 2


def test_an_unfinished_entry_of_a_version_that_was_deleted(client: MlflowClient) -> None:
    promote(client, 1)
    append(client, NAMES, settle(client, NAMES), "promote", 2, "passed", "")
    client.delete_model_version("rdmc", "2")
    log = settle(client, NAMES)
    assert story(log)[1:] == [("promote", 1, 2), ("adopt", 2, 1)]
    assert log.champion == champion(client) == 1
