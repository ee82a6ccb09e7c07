"""What the run store reads off log records, whatever they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from spanledger.conventions.run_document import read_document, timestamp
from spanledger.exporters.run_store.records import FindingRecord, RunRecord, canonical, read, run_record
from spanledger.exporters.run_store.summary import MAX_TEXT, MAX_WORDS, summarize, time_ns
from tests.run_documents import START_NS, TRACE, document, failed_trip, request, trip

CLOSED = "spanledger.run.closed"


def test_documents_of_these_tests_are_of_the_schema() -> None:
    """So that what is shown here is what will be shown."""
    for one in (document(), trip(), failed_trip()):
        assert read_document(one).run_id == one["run_id"]


@pytest.mark.parametrize(
    "body", [json.dumps(trip()), json.dumps(trip(), indent=2), trip()], ids=["text", "pretty", "list"]
)
def test_document_comes_as_text_or_as_a_list(body: Any) -> None:
    """And is kept on one line either way; text on one line as it came, to the letter."""
    (record,) = read(request((CLOSED, body))).kept
    assert isinstance(record, RunRecord)
    assert "\n" not in record.body
    assert record.body == body or body != json.dumps(trip())
    assert json.loads(record.body) == trip()


def test_event_name_may_be_an_attribute() -> None:
    """As it was before OTLP had a field for it."""
    found = read(request(("", json.dumps(document())), attributes={"event.name": CLOSED}))
    assert [type(one) for one in found.kept] == [RunRecord]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "the body is not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "no spanledger.run/1 document"),
        (None, "no spanledger.run/1 document"),
        (json.dumps(document() | {"schema": "spanledger.run/2"}), "no spanledger.run/1 document"),
        (json.dumps(document(run_id="")), "no usable run_id"),
        (json.dumps(document(run_id="x" * 501)), "no usable run_id"),
        (json.dumps(document(revision=True)), "no usable revision"),
        (json.dumps(document(revision=-1)), "no usable revision"),
        (json.dumps(document(revision=2**63)), "no usable revision"),
        (json.dumps(document(duration_s=float("nan"))), "NaN is no number in JSON"),
        (document(duration_s=float("inf")), "not JSON compliant"),
    ],
)
def test_what_is_no_document_is_counted(body: Any, why: str) -> None:
    """With its reason; the records beside it are kept."""
    found = read(request((CLOSED, body), (CLOSED, json.dumps(document())), ("app.started", "x")))
    assert len(found.kept) == 1
    assert found.ignored == 1
    ((reason, count),) = found.invalid.items()
    assert why in reason
    assert count == 1


def test_reader_of_large_documents_rests() -> None:
    """Once for each five hundred objects, so that an event loop beside it has its turn; small ones do not wait."""
    rests: list[str] = []
    for name, steps in (("small", 100), ("large", 2_000)):
        body = json.dumps(document(name, steps=[{"index": index} for index in range(steps)]))
        assert len(read(request((CLOSED, body)), lambda name=name: rests.append(name)).kept) == 1  # type: ignore[misc]
    assert rests == ["large"] * 3


def test_half_characters_are_kept_as_escapes() -> None:
    """JSON can say half a character; a file in UTF-8 cannot."""
    half = document(agent_name="\ud83d", steps=[{"output": "\udc00 x"}])
    record = run_record(half)
    assert json.loads(record.body.encode()) == half
    assert record.summary.columns.agent_name == "?"
    assert record.summary.words.content == "? x"
    (found,) = read(request(("spanledger.loop.detected", '{"rule": "\\ud83d!"}'))).kept
    assert isinstance(found, FindingRecord)
    assert found.summary.rule == "?!"


def test_finding_says_whose_it_is() -> None:
    """From attributes or from the body; what else it says is kept."""
    said = {
        "spanledger.loop.rule": "exact_repeat",
        "spanledger.run.id": "r",
        "spanledger.loop.repeats": 3,
        "raw": b"\1",
    }
    (record,) = read(request(("spanledger.loop.detected", {"severity": "warning", "n": 1.5}), attributes=said)).kept
    assert isinstance(record, FindingRecord)
    summary = record.summary
    assert (summary.event, summary.kind, summary.rule) == ("spanledger.loop.detected", "loop", "exact_repeat")
    assert (summary.severity, summary.run_id, summary.trace_id, summary.span_id) == ("warning", "r", TRACE, "")
    stored = json.loads(record.body)
    assert stored["at"] == timestamp(START_NS)
    assert stored["service_name"] == "trip-agent"
    assert stored["attributes"]["spanledger.loop.repeats"] == 3
    assert stored["body"] == {"severity": "warning", "n": 1.5}


def test_severity_of_the_log_stands_in_for_that_of_the_finding() -> None:
    """In the words that documents use."""
    for text, expected in {"WARN": "warning", "ERROR": "critical", "INFO": "info", "Odd": "odd", "": ""}.items():
        message = ExportLogsServiceRequest.FromString(request(("spanledger.budget.breached", None)))
        message.resource_logs[0].scope_logs[0].log_records[0].severity_text = text
        (record,) = read(message.SerializeToString()).kept
        assert isinstance(record, FindingRecord)
        assert record.summary.severity == expected


def test_replacement_says_both_runs_or_is_counted() -> None:
    """Half of the news is none."""
    found = read(request(("spanledger.run.replaced", None), attributes={"spanledger.run.id": "a"}))
    assert (found.kept, found.invalid.total()) == ([], 1)


def test_search_text_is_bounded() -> None:
    """A run of any size is found by what it begins with, and by all its names."""
    steps = [{"name": f"step {n}", "input": "x " * 50_000, "output": "y"} for n in range(10)]
    words = summarize(document(steps=steps)).words
    assert len(words.content) <= MAX_WORDS
    assert "step 9" in words.names
    assert len(summarize(document(agent_name="n" * 10_000)).columns.agent_name) == MAX_TEXT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T08:00:00.000000001Z", START_NS + 1),
        ("2026-11-20T08:00:00Z", START_NS),
        ("2026-11-20T09:00:00.5+01:00", START_NS + 500_000_000),
        ("2026-11-20T08:00:00", None),
        ("1960-01-01T00:00:00Z", None),
        ("9999-01-01T00:00:00Z", None),
        ("tomorrow", None),
        ("", None),
        (5, None),
    ],
)
def test_times(text: Any, expected: int | None) -> None:
    """Nanoseconds are kept, times without a zone are none."""
    assert time_ns(text) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*document(), *trip()["steps"][0]]), anything))
def test_no_document_breaks_the_summary(hostile: dict[str, Any]) -> None:
    """Every field may be of any type."""
    document_ = {**document(), **hostile, "run_id": "r", "revision": 1}
    document_["steps"] = (
        [hostile, *(hostile.get("steps") or [])] if isinstance(hostile.get("steps"), list) else [hostile]
    )
    summary = summarize(document_)
    for value in (*summary.agents, *summary.traces, summary.words.content, summary.columns.outcome):
        value.encode()


@given(anything)
def test_canonical_json_reads_back_as_the_same(value: Any) -> None:
    """Or it is refused: never anything else."""
    try:
        text = canonical({"value": value})
    except ValueError:
        return
    text.encode()
    assert json.loads(text) == {"value": value}
