"""What holds for the detail of any span and any log record, however hostile."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanledger.conventions.content.parse import Reader
from spanledger.conventions.detail import Detail, Print
from spanledger.conventions.details import Details, extends, merged, similar
from spanledger.conventions.details.evaluations import MAX_EVALUATIONS
from spanledger.conventions.details.history import MAX_IDS, MAX_LINKS, answer, chained, heard, unchained
from spanledger.conventions.details.prints import MAX_SHINGLES, Printer, canonical
from spanledger.conventions.dialects import read
from spanledger.conventions.values import any_value, key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

TEXTS = st.one_of(st.sampled_from(["", " ", "a", "call_1", "user", "assistant", "tool", "system"]), st.text(max_size=9))
SCALARS = st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.none())
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
KINDS = st.sampled_from(["text", "tool_call", "tool_call_response", "reasoning", "blob"])
PARTS = st.one_of(
    TREES,
    st.fixed_dictionaries(
        {"type": KINDS},
        optional={"content": TREES, "id": TREES, "name": TREES, "arguments": TREES, "response": TREES},
    ),
)
ROLES = st.sampled_from(["user", "assistant", "tool", "system"])
MESSAGES = st.one_of(
    TREES,
    st.fixed_dictionaries({"role": TREES, "parts": st.one_of(TREES, st.lists(PARTS, max_size=3))}),
    st.fixed_dictionaries({"role": ROLES, "parts": st.lists(PARTS.filter(lambda part: isinstance(part, dict)))}),
)
DOCUMENTS = st.one_of(
    TREES,
    st.lists(MESSAGES, max_size=4).map(json.dumps),
    st.lists(MESSAGES, max_size=3),
    st.lists(MESSAGES, max_size=4).map(lambda messages: json.dumps(messages)[:60]),
)
CONTENT_KEYS = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "gen_ai.request.choice.count",
    "input.value",
    "llm.input_messages.0.message.content",
    "gen_ai.evaluation.score.value",
    "eval.x.score",
    "evaluations.0.evaluation.score",
    "braintrust.scores",
    "case_name",
    "scores",
    "gen_ai.response.finish_reasons",
    "gen_ai.tool.name",
    "agent.outcome",
    "team",
)
ATTRIBUTES = st.fixed_dictionaries(
    {"gen_ai.operation.name": st.sampled_from(["chat", "execute_tool", "invoke_agent", "retrieval", "plan", "x"])},
    optional=dict.fromkeys(CONTENT_KEYS, DOCUMENTS),
)
EVENTS = st.sampled_from([
    "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message", "gen_ai.choice", "gen_ai.system.message",
    "gen_ai.client.inference.operation.details", "gen_ai.evaluation.result", "gen_ai.evaluation.x", "other",
])  # fmt: skip
MODES = st.sampled_from(["none", "metadata", "full"])
MAX_BYTES = 48


def encodable(value: Any) -> bool:
    """Tell whether OTLP can carry a value."""
    try:
        any_value(value)
    except (ValueError, UnicodeEncodeError):
        return False
    return True


def check_bounds(detail: Detail) -> None:
    """Check what every detail keeps to."""
    assert len(detail.history) <= MAX_LINKS
    assert max(len(detail.requests), len(detail.answered), len(detail.results)) <= MAX_IDS
    assert len(detail.evaluations) <= 2 * MAX_EVALUATIONS
    for kept in (detail.input, detail.said):
        assert kept is None or len(kept.encode()) <= MAX_BYTES
    for made in (detail.arguments, detail.result, detail.output):
        assert made is None or (len(made.shingles) <= MAX_SHINGLES and 0 <= made.digest < 2**64)
    assert all(0 <= digest < 2**64 for digest in (*detail.history, *detail.answer, detail.after or 0))
    hash((detail.requests, detail.answered, detail.evaluations, detail.plan, detail.results))


@settings(max_examples=150, deadline=None)
@given(ATTRIBUTES, MODES)
def test_any_span_has_a_bounded_detail(attributes: dict[str, Any], mode: Any) -> None:
    """Nothing raises, whatever stands where messages belong; reading again says the same."""
    of = span(name="x")
    of.attributes.extend(key_value(key, value) for key, value in attributes.items() if encodable(value))
    reading = read(Scope("app", ""), Resource({}, "shop"), of)
    assert reading is not None
    details = Details(mode, b"key", ("team",), MAX_BYTES)
    detail = details.read(of, reading, {})
    check_bounds(detail)
    assert detail == details.read(of, reading, {}) == Details(mode, b"key", ("team",), MAX_BYTES).read(of, reading, {})
    if mode != "full":
        assert (detail.input, detail.said) == (None, None)
    if mode == "none":
        assert (detail.history, detail.after, detail.output, detail.prompt, detail.tools) == (
            (),
            None,
            None,
            None,
            None,
        )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(EVENTS, TREES, st.dictionaries(st.sampled_from(CONTENT_KEYS), DOCUMENTS)), max_size=4), MODES)
def test_any_log_record_has_a_bounded_detail(records: list[tuple[str, Any, dict[str, Any]]], mode: Any) -> None:
    """The same for records, one by one and put together."""
    details = Details(mode, b"key", (), MAX_BYTES)
    together = Detail()
    for name, body, attributes in records:
        record = LogRecord(event_name=name)
        record.attributes.extend(key_value(key, value) for key, value in attributes.items() if encodable(value))
        if encodable(body):
            record.body.CopyFrom(any_value(body))
        found = details.detail_of_log(record)
        if found is not None:
            check_bounds(found[2])
            together = merged(together, found[2], MAX_BYTES)
    check_bounds(together)


def spoken(role: str, key: str, part: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return messages of one part, `key` of which is anything."""
    return TREES.map(lambda value: {"role": role, "parts": [{**part, key: value}]})


