"""Redaction: what should not be kept is in nothing that leaves, and everything else is as it was."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanledger.conventions.redaction.detectors import ENTITIES, find
from spanledger.conventions.redaction.patterns import compiled
from spanledger.conventions.redaction.rules import MASK, Redactor, hashing
from spanledger.conventions.values import attributes_of, key_value
from spanledger.processor import batch as batches
from spanledger.processor.batch import decode, finish
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.redaction import Redaction, RedactionConfig
from tests.fakes import host, span

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
MAIL, CARD = "ann@example.com", "4111 1111 1111 1111"
ALL = Redactor(entities=ENTITIES)


def processor(table: MetricTable | None = None, **config: Any) -> Redaction:
    """Return the processor as configured."""
    made = RedactionConfig.model_validate(config)
    return Redaction(made, host("redaction", numbers=table or MetricTable()))  # type: ignore[arg-type]


def through(made: Redaction, wire: bytes, signal: Any = "traces") -> bytes:
    """Return a request after the processor."""
    batch = finish(decode(signal, wire, 0))
    for _ in made.process(batch):
        pass
    return finish(batch.serialize())


def request(*spans: Span, resource: dict[str, Any] | None = None) -> bytes:
    """Return a request of spans."""
    made = ExportTraceServiceRequest()
    one = made.resource_spans.add()
    one.resource.attributes.extend(key_value(key, value) for key, value in (resource or {}).items())
    scope = one.scope_spans.add()
    scope.scope.name = "library"
    scope.spans.extend(spans)
    return made.SerializeToString()


def full_of(text: str) -> Span:
    """Return a span with a text in every field that may have one."""
    made = span()
    made.name, made.status.message = f"chat {text}", f"failed for {text}"
    value = AnyValue(kvlist_value=KeyValueList(values=[
        KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text)]))),
        KeyValue(key="bytes", value=AnyValue(bytes_value=text.encode())),
    ]))  # fmt: skip
    nested = json.dumps({"messages": [{"parts": [{"content": text, "arguments": json.dumps({"deep": text})}]}]})
    made.attributes.extend([key_value("plain", f"it is {text}."), key_value("json", nested)])
    made.attributes.append(KeyValue(key="nested", value=value))
    made.events.add(name=f"event {text}").attributes.append(key_value("message", text))
    made.links.add(trace_id=bytes(16), span_id=bytes(8)).attributes.append(key_value("why", text))
    return made


@pytest.mark.parametrize("canary", [KEY, MAIL, CARD])
def test_a_canary_in_any_field_of_a_span_is_in_nothing_that_leaves(canary: str) -> None:
    """Names, attributes of every shape, JSON in JSON, events, links, status, resource and scope."""
    made = processor(allow_all_keys=True, detect=["secrets", "emails", "cards"])
    wire = request(full_of(canary), resource={"service.name": "shop", "owner": canary})
    assert canary.encode() in wire
    out = through(made, wire)
    assert canary.encode() not in out
    told = ExportTraceServiceRequest.FromString(out).resource_spans[0]
    assert attributes_of(told.resource.attributes) == {"service.name": "shop", "owner": MASK}
    one = told.scope_spans[0].spans[0]
    assert (one.name, one.status.message) == (f"chat {MASK}", f"failed for {MASK}")
    document = json.loads(attributes_of(one.attributes)["json"])  # type: ignore[arg-type]
    assert document["messages"][0]["parts"][0]["content"] == MASK


def test_log_records_too() -> None:
    """The body, whatever its shape, and the attributes."""
    made = processor(allow_all_keys=True, detect=["emails"])
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    records.append(LogRecord(body=AnyValue(string_value=f"mail to {MAIL}"), attributes=[key_value("to", MAIL)]))
    records.append(LogRecord(body=AnyValue(kvlist_value=KeyValueList(values=[key_value("to", MAIL)]))))
    out = through(made, logs.SerializeToString(), "logs")
    assert MAIL.encode() not in out
    told = ExportLogsServiceRequest.FromString(out).resource_logs[0].scope_logs[0].log_records
    assert told[0].body.string_value == f"mail to {MASK}"


def test_what_has_nothing_in_it_leaves_byte_for_byte() -> None:
    """Even JSON that would be written otherwise, and twice is once."""
    made = processor(allow_all_keys=True, detect=list(ENTITIES))
    clean = span()
    clean.attributes.append(key_value("json", '{ "a" : 1.0,\n "b": [true, null] }'))
    wire = request(clean, resource={"service.name": "shop"})
    assert through(made, wire) == wire
    once = through(made, request(full_of(f"{KEY} {MAIL} {CARD}")))
    assert through(made, once) == once


def test_numbers_are_counted() -> None:
    """By what it was, where it was and what became of it; every series is there at 0."""
    table = MetricTable()
    made = processor(table, allow_all_keys=True, detect=["emails"], blocked_key_patterns=["^password$"])
    one = span()
    one.attributes.extend([key_value("to", MAIL), key_value("password", "x")])
    through(made, request(one))
    cells = table.counter("spanledger_redactions_total")._cells
    assert {labels: cell.value for labels, cell in cells.items() if cell.value} == {
        ("emails", "attributes", "masked"): 1, ("blocked_key", "attributes", "masked"): 1,
    }  # fmt: skip
    assert cells["secrets", "resource", "hashed"].value == 0


def test_the_collectors_keys() -> None:
    """Nothing but allowed keys stays; ignored ones are not looked at; allowed values are left alone."""
    made = processor(
        allowed_keys=["a", "b", "c"], ignored_keys=["i"], blocked_values=["4[0-9]{12}(?:[0-9]{3})?"],
        allowed_values=["@safe\\.org$"], detect=["emails"], summary="debug",
    )  # fmt: skip
    one = span()
    said = {"a": "4111111111111111", "b": "x@safe.org", "c": "fine", "d": "gone", "i": MAIL}
    one.attributes.extend(key_value(key, value) for key, value in said.items())
    out = ExportTraceServiceRequest.FromString(through(made, request(one)))
    assert attributes_of(out.resource_spans[0].scope_spans[0].spans[0].attributes) == {
        "a": MASK, "b": "x@safe.org", "c": "fine", "i": MAIL, "redaction.redacted.keys": "d",
        "redaction.redacted.count": 1, "redaction.masked.keys": "a", "redaction.masked.count": 1,
    }  # fmt: skip


def test_equal_things_have_equal_hashes() -> None:
    """With a key that is needed to make them."""
    hashed = Redactor(entities=("emails",), hashed=hashing("hmac-sha256", "k"))
    one, other = (hashed.text(f"{word} {MAIL}", Counter()).split()[1] for word in ("to", "from"))
    assert one == other != hashing("hmac-sha256", "l")(MAIL)
    with pytest.raises(ValueError, match="needs hmac_key"):
        processor(hash_function="hmac-sha256")


def test_what_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span too large to be looked at may hold anything; the client is told."""
    monkeypatch.setattr(batches, "MAX_ITEM_BYTES", 70_000)
    one = span()
    one.attributes.append(key_value("long", MAIL * 10_000))
    batch = finish(decode("traces", request(one, span()), 0))
    for _ in processor(allow_all_keys=True).process(batch):
        pass
    assert (batch.items(), batch.partial_success()) == (1, (1, "1 x too large to be redacted"))
    assert MAIL.encode() not in finish(batch.serialize())


