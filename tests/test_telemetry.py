"""What the sidecar says of itself."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging

import pytest

from spanledger.service.telemetry import LoopErrors, Vitals, set_up_logging
from tests.fakes import Clock, Numbers


def test_vitals_go_on_without_a_free_descriptor() -> None:
    """Memory is read from a file: while none can be opened its last value stands, and all others go on."""
    seen: list[int | OSError] = [7, OSError(24, "Too many open files")]

    def resident() -> int:
        found = seen.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    clock, numbers = Clock(), Numbers()
    vitals = Vitals(numbers, clock.monotonic, resident=resident)  # type: ignore[arg-type]
    vitals.observe(0.1)
    clock.now_s += 5
    vitals.observe(0.2)

    assert numbers.values["otelcol_process_memory_rss_bytes",] == 7
    assert numbers.values["spanledger_loop_lag_seconds",] == 0.2
    assert numbers.values["otelcol_process_uptime_seconds",] == 5


def test_connections_that_cannot_be_accepted_are_counted_and_told_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop tells of each try: a full disk would be next."""
    monkeypatch.setattr(logging.getLogger("spanledger"), "propagate", True)
    clock, numbers = Clock(), Numbers()
    errors = LoopErrors(numbers, clock.monotonic)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    full = {"message": "out of system resource", "exception": OSError(errno.EMFILE, "Too many open files"), "socket": 1}
    for _ in range(1000):
        errors(loop, full)
    clock.now_s += 60
    errors(loop, full)

    assert numbers.values["spanledger_accept_failures_total",] == 1001
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "Too many open files; they wait. Raise the limit" in caplog.text

    errors(loop, {"message": "something else", "exception": ValueError("boom")})
    loop.close()

    assert "something else" in caplog.text
    assert numbers.values["spanledger_accept_failures_total",] == 1001


@pytest.mark.parametrize("library", ["aiohttp.server", "asyncio"])
def test_errors_of_libraries_are_lines_of_our_log(library: str) -> None:
    """A reader of JSON gets JSON, and what a request says cannot forge a line."""
    names = ("spanledger", "aiohttp", "asyncio")
    before = {name: (logging.getLogger(name), list(logging.getLogger(name).handlers)) for name in names}
    level, propagate = before["spanledger"][0].level, before["spanledger"][0].propagate
    stream = io.StringIO()
    try:
        set_up_logging("info", "json", stream)
        logging.getLogger(library).error("Error handling request from %s", "a\nb")
    finally:
        for logger, handlers in before.values():
            logger.handlers[:] = handlers
        before["spanledger"][0].setLevel(level)
        before["spanledger"][0].propagate = propagate

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["logger"] == library
    assert json.loads(line)["msg"] == "Error handling request from a\nb"
