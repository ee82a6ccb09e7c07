"""Documents are written as text by hand: byte for byte what the JSON library makes of them."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.run import RunStep, RunUsage
from spanledger.conventions.run_document import document
from spanledger.conventions.run_document.lines import joined, parts
from tests.test_run_document import RUN

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

# Lone surrogates too: some SDKs cut texts in the middle of a character.
texts = st.text(st.characters(exclude_categories=()), max_size=8)
counts = st.integers(0, 2**70)
known = st.one_of(st.none(), texts)
numbers = st.one_of(st.none(), counts)
steps = st.builds(
    RunStep,
    index=counts,
    span_id=texts,
    trace_id=texts,
    parent=numbers,
    basis=st.sampled_from(["root", "parent"]),
    kind=st.sampled_from(["llm", "tool"]),
    name=texts,
    agent_name=known,
    tool_name=known,
    tool_call_id=known,
    provider=known,
    model=known,
    started_at_ns=st.integers(-1, 2**64),
    duration_s=st.one_of(st.none(), st.floats(0, allow_infinity=False)),
    status=st.sampled_from(["ok", "error"]),
    error_type=known,
    attempt=counts,
    usage=st.one_of(st.none(), st.builds(RunUsage, *[numbers] * 5)),
    cost_pico_usd=numbers,
    cost_status=st.sampled_from([None, "priced"]),
    requested_by=numbers,
    requested_basis=st.sampled_from([None, "tool_call_id"]),
    read_by=numbers,
    depth=counts,
    branch=counts,
    critical=st.booleans(),
    twins=st.lists(texts, max_size=2).map(tuple),
    asks=st.lists(texts, max_size=2).map(tuple),
    input=known,
    output=known,
    agent_basis=st.sampled_from([None, "span"]),
)


@given(st.lists(steps, max_size=3))
def test_a_document_by_hand_is_that_of_the_library(steps: list[RunStep]) -> None:
    """Whatever the steps hold; only the revision and the steps come last."""
    run = replace(RUN, steps=tuple(steps))
    whole = document(run)
    whole["revision"], whole["steps"] = whole.pop("revision"), whole.pop("steps")

    rest, lines = parts(run)

    assert ENCODER.encode(whole).encode("utf-8", "backslashreplace") == joined(rest, run.revision, lines)