def test_what_is_left_out_takes_no_edit_of_its_neighbours_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the normaliser wrote and noted stays with its span."""
    monkeypatch.setattr(batches, "MAX_ITEM_BYTES", 70_000)
    large = span(1)
    large.attributes.append(key_value("long", "x" * 100_000))
    call = span(2, openinference__span__kind="LLM", llm__model_name="gpt-4o")
    batch = finish(decode("traces", request(large, call, span(3, x="y")), 0))
    for _ in GenaiNormalizer(GenaiNormalizerConfig(), host(numbers=MetricTable())).process(batch):  # type: ignore[arg-type]
        pass
    for _ in processor(allow_all_keys=True).process(batch):
        pass
    assert [*batch.groups[0].keys] == [1]
    call, _ = finish(decode("traces", finish(batch.serialize()), 0)).groups[0].items
    assert attributes_of(call.attributes)["gen_ai.request.model"] == "gpt-4o"


@pytest.mark.parametrize(
    ("entity", "text", "found"),
    [
        ("secrets", "AKIAIOSFODNN7EXAMPLE", True),
        ("secrets", "ghp_" + "a1" * 18, True),
        ("secrets", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", True),
        ("secrets", "Authorization: Bearer abcdef.123456", True),
        ("secrets", '"api_key": "abc123xyz"', True),
        ("secrets", "postgres://user:hunter22@host/db", True),
        ("secrets", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", True),
        ("secrets", "the token was refused", False),
        ("secrets", "task-management-for-the-whole-family", False),
        ("cards", "4111-1111-1111-1111", True),
        ("cards", "4111111111111112", False),
        ("cards", "1700000000000000000", False),
        ("cards", "0000 0000 0000 0000", False),
        ("emails", "a.b+c@mail.example.co.uk", True),
        ("emails", "a@b", False),
        ("phones", "+49 30 1234567", True),
        ("phones", "(555) 123-4567", True),
        ("phones", "2026-11-20", False),
        ("ips", "10.0.0.255", True),
        ("ips", "fe80::1ff:fe23:4567:890a", True),
        ("ips", "1.2.3.256", False),
        ("ips", "12:30:45", False),
    ],
)
def test_forms(entity: Any, text: str, found: bool) -> None:
    """What looks like one, and what only nearly does."""
    assert bool([*find(entity, f"so {text} it is")]) is found


@given(st.text(max_size=300))
def test_text_that_was_redacted_is_not_redacted_again(text: str) -> None:
    """Whatever it is, with everything put between that can be found."""
    once = ALL.text(f"{text} {KEY} {text} {MAIL} {CARD} {text}", Counter())
    found: Counter[str] = Counter()
    assert ALL.text(once, found) == once
    assert not found


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_the_structure_of_json_stays(document: Any) -> None:
    """Keys, numbers, lists: the same tree, with masks in some leaves."""
    text = json.dumps({"found": MAIL, "rest": document})
    told = json.loads(Redactor(entities=("emails",)).text(text, Counter()))
    assert told == {"found": MASK, "rest": document}


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000, "1 " * 100_000, "@" * 200_000, "a@" * 100_000, "a." * 100_000 + "@", "::" * 100_000,
        "-----BEGIN PRIVATE KEY-----" * 5_000, "eyJ" * 60_000, "+1" * 100_000, "password=" * 20_000, "://a:" * 40_000,
        "[" * 100_000 + "]", '{"a":' * 50_000 + "}", "4" * 200_000, "sk-" * 60_000, "(1" * 100_000,
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    """200 kB of what the patterns like least, within a second or so."""
    started = time.process_time()
    ALL.text(text, Counter())
    assert time.process_time() - started < 3


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|aa)*b", "(?=a)b", r"(a)\1", "a*", "(", "(.*,){100}"])
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    """With what to do about it."""
    with pytest.raises(ValueError, match=r"regular expression|for ever|not supported|everywhere"):
        compiled(pattern)


def test_a_status_is_no_string() -> None:
    """A span without a message has none afterwards."""
    out = ExportTraceServiceRequest.FromString(through(processor(allow_all_keys=True), request(span())))
    assert out.resource_spans[0].scope_spans[0].spans[0].status == Status()