SPOKEN = st.lists(
    st.one_of(
        spoken("user", "content", {"type": "text"}),
        spoken("assistant", "content", {"type": "text"}),
        spoken("assistant", "arguments", {"type": "tool_call", "id": "c", "name": "n"}),
        spoken("tool", "response", {"type": "tool_call_response", "id": "c"}),
    ),
    max_size=6,
)


@given(SPOKEN, SPOKEN)
def test_a_history_is_recognised_in_any_that_extends_it(asked: list[Any], more: list[Any]) -> None:
    """For every conversation: what a call ended with is in the history of whatever goes on from there."""
    printer = Printer(b"key")
    told = [{"role": "assistant", "parts": [{"type": "text", "content": "so"}]}]
    before = heard(asked, printer, Reader()).chain
    parts = answer(told, printer, Reader()).parts
    assert before is not None
    after = chained(before[-1] if before else 0, parts)[-1]
    chain = heard([*asked, *told, *more], printer, Reader()).chain
    assert chain is not None
    assert extends(Detail(history=chain), Detail(after=after))


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_chains_can_be_taken_apart(parts: list[int]) -> None:
    """`unchained` gives back what `chained` was given."""
    assert unchained(chained(0, parts)) == parts


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal, minding that True is not 1 and texts are trimmed."""
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return (type(one) in (int, float) and type(other) in (int, float) and one == other) or (
        one is None and other is None
    )


JSON = st.recursive(
    st.one_of(st.text(max_size=2), st.integers(-3, 3), st.floats(-3, 3, width=16), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
).filter(lambda value: not isinstance(value, str))


@settings(max_examples=300)
@given(JSON, JSON)
def test_canonical_json_is_equal_exactly_for_equal_values(one: Any, other: Any) -> None:
    """No two different values collide, no equal ones differ."""
    assert (canonical(one) == canonical(other)) is same(one, other)


@given(st.text(max_size=80), st.text(max_size=80))
def test_similarity_is_a_symmetric_share(one: str, other: str) -> None:
    """Between 0 and 1, and 1 with itself."""
    a, b = Printer(b"k").print(one), Printer(b"k").print(other)
    assert 0 <= similar(a, b) == similar(b, a) <= 1
    assert similar(a, a) == 1


def test_similarity_of_samples_estimates_that_of_the_whole() -> None:
    """A third of the pairs shared: 200 of 600; five standard errors are 0.29, these texts are fixed."""
    words = [f"w{'abcdefghij'[n % 10]}{n}" for n in range(800)]
    printer = Printer(b"key")
    one, other = printer.print(" ".join(words[:400])), printer.print(" ".join(words[200:600]))
    assert isinstance(one, Print)
    assert 0.15 < similar(one, other) < 0.5


def written(parts: list[dict[str, Any]], messages: int = 1) -> dict[str, Any]:
    """Return the attributes of a call with many equal messages."""
    return {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": parts}] * messages)}


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"gen_ai.system_instructions": "a" * 1_000_000}, id="a long word"),
        pytest.param({"gen_ai.input.messages": "[" * 500_000}, id="deep"),
        pytest.param(written([{"type": "text", "content": "x"}], 9_000), id="many"),
        pytest.param(written([{"type": "text", "content": "x" * 900_000}]), id="one huge text"),
        pytest.param(written([{"type": "tool_call", "name": "n", "arguments": ["{"] * 9_000}]), id="huge arguments"),
        pytest.param({f"eval.{n}.score": n for n in range(1_000)}, id="many evaluations"),
    ],
)
def test_hostile_spans_are_read_in_bounded_time(attributes: dict[str, Any]) -> None:
    """Far below a second, where something quadratic would take minutes."""
    of = span(name="x")
    attributes = {"gen_ai.operation.name": "chat", **attributes}
    of.attributes.extend(key_value(key, value) for key, value in attributes.items())
    reading = read(Scope("app", ""), Resource({}, "shop"), of)
    assert reading is not None
    began = time.process_time()
    check_bounds(Details("full", b"key", (), MAX_BYTES).read(of, reading, {}))
    assert time.process_time() - began < 1
