"""JSON of spans: encoded twice, cut, redacted, hostile, or no JSON at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.content import python_repr
from spanledger.conventions.content.parse import MAX_CHARS, MAX_DEPTH, MAX_NODES, Reader

NESTED = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)


@pytest.mark.parametrize(
    ("value", "expected", "marks"),
    [
        ('{"city": "Oslo"}', {"city": "Oslo"}, ()),
        (' {"city": "Oslo"} ', {"city": "Oslo"}, ()),
        ({"city": "Oslo"}, {"city": "Oslo"}, ()),
        ('"{\\"city\\": \\"Oslo\\"}"', {"city": "Oslo"}, ()),
        ('"Oslo"', "Oslo", ()),
        ("{'city': 'Oslo', 'days': (1, 2,)}", {"city": "Oslo", "days": [1, 2]}, ()),
        ("{'at': None, 'ok': True, 'say': \"it's\"}", {"at": None, "ok": True, "say": "it's"}, ()),
        ("Oslo", "Oslo", ("unparsable",)),
        ('{"city": "Os', '{"city": "Os', ("cut",)),
        ('{"city": ', '{"city": ', ("cut",)),
        ('{"city" "Oslo", "country": "NO"}', '{"city" "Oslo", "country": "NO"}', ("unparsable",)),
        ('{"city": "...[TRUNCATED 900 chars]', '{"city": "...[TRUNCATED 900 chars]', ("cut",)),
        ("__REDACTED__", None, ("redacted",)),
        ("<REDACTED>", None, ("redacted",)),
        ("", None, ()),
        ('{"at": NaN, "far": 1e999}', {"at": "NaN", "far": "1e999"}, ()),
        ('{"half": "\\ud83d", "whole": "\\ud83d\\ude00"}', {"half": "\ufffd", "whole": "\U0001f600"}, ()),
        ({"raw": b"\x00\xff", "at": float("inf")}, {"raw": "AP8=", "at": "inf"}, ()),
        ("[" + "9" * 5000 + "]", "[" + "9" * 5000 + "]", ("limit",)),
        (NESTED, NESTED, ("limit",)),
    ],
)  # fmt: skip
def test_arguments_are_an_object_or_the_text_with_a_mark(value: Any, expected: Any, marks: tuple[str, ...]) -> None:
    """Arguments parse where they can; what does not parse stays as it was said, and is marked."""
    reader = Reader()
    assert expected == reader.arguments(value)
    assert marks == reader.marks


@pytest.mark.parametrize(
    ("value", "expected", "marks"),
    [
        ("Oslo: 3C, light snow", "Oslo: 3C, light snow", ()),
        ("[INFO] started", "[INFO] started", ()),
        ('{"flights": []}', {"flights": []}, ()),
        ('{"flights": [', '{"flights": [', ("cut",)),
        ("3", "3", ()),
    ],
)
def test_a_response_may_be_any_text(value: str, expected: Any, marks: tuple[str, ...]) -> None:
    """Tools answer in prose too: only text that starts as JSON and ends early is marked."""
    reader = Reader()
    assert expected == reader.response(value)
    assert marks == reader.marks


def test_complete_items_of_a_cut_list_are_kept() -> None:
    """The messages before the cut are whole; the one that was cut is left out."""
    reader = Reader()
    found = reader.document('[{"role": "user"}, {"role": "tool"}, {"role": "ass')
    assert found == [{"role": "user"}, {"role": "tool"}]
    assert reader.marks == ("cut",)


def test_a_span_has_one_budget() -> None:
    """Many documents that are allowed alone are not allowed together."""
    reader = Reader()
    half = json.dumps("x" * (MAX_CHARS // 2 - 10))
    assert [reader.document(half) is None for _ in range(3)] == [False, False, True]
    assert reader.marks == ("limit",)


@pytest.mark.parametrize("value", ["[" + "1," * MAX_NODES + "1]", [0] * (MAX_NODES + 1), "[" * 1_000_000])
def test_documents_beyond_the_budget_are_left_alone(value: Any) -> None:
    """Too many values or too deep: nothing is read, and it says so."""
    reader = Reader()
    assert reader.document(value) is None
    assert reader.marks == ("limit",)


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=15,
)


@given(plain)
def test_the_repr_of_plain_values_reads_back(value: Any) -> None:
    """`repr` then our reader is the value; the parser of Python is never asked."""
    rewritten = python_repr.to_json(repr(value))
    assert rewritten is not None
    assert value == json.loads(rewritten)


@given(st.text(alphabet="'\"\\{}[](),: xuUN123eTrueNone\n", max_size=40))
def test_text_that_is_no_repr_is_no_json(text: str) -> None:
    """Anything is refused or rewritten; nothing raises."""
    assert isinstance(python_repr.to_json(text), str | None)
