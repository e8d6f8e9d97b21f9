"""The log of a server: times, lines that cannot be forged, and a bound on its size."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pipeline.serving.request_log import RequestLog


def test_each_line_has_the_time_in_utc(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "new/serve.log")
    before = datetime.now(UTC).replace(microsecond=0)
    log.line("GET / 200")
    when, text = (tmp_path / "new/serve.log").read_text().rstrip("\n").split(" ", 1)
    assert before <= datetime.fromisoformat(when) <= datetime.now(UTC)
    assert text == "GET / 200"


def test_a_caller_cannot_forge_a_line_or_move_the_cursor(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "serve.log")
    log.line("GET /\n2026-01-01T00:00:00Z POST /derain\r\x1b[2J\u2028 200")
    log.block("Traceback\n  ValueError")
    first, *rest = (tmp_path / "serve.log").read_text().splitlines()
    assert first.endswith("GET /\\n2026-01-01T00:00:00Z POST /derain\\r\\x1b[2J\\u2028 200")
    assert first.isprintable()
    assert rest == ["    Traceback", "      ValueError"]


def test_the_log_is_bounded(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "serve.log", limit=1000)
    for number in range(200):
        log.line(f"request {number}")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"serve.log", "serve.log.1"}
    assert max(sizes.values()) < 1100
    assert "request 199" in (tmp_path / "serve.log").read_text()


def test_without_a_path_or_a_place_nothing_is_written(tmp_path: Path) -> None:
    RequestLog(None).line("request")
    (tmp_path / "file").write_text("")
    RequestLog(tmp_path / "file/serve.log").line("request")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
