"""Which entries of the log count, and the champions that follow from them."""

from __future__ import annotations

from pipeline.promotion.log import LogEntry, PromotionLog


def make_log(*steps: tuple[str, int, int]) -> PromotionLog:
    """A log of (kind, base, version) with numbers from 1; ``before`` follows from the entries that count."""
    entries: list[LogEntry] = []
    for number, (kind, base, after) in enumerate(steps, 1):
        before = PromotionLog(tuple(entries)).champion
        entries.append(
            LogEntry(
                number, kind, base, before, after, "a@b", f"day {number}", "", "", f"t{number}", True, f"verdicts/{number}-abc"
            )
        )
    return PromotionLog(tuple(entries))


def test_an_empty_log_has_no_champion() -> None:
    log = PromotionLog(())
    assert (log.counted, log.last, log.champion, log.line, log.earlier) == ([], 0, 0, [], [])


def test_of_two_entries_on_the_same_base_only_the_first_counts() -> None:
    log = make_log(("promote", 0, 1), ("promote", 1, 2), ("promote", 1, 3))
    assert [entry.number for entry in log.counted] == [1, 2]
    assert (log.champion, log.last) == (2, 2)
    later = make_log(("promote", 0, 1), ("promote", 1, 2), ("promote", 1, 3), ("promote", 2, 4))
    assert later.line == [1, 2, 4], "the next one continues from the entry that counts"


def test_a_refusal_changes_nothing() -> None:
    log = make_log(("promote", 0, 1), ("refuse", 1, 2))
    assert (log.champion, log.last, log.line) == (1, 1, [1])


def test_a_rollback_shortens_the_line() -> None:
    log = make_log(("promote", 0, 1), ("force", 1, 2), ("promote", 2, 3), ("rollback", 3, 1))
    assert (log.champion, log.line, log.earlier) == (1, [1], [])


def test_a_champion_without_alias_stays_in_the_line() -> None:
    log = make_log(("promote", 0, 4), ("promote", 1, 5), ("adopt", 2, 0))
    assert (log.champion, log.line, log.earlier) == (0, [4, 5], [5, 4])


def test_a_version_that_is_promoted_again_is_no_longer_rolled_back() -> None:
    steps = [("promote", 0, 1), ("promote", 1, 2), ("rollback", 2, 1)]
    rollback = make_log(*steps).rolled_back(2)
    assert rollback is not None
    assert rollback.number == 3
    assert make_log(*steps).rolled_back(1) is None
    assert make_log(*steps, ("force", 3, 2)).rolled_back(2) is None


def test_a_refusal_is_found_by_version_and_basis() -> None:
    log = make_log(("refuse", 0, 2))
    assert log.refused(2, "abc") == log.entries[0]
    assert log.refused(2, "bc") is None, "the whole digest counts"
    assert log.refused(1, "abc") is None
    assert make_log(("promote", 0, 2)).refused(2, "abc") is None
