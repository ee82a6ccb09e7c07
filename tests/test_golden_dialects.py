"""Recorded spans of every dialect read as their golden files say.

`pytest tests/test_golden_dialects.py --update-golden` writes the files anew; look at the difference.
"""

from __future__ import annotations

import pytest

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lookup import Tuning
from spanledger.conventions.profile import PROFILES
from spanledger.conventions.reader import Reader
from spanledger.processor.genai_normalizer import apply
from tests.golden_spans import CASES, FOLDER, facts, normalized, spans_of, text


@pytest.mark.parametrize("case", CASES)
def test_recorded_spans(case: str, update_golden: bool) -> None:
    """What is read and written is what the golden file says."""
    golden = FOLDER / case / "expected.json"
    actual = text(normalized(case))
    if update_golden:
        golden.write_text(actual)

    assert actual == golden.read_text()


def test_every_dialect_has_a_golden_case() -> None:
    """A dialect without a recorded span is not known to work."""
    assert {dialect.name for dialect in DIALECTS} <= {case.split("/")[0] for case in CASES}


@pytest.mark.parametrize("remove", [False, True], ids=["keep", "remove"])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("case", CASES)
def test_a_second_normaliser_finds_nothing_to_do(case: str, profile: str, remove: bool) -> None:
    """Two sidecars in a row write what one writes, and read the same facts."""
    tunings = {dialect.name: Tuning(remove_originals=remove) for dialect in DIALECTS}
    reader = Reader(DIALECTS, PROFILES[profile], tunings)
    for scope, version, span in spans_of(case):
        first = reader.read(scope, version, span)
        if first is None:
            continue
        apply(span, first)
        second = reader.read(scope, version, span)

        assert second is not None
        assert (second.edits, second.removals) == ({}, [])
        if profile == "latest":
            assert {**facts(second), "reported_cost_key": ""} == {**facts(first), "reported_cost_key": ""}
