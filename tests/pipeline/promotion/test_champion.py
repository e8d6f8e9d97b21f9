"""The log of promotions in a real store: what counts, what is finished later, races, and stores that fail at any request."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.config.registry import Register
from pipeline.promotion import champion as promotion
from pipeline.promotion.champion import append, follow, log_name, look, move, read_log, sentence, settle
from pipeline.promotion.log import PromotionLog
from pipeline.registry.versions import known_aliases
from rdmc.errors import ServiceError
from tests.support.registry import add_versions

NAMES = Register(model="rdmc", alias="candidate", champion="champion")


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A registry with five versions that have no model, and no waiting for others who might move an alias."""
    monkeypatch.setattr(promotion, "PAUSE", 0)
    found = MlflowClient(store, store)
    add_versions(found, "rdmc", 5)
    return found


def promote(client: MlflowClient, version: int, kind: str = "promote") -> None:
    move(client, NAMES, settle(client, NAMES), kind, version, "passed", "")


def champion(client: MlflowClient) -> int:
    return known_aliases(client, "rdmc").get("champion", 0)


def story(state: PromotionLog) -> list[tuple[str, int, int]]:
    return [(entry.kind, entry.before, entry.after) for entry in state.entries]


def test_promotions_and_rollbacks(client: MlflowClient) -> None:
    assert settle(client, NAMES) == PromotionLog(())
    assert champion(client) == 0
    for version in (1, 2, 3):
        promote(client, version)
        assert champion(client) == version
    for back in (2, 1):
        state = settle(client, NAMES)
        assert state.earlier[0] == back
        promote(client, back, "rollback")
        assert champion(client) == back
    state = settle(client, NAMES)
    assert (state.champion, state.earlier) == (1, []), "nothing before the first"
    assert state.rolled_back(3)
    assert state.rolled_back(2)
    assert not state.rolled_back(1)
    promote(client, 3)
    state = settle(client, NAMES)
    assert not state.rolled_back(3), "promoted again"
    assert state.earlier == [1]
    assert [entry.number for entry in state.counted] == [1, 2, 3, 4, 5, 6]
    assert all(entry.done and "@" in entry.who and entry.at.endswith("+00:00") for entry in state.entries)


def test_the_log_is_seen_in_mlflow(client: MlflowClient) -> None:
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


def test_of_many_at_once_one_wins(client: MlflowClient, store: str) -> None:
    promote(client, 1)
    state, start = settle(client, NAMES), Barrier(4)

    def one(version: int) -> str:
        start.wait()
        try:
            move(MlflowClient(store, store), NAMES, state, "promote", version, "passed", "")
        except ServiceError as error:
            return str(error)
        return "won"

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(one, (2, 3, 4, 5)))
    assert won.count("won") == 1
    assert sum("another command made version" in said for said in won) == 3
    state = settle(client, NAMES)
    assert state.champion == champion(client) == won.index("won") + 2
    assert len(state.counted) == 2
    assert sorted(version for _, _, version in story(state)) == [1, 2, 3, 4, 5], "the attempts are in the history"


class Failing:
    """MLflow that is gone after so many requests: the last one has its effect, and its answer is lost."""

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


def test_a_store_that_goes_away_leaves_it_done_or_not_done(client: MlflowClient) -> None:
    """After each request of a promotion in turn."""
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
            state = settle(client, NAMES)
            assert champion(client) == state.champion == (version if committed else before.champion)
            assert all(entry.done for entry in state.counted)
            outcomes.add(committed)
        else:
            break
    assert outcomes == {False, True}
    assert settle(client, NAMES).champion == champion(client) == version
    assert not [entry for entry in settle(client, NAMES).entries if entry.kind == "adopt"], "nothing was mistaken for a hand"


def test_a_request_that_was_sent_twice_counts_once(client: MlflowClient) -> None:
    state = settle(client, NAMES)
    entry = append(client, NAMES, state, "promote", 1, "passed", "")
    tags = client.get_model_version(log_name(NAMES), "1").tags
    client.create_model_version(log_name(NAMES), "models:/rdmc/1", tags=tags, await_creation_for=0)
    follow(client, NAMES)
    assert [found.token for found in settle(client, NAMES).counted] == [entry.token]


def test_an_alias_that_a_hand_moved_is_taken_note_of(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.set_registered_model_alias("rdmc", "champion", "4")
    state = settle(client, NAMES)
    assert story(state) == [("adopt", 0, 4)], "champions from before there was a history"
    promote(client, 2)
    client.set_registered_model_alias("rdmc", "champion", "5")
    assert story(settle(client, NAMES))[2:] == [("adopt", 2, 5)]
    client.delete_registered_model_alias("rdmc", "champion")
    state = settle(client, NAMES)
    assert (state.champion, state.earlier, champion(client)) == (0, [5, 2, 4], 0)
    assert capsys.readouterr().out.count("outside of this program") == 3
    client.delete_model_version("rdmc", "5")
    promote(client, 3)
    client.delete_model_version("rdmc", "3")
    state = settle(client, NAMES)
    assert story(state)[-1] == ("adopt", 3, 0), "the champion itself was deleted"


def test_a_lost_alias_leaves_the_line_of_champions(client: MlflowClient) -> None:
    for version in (4, 5):
        promote(client, version)
    client.delete_registered_model_alias("rdmc", "champion")
    state = settle(client, NAMES)
    assert (state.champion, state.line) == (0, [4, 5]), "the next one is held against 5"
    promote(client, 3)
    assert settle(client, NAMES).earlier == [5, 4]
    client.delete_registered_model_alias("rdmc", "champion")
    promote(client, settle(client, NAMES).earlier[0], "rollback")
    state = settle(client, NAMES)
    assert (state.champion, state.earlier) == (3, [5, 4]), "brought back, not gone back"


def test_a_slow_request_of_another_act_is_not_taken_for_a_hand(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An act that is slow sets the alias to what was true when it read the log, and mends that itself."""
    for version in (1, 2):
        promote(client, version)
    client.set_registered_model_alias("rdmc", "champion", "1")
    monkeypatch.setattr(promotion, "sleep", lambda _: follow(client, NAMES))
    assert settle(client, NAMES).champion == champion(client) == 2
    assert [entry.kind for entry in read_log(client, NAMES).entries] == ["promote", "promote"]


def test_who_only_looks_changes_nothing(client: MlflowClient) -> None:
    promote(client, 1)
    assert look(client, NAMES) == (read_log(client, NAMES), "")
    append(client, NAMES, settle(client, NAMES), "promote", 2, "passed", "")
    before = read_log(client, NAMES)
    state, differs = look(client, NAMES)
    assert state == read_log(client, NAMES) == before
    assert differs == "champion is version 1, but 2 by the history; the next promote or rollback settles it"
    assert champion(client) == 1
    assert settle(client, NAMES).champion == champion(client) == 2


def test_an_unfinished_entry_of_a_version_that_was_deleted(client: MlflowClient) -> None:
    promote(client, 1)
    append(client, NAMES, settle(client, NAMES), "promote", 2, "passed", "")
    client.delete_model_version("rdmc", "2")
    state = settle(client, NAMES)
    assert story(state)[1:] == [("promote", 1, 2), ("adopt", 2, 1)]
    assert state.champion == champion(client) == 1
