"""What the fuzzers found, said in words: each of these took down a request, a start or all runs."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from spanledger.conventions.call import Call, Place
from spanledger.conventions.values import Value, key_value
from spanledger.exporters.otlp_http import retry_after
from spanledger.exporters.queue_file import Insert, QueueFile
from spanledger.processor.accounts import Accounts
from spanledger.processor.batch import Delivery
from spanledger.processor.sqlite_file import Malformed, damaged, reading
from spanledger.processor.storage import StorageFile
from spanledger.processor.trajectory import assembly
from tests.assembled_runs import Bench, agent, step
from tests.fakes import request, span
from tests.fuzz.service import bench, faults

TRACE = b"\1" * 16


def test_span_that_is_told_again_by_another_instrumentation_is_found_among_its_twins() -> None:
    """It was looked for under the name of the new one, not of the one it was listed by."""
    accounts = Accounts()
    call = Call(True, "first", service="shop", response_id="r", input=10, output=2)
    for number in (1, 2):
        accounts.add(Place(TRACE, bytes([number]) * 8, b"", 5, 9, replace(call, scope=f"scope {number}")), 1.0)
    accounts.changed()

    told_again = Place(TRACE, b"\1" * 8, b"", 5, 9, replace(call, scope="another", detail=3))
    report, is_new = accounts.add(told_again, 2.0) or (None, False)
    accounts.changed()

    assert report is not None
    assert is_new
    assert list(report.names.values()) == ["", "another"]


def test_run_that_says_it_ends_with_time_itself_is_told() -> None:
    """Its end, put together from a start and a duration, does not fit into the field of a log record."""
    bench = Bench()
    first = replace(agent(1), end_ns=2**64 - 1)
    bench.take(first)
    bench.wait(100_000.0)

    assert len(bench.documents) == 1
    assert bench.told.records[-1].time_unix_nano <= 2**64 - 1


def test_fault_in_one_run_leaves_the_others(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged with its traceback; it ended the task that tells of runs."""
    compose = assembly.compose
    failing = iter((True, False))

    def now_and_then(snapshot: assembly.Snapshot) -> object:
        if next(failing):
            raise ZeroDivisionError
        return compose(snapshot)

    monkeypatch.setattr(assembly, "compose", now_and_then)
    bench = Bench()
    bench.take(step(2, 1, 1), agent(1, 0, 1))
    bench.take(step(2, 1, 2), agent(1, 0, 2))
    with caplog.at_level(logging.ERROR):
        bench.wait(60.0)

    assert len(bench.documents) == 1
    assert bench.count("spanledger_trajectory_faults_total") == 1
    assert "ZeroDivisionError" in caplog.text


def test_what_is_in_a_damaged_row_is_not_said() -> None:
    """SQLite's own sentence quotes the text that is no UTF-8: a prompt, most often."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (body TEXT)")
    connection.execute("INSERT INTO t VALUES (CAST(? AS TEXT))", (b"a secret \xff",))

    with pytest.raises(Malformed) as error, reading():
        connection.execute("SELECT body FROM t").fetchall()
    connection.close()

    assert "secret" not in str(error.value)
    assert damaged(error.value)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE entries SET data = 'a text'", "UPDATE entries SET items = 'many'", "DROP TABLE entries",
     "UPDATE entries SET signal = CAST(X'ff' AS TEXT)"],
)  # fmt: skip
def test_queue_with_rows_that_are_none_of_ours_is_put_aside(tmp_path: Path, damage: str) -> None:
    """At the start, or when the row is met; never the end of the process."""
    where = StorageFile(tmp_path / "queue.db", "exporter/otlp")
    file = QueueFile(where)
    file.open(1)
    file.apply([Insert(1, Delivery("traces", request(span(1)).SerializeToString(), 1, 7))])
    file.close()
    with sqlite3.connect(where.path, isolation_level=None) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(damage)
    connection.close()

    found = file.open(2)

    if found.aside is None:
        with pytest.raises(Malformed):
            file.load(found.entries[0])
    else:
        assert found.aside.exists()
        assert found.entries == ()
    file.close()


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        ("agentops", {"agentops.span.kind": "tool", "tool.name": "t", "tool.status": ["failed"]}),
        ("langtrace-python-sdk", {"langtrace.service.type": "vectordb", "db.operation": ["query"]}),
        ("opentelemetry.instrumentation.langchain",
         {"gen_ai.operation.name": "workflow", "traceloop.workflow.name": ["LangGraph"]}),
        ("app", {"gen_ai.operation.name": "chat", "gen_ai.usage.cost": 1.0, "gen_ai.usage.cost.currency": ["USD"]}),
    ],
)  # fmt: skip
def test_list_where_a_word_belongs_costs_no_reading(scope: str, attributes: dict[str, Value]) -> None:
    """It was looked up in a set, which takes no list."""
    before = faults()
    one = span(1)
    one.attributes.extend(key_value(key, value) for key, value in attributes.items())

    assert asyncio.run(bench().take("traces", request(one, scope=scope).SerializeToString()))

    assert faults() == before


def test_date_to_retry_after_may_be_beyond_all_time() -> None:
    """Then there is none."""
    assert retry_after("Fri, 20 Nov 99999999999999999999 08:00:00 GMT", 0) == 0.0
