"""The rules of the gate that need no image."""

from __future__ import annotations

from pipeline.promotion.checks import benchmark_checks, benchmarks_of, lineage_checks, weights_checks
from pipeline.promotion.gate import Check
from pipeline.promotion.log import LogEntry, PromotionLog
from tests.support.registry import make_version

HERE = {"light": "l1", "heavy": "h1"}
NO_LOG = PromotionLog(())


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_version_without_any_tag_fails_lineage_and_data() -> None:
    checks = by_name(lineage_checks(make_version(1), HERE, NO_LOG))
    assert {name: check.passed for name, check in checks.items()} == {"lineage": False, "data": False, "standing": True}
    assert "other data than is here (light, heavy)" in checks["data"].said


def test_only_the_datasets_that_are_here_must_be_equal() -> None:
    tags = {"data.light": "l1", "data.heavy": "h1", "data.real": "r1"}
    assert by_name(lineage_checks(make_version(1, tags), HERE, NO_LOG))["data"].passed
    other = by_name(lineage_checks(make_version(1, {**tags, "data.heavy": "h2"}), HERE, NO_LOG))["data"]
    assert not other.passed
    assert "(heavy)" in other.said


def test_a_version_that_was_rolled_back_fails_with_the_reason() -> None:
    entries = (
        LogEntry(1, "promote", 0, 0, 1, "a@b", "2026-01-01", "", "", "t1", True),
        LogEntry(2, "promote", 1, 1, 2, "a@b", "2026-01-02", "", "", "t2", True),
        LogEntry(3, "rollback", 2, 2, 1, "a@b", "2026-01-03", "", "it rained", "t3", True),
    )
    log = PromotionLog(entries)
    check = by_name(lineage_checks(make_version(2), HERE, log))["standing"]
    assert (check.passed, check.said) == (False, "rolled back on 2026-01-03 (it rained)")
    assert by_name(lineage_checks(make_version(1), HERE, log))["standing"].passed


def test_the_benchmarks_of_a_champion_come_from_its_figures_or_its_data() -> None:
    champion = make_version(1, {"data.light": "l1", "data.heavy": "h1"})
    known = {"light/derained/psnr_y": 30.0, "light/rainy/psnr_y": 20.0, "overall/derained/psnr_y": 30.0}
    assert benchmarks_of(champion, known) == {"light"}
    assert benchmarks_of(champion, {}) == {"light", "heavy"}, "without figures, all its datasets"


def test_a_challenger_is_measured_on_all_datasets_of_the_champion() -> None:
    assert benchmark_checks(None, {"light"}, []) == []
    (passes,) = benchmark_checks(make_version(1), {"light"}, ["light", "heavy"])
    assert passes.passed
    (fails,) = benchmark_checks(make_version(1), {"light", "real"}, ["light"])
    assert not fails.passed
    assert fails.said == "version 1 was measured on real, which has no test images here; name it in params.yaml again"


def test_equal_weights_are_refused_with_the_champion_named() -> None:
    champion = make_version(2, {"model_sha256": "ab"})
    (fails,) = weights_checks(make_version(3, {"model_sha256": "ab"}), champion)
    assert (fails.name, fails.passed) == ("weights", False)
    assert fails.said == "its weights are those of the champion, version 2: the same model, trained again"
    assert weights_checks(make_version(3, {"model_sha256": "cd"}), champion) == []
    assert weights_checks(make_version(3, {"model_sha256": "ab"}), None) == [], "the first champion"
    assert weights_checks(make_version(3), make_version(2)) == [], "unknown digests are not equal"
