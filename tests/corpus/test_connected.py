"""Every capture through a pipeline into the connector: its documents are the runs of all spans at once.

In the order they were recorded, the last request first, and one span in a request in any order, with what waits
packed at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spanledger.conventions.run_document import document
from spanledger.processor.trajectory import store
from tests.assembled_runs import total
from tests.corpus.captures import STACKS, packed
from tests.corpus.connected import Connection, Sent, backwards, recorded, shuffled
from tests.corpus.trajectories import Workshop, runs_of
from tests.corpus.trajectory_report import stitch

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from tests.corpus.captures import Capture

ORDERS: dict[str, Callable[[Capture], list[Sent]]] = {
    "recorded": recorded,
    "backwards": backwards,
    "shuffled": lambda capture: shuffled(capture, random.Random(str(capture))),
}

UNTOLD = {
    ("python/otel-genai-langchain/tools3-truncated", "backwards"),
    ("python/otel-genai-langchain/tools3-truncated", "shuffled"),
    ("js/traceloop-langchain/handoff", "shuffled"),
}
"""What no span tells: where log records say message by message what a span cuts off, and which of two calls that were
given the same words, each in a trace of its own, another goes on with."""


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """Return the stages before, without a connector."""
    return Workshop()


@pytest.fixture(scope="module")
def connection() -> Connection:
    """Return the stages before, with a connector behind."""
    return Connection()


def facts(run: Run) -> dict[str, Any]:
    """Return a document without how often and why it was told, and without what depends on other runs."""
    told = document(run)
    for name in ("revision", "completeness", "findings", "evaluations"):
        del told[name]
    return told


@pytest.mark.parametrize("stack", STACKS)
def test_documents_of_the_connector_are_the_runs_of_all_spans(
    stack: str, workshop: Workshop, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal in every field: steps, joins, costs, outcome; and each span is in a run or counted as something else."""
    for capture in packed(stack):
        expected = [facts(run) for run in runs_of(workshop.records(capture), stitch)]
        for name, order in ORDERS.items():
            sent = order(capture)
            if (str(capture), name) in UNTOLD or (name == "backwards" and sent == recorded(capture)):
                continue
            monkeypatch.setattr(store, "MAX_HOT", 1 if name == "shuffled" else 1_000)
            outcome = connection.play(sent)
            count = outcome.numbers

            assert [facts(run) for run in outcome.runs] == expected, f"{capture} {name}"
            assert total(count, "spanledger_runs_total") == len(expected) + total(
                count, "spanledger_run_corrections_total", "runs"
            ), f"{capture} {name}"
            assert total(count, "spanledger_trajectory_spans_total") == len(outcome.records), f"{capture} {name}"
