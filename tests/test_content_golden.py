"""Spans as real instrumentations sent them, and the content they are read as.

`python -m tests.test_content_golden` writes the readings of today into the fixture and prints what changed.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from spanledger.conventions.content import Content, Event, messages_of
from tests.content_schema import check_content

FIXTURE = Path(__file__).parent / "fixtures" / "content" / "spans.json.gz"
CASES: dict[str, dict[str, Any]] = json.loads(gzip.decompress(FIXTURE.read_bytes()))


def read(case: dict[str, Any]) -> Content:
    """Return the content of a recorded span."""
    events = [Event(event["name"], event["attributes"]) for event in case["events"]]
    return messages_of(case["dialect"], case["attributes"], events, case["kind"])


def shown(content: Content) -> dict[str, Any]:
    """Return what a content says, without what it does not."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(content)))
    return {name: value for name, value in found.items() if value not in (None, [])}


@pytest.mark.parametrize("name", CASES)
def test_recorded_span(name: str) -> None:
    """A recorded span reads as its content of record, and that is valid."""
    content = read(CASES[name])
    assert CASES[name]["content"] == shown(content)
    check_content(content)


if __name__ == "__main__":
    for name, case in CASES.items():
        now = shown(read(case))
        if case["content"] != now:
            print(f"--- {name}\n{json.dumps(case['content'])}\n+++\n{json.dumps(now)}")
        case["content"] = now
    FIXTURE.write_bytes(gzip.compress(json.dumps(CASES, ensure_ascii=False).encode(), mtime=0))
