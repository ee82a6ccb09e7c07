"""How deep JSON of others may be nested."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from spanledger.conventions import coerce
from spanledger.conventions.content.parse import Reader
from spanledger.conventions.nesting import MAX_NESTING, TooDeep, is_deeper, loads
from spanledger.conventions.provider_usage import usage_within
from spanledger.conventions.redaction.rules import MASK, Redactor
from spanledger.exporters.answer import partial_success_json


def nested(levels: int, kind: str = "[]", inside: str = "") -> str:
    """Return lists or objects within each other, as JSON."""
    return ('{"a":' if kind == "{}" else "[") * levels + (inside or "1") + kind[1] * levels


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_as_deep_as_the_limit_and_no_deeper(kind: str) -> None:
    """Where interpreters differ, from a thousand levels on, none of them gets that far."""
    assert loads(nested(MAX_NESTING, kind)) == json.loads(nested(MAX_NESTING, kind))
    for levels in (MAX_NESTING + 1, 995, 5_000, 20_000, 100_000):
        with pytest.raises(TooDeep, match="nested too deep"):
            loads(nested(levels, kind).encode())


def test_wide_is_not_deep() -> None:
    """Brackets side by side, and those in texts."""
    value = [[{"a": ["[" * 1000]}] for _ in range(1000)]

    assert loads(json.dumps(value)) == value
    assert loads(json.dumps(value).encode("utf-16")) == value
    assert (is_deeper(value, 4), is_deeper(value, 3), is_deeper({}, 0), is_deeper(1, 0)) == (False, True, True, False)


def test_what_is_no_json_is_no_value() -> None:
    """The errors of `json.loads` stay what they are; options are handed on."""
    with pytest.raises(json.JSONDecodeError):
        loads(nested(5)[:-1])
    assert loads("[NaN]", parse_constant=str) == ["NaN"]


@pytest.mark.parametrize("levels", [300, 5_000, 30_000])
def test_readers_take_it_for_what_is_no_json(levels: int) -> None:
    """They do with it what they do with any other text, on every Python."""
    deep = nested(levels, "{}")
    secret = nested(levels, inside='"mail a@example.com"')

    assert coerce.parse_json(deep) is None
    assert usage_within(f'{{"usage": {deep}}}') is None
    assert partial_success_json("traces", f'{{"partialSuccess": {deep}}}'.encode()) is None
    assert Redactor(entities=("emails",)).text(secret, Counter()) == secret.replace("a@example.com", MASK)
    assert Reader().document(deep) is None
