"""Captures of real instrumentations through the running sidecar, against the bill of the model server.

Every capture of a dialect that is read is sent over gRPC. What the sidecar delivers and counts must
be what happened: calls, tokens, models and cost, run by run. What an instrumentation does not tell is
listed in withheld.yaml with the reason; the list is checked against the raw captures, so that it can
hide no fault of the sidecar.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spanledger.conventions.dialects import DIALECTS
from tests.corpus import report, withheld
from tests.corpus.captures import STACKS, packed, unpacked
from tests.corpus.compare import TOKENS
from tests.corpus.evidence import ids, numbers, texts
from tests.corpus.judge import Judged, counted, judge
from tests.corpus.play import Player
from tests.corpus.prices import price_of, true_price

WITHHELD = withheld.read()
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


@pytest.fixture(scope="session")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    """Return a running sidecar."""
    with Player(tmp_path_factory.mktemp("corpus")) as running:
        yield running


@pytest.fixture(scope="module", params=STACKS)
def judged(request: pytest.FixtureRequest, player: Player) -> Judged:
    """Return what the sidecar made of one stack."""
    return judge(request.param, packed(request.param), player, true_price)


def test_every_span_arrives_once(judged: Judged) -> None:
    """Ids, parents and names of all spans leave as they came, whatever was written onto them."""
    for scenario, capture in judged.captures.items():
        arrived = [
            (one.span.trace_id, one.span.span_id, one.span.parent_span_id, one.span.name)
            for one in judged.played[scenario].spans
        ]
        assert sorted(arrived) == sorted(ids(capture)), f"{capture}"


def test_logs_and_metrics_pass_unchanged(judged: Judged) -> None:
    """What is not a span leaves byte for byte."""
    for scenario, capture in judged.captures.items():
        for signal in ("logs", "metrics"):
            arrived = judged.played[scenario].requests[signal]
            assert sorted(arrived) == sorted(capture.requests(signal)), f"{capture} {signal}"


def test_what_differs_from_the_truth_is_listed_with_its_reason(judged: Judged) -> None:
    """Each field of each run is right, or is exactly what withheld.yaml says of it."""
    problems = list(withheld.disagreements(withheld.of_stack(WITHHELD, judged.stack), judged.findings))

    assert not problems, "\n".join([judged.stack, *problems])


def test_what_is_listed_is_not_in_the_capture(judged: Judged) -> None:
    """What was not seen stands nowhere on the spans, but where its entry says."""
    for entry in withheld.of_stack(WITHHELD, judged.stack):
        for scenario, field in entry.seen:
            places = {place for fact in judged.missing(scenario, field) for place in places_of(fact, judged, scenario)}
            unexplained = {place for place in places if not place.startswith(entry.elsewhere)}
            assert not unexplained, f"{judged.stack}/{scenario}: {field} stands in {sorted(unexplained)}"


def places_of(fact: int | str, judged: Judged, scenario: str) -> set[str]:
    """Return where a token count, a model or a response id stands in a capture."""
    capture = judged.captures[scenario]
    return numbers(capture).get(fact, set()) if isinstance(fact, int) else texts(fact, capture)


def test_metrics_say_what_the_spans_say(judged: Judged) -> None:
    """Calls, disjoint tokens and cost in /metrics grow by what stands on the delivered spans."""
    for scenario, capture in judged.captures.items():
        grown = judged.played[scenario].numbers
        expected = counted(judged.seen[scenario])
        if grown.get("reports"):
            continue  # what log records report is counted, and is on no span
        for name in ("calls", "failed_calls", *TOKENS):
            assert grown.get(name, 0) == expected.get(name, 0), f"{capture}: {name}"
        assert grown.get("cost_usd", 0) == pytest.approx(expected.get("cost_usd", 0), abs=1e-9), f"{capture}"
        assert grown["spans"] == len(judged.played[scenario].spans), f"{capture}"


def test_cost_follows_from_the_tokens_of_the_span(judged: Judged) -> None:
    """So a cost that differs from the truth does so because of tokens that differ, and for no other reason."""
    for scenario, capture in judged.captures.items():
        for one in judged.seen[scenario]:
            assert one.cost == price_of(one), f"{capture}: {one}"


def test_the_document_says_so(judged: Judged) -> None:
    """docs/dialects.md has the row of this stack, and its reasons, as they are."""
    entries = withheld.of_stack(WITHHELD, judged.stack)
    lines = [report.row(judged, entries), *(report.reasons(judged.stack, entries) if entries else ())]

    missing = set(lines) - set(report.DOCUMENT.read_text().splitlines())

    assert not missing, "run `python -m tests.corpus.report`"


def test_the_document_lists_every_dialect() -> None:
    """docs/dialects.md has the row of each, with a link to where it is from."""
    lines = report.DOCUMENT.read_text().splitlines()

    assert [dialect.name for dialect in DIALECTS if report.dialect_row(dialect) not in lines] == []
    assert [dialect.name for dialect in DIALECTS if not dialect.source.startswith("https://")] == []


def test_the_list_speaks_of_known_stacks_only() -> None:
    """No entry is left over from a stack that is gone."""
    assert {entry.stack for entry in WITHHELD} <= set(STACKS)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the unpacked corpus is not beside the repository")
@pytest.mark.parametrize("stack", STACKS)
def test_archives_hold_the_whole_corpus(stack: str) -> None:
    """The packed captures are those of the corpus they were cut from."""
    assert [capture.files for capture in packed(stack)] == [capture.files for capture in unpacked(CORPUS, stack)]


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the unpacked corpus is not beside the repository")
def test_no_stack_is_left_out() -> None:
    """Every directory of the corpus is one of the stacks that are judged."""
    found = {f"{stack.parent.name}/{stack.name}" for stack in CORPUS.glob("*/*") if stack.is_dir()}

    assert found == set(STACKS)
