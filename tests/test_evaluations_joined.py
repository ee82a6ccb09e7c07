"""Evaluations from outside find the run they are about, through the stages a request goes through."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.values import Value, attributes_of, key_value
from spanledger.processor.batch import Batch, decode, finish
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.service.flow import Intake, Pipeline, Stage
from tests.assembled_runs import START_NS, documents_of, span_id, total, trace
from tests.fakes import Clock, host

RELEVANT: dict[str, Value] = {
    "gen_ai.evaluation.name": "relevance",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.score.label": "good",
}
CHAT: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.response.id": "resp_0123456789",
    "gen_ai.conversation.id": "conversation-1",
}
AGENT: dict[str, Value] = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "planner",
    "gen_ai.conversation.id": "conversation-1",
}


@cache
def normalizer() -> Any:
    """Return the stage before; it remembers nothing of a request."""
    return GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer"))


class Sidecar:
    """Normaliser and connector as pipelines have them, on a clock that stands still."""

    def __init__(self, **config: Any) -> None:
        self.clock, self.table = Clock(), MetricTable()
        around: Any = host("trajectory", self.clock, self.table)
        self.connector = Trajectory(TrajectoryConfig.model_validate(config), around, sleep=lambda _: asyncio.sleep(0))
        self.told: list[LogRecord] = []
        self.connector.consumers = {"logs": self._hear}
        stage = Stage(normalizer(), lambda _count: None, lambda _count: None)
        sinks = (self.connector,)
        self._in = {
            "traces": Intake((Pipeline("traces", "traces", (stage,), sinks, self.connector),), deque(maxlen=1)),
            "logs": Intake((Pipeline("logs", "logs", (), sinks, self.connector),), deque(maxlen=1)),
        }

    async def _hear(self, batch: Batch) -> None:
        self.told += [record for group in batch.groups for record in group.items]

    async def spans(self, *spans: Span) -> None:
        """Send spans."""
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.append(key_value("service.name", "shop"))
        resource.scope_spans.add().spans.extend(spans)
        await self._in["traces"](finish(decode("traces", request.SerializeToString(), 0)))

    async def logs(self, *records: LogRecord) -> None:
        """Send log records."""
        request = ExportLogsServiceRequest()
        request.resource_logs.add().scope_logs.add().log_records.extend(records)
        await self._in["logs"](finish(decode("logs", request.SerializeToString(), 0)))

    async def wait(self, seconds: float = 0) -> None:
        """Let time pass, and everybody do what is due."""
        self.clock.now_s += seconds
        self.connector._wake.set()
        for _ in range(40):
            await asyncio.sleep(0)

    @property
    def judged(self) -> list[tuple[str, float | None, str | None, int | None, str]]:
        """Return name, score, label, step and basis of what others said of the last revision of the planner's run."""
        run = next(one for one in reversed(documents_of(self.told)) if one["agent_name"] == "planner")
        return [
            (one["name"], one["score"], one["label"], one["step"], one["basis"])
            for one in run["evaluations"]
            if one["basis"] != "builtin"
        ]

    def count(self, name: str, *labels: str) -> float:
        """Return the sum of a counter."""
        return total(self.table, name, *labels)


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    """Return a running one."""
    made = Sidecar()
    await made.connector.start()
    yield made
    await made.connector.shutdown(made.clock.now_s)


def span(number: int, parent: int, attributes: Mapping[str, Value], *, trace_number: int = 1, name: str = "x") -> Span:
    """Return a span of a second."""
    return Span(
        trace_id=trace(trace_number),
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent else b"",
        name=name,
        start_time_unix_nano=START_NS + number * 10**9,
        end_time_unix_nano=START_NS + number * 10**9 + (50 * 10**9 if parent == 0 else 10**9),
        attributes=[key_value(key, value) for key, value in attributes.items()],
    )


def run() -> list[Span]:
    """Return a run: an agent (step 0) with one model call (step 1)."""
    return [span(2, 1, CHAT), span(1, 0, AGENT)]


def log(attributes: Mapping[str, Value], trace_id: bytes = b"", span: bytes = b"") -> LogRecord:
    """Return the event of an evaluation as a log record."""
    pairs = [key_value(key, value) for key, value in attributes.items()]
    return LogRecord(event_name="gen_ai.evaluation.result", trace_id=trace_id, span_id=span, attributes=pairs)


def with_event(judging: Span, attributes: Mapping[str, Value] = RELEVANT) -> Span:
    """Return a span with the event of an evaluation."""
    pairs = [key_value(key, value) for key, value in attributes.items()]
    judging.events.add(name="gen_ai.evaluation.result", time_unix_nano=7, attributes=pairs)
    return judging


def linked(judging: Span, number: int, trace_number: int = 1) -> Span:
    """Return a span with a link to another."""
    judging.links.add(trace_id=trace(trace_number), span_id=span_id(number))
    return judging


BY = ("relevance", 0.75, "good")


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        pytest.param(
            [with_event(span(2, 1, CHAT)), span(1, 0, AGENT)], (*BY, 1, "parent"), id="event on the judged span"
        ),
        pytest.param([span(2, 1, CHAT), with_event(span(1, 0, AGENT))], (*BY, 0, "parent"), id="event on the root"),
        pytest.param(
            [*run(), with_event(span(3, 1, {}), {**RELEVANT, "gen_ai.response.id": "resp_0123456789"})],
            (*BY, 1, "response_id"),
            id="event on a span of nobody's, by response",
        ),
        pytest.param([*run(), with_event(span(3, 2, {}))], (*BY, 1, "parent"), id="event on a span of nobody's, below"),
        pytest.param([*run(), span(3, 2, RELEVANT)], (*BY, 1, "parent"), id="span below the judged one"),
        pytest.param([*run(), span(3, 1, RELEVANT)], (*BY, 0, "parent"), id="span below the agent"),
        pytest.param(
            [*run(), span(3, 1, {**RELEVANT, "gen_ai.response.id": "resp_0123456789"})],
            (*BY, 1, "response_id"),
            id="span by response",
        ),
        pytest.param(
            [*run(), span(3, 0, {**RELEVANT, "gen_ai.response.id": "resp_0123456789"}, trace_number=9)],
            (*BY, 1, "response_id"),
            id="span in a trace of its own, by response",
        ),
        pytest.param(
            [*run(), span(3, 0, {**RELEVANT, "gen_ai.conversation.id": "conversation-1"}, trace_number=9)],
            (*BY, None, "conversation"),
            id="span in a trace of its own, by conversation",
        ),
        pytest.param([span(2, 1, {**CHAT, **RELEVANT}), span(1, 0, AGENT)], (*BY, 1, "response_id"), id="on the span"),
        pytest.param(
            [span(2, 1, {**CHAT, "eval.relevance.score": 0.75, "eval.relevance.label": "good"}), span(1, 0, AGENT)],
            (*BY, 1, "parent"),
            id="on the span, as Phoenix has it",
        ),
        pytest.param(
            [*run(), linked(with_event(span(3, 0, {}, trace_number=9)), 2)], (*BY, 1, "parent"),
            id="event on a span that links to the judged one, as TruLens has it",
        ),
        pytest.param(
            [*run(), span(3, 2, {"eval.relevance.score": 0.75, "eval.relevance.label": "good"})],
            (*BY, 1, "parent"),
            id="on a span of nobody's",
        ),
        pytest.param(
            [*run(), span(3, 1, {"openinference.span.kind": "EVALUATOR",
                                 "output.value": json.dumps({"score": 0.75, "label": "good"})}, name="relevance")],
            (*BY, 0, "parent"),
            id="the output of a judge",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("late", [False, True])
async def test_evaluations_on_spans(
    sidecar: Sidecar, spans: list[Span], expected: tuple[object, ...], late: bool
) -> None:
    """As an event, as a span, or written onto one; with the run or after it was closed."""
    first = {(one.trace_id, one.span_id) for one in run()}
    now = [one for one in spans if not late or (one.trace_id, one.span_id) in first]
    then = [one for one in spans if one not in now]
    await sidecar.spans(*now)
    await sidecar.wait(5)
    if then:
        await sidecar.spans(*then)
        await sidecar.wait(5)

    assert sidecar.judged == [expected]
    assert sidecar.count("spanledger_evaluations_total", "shop", "planner", "relevance") == 1
    assert sidecar.count("spanledger_runs_evaluated_total", "shop", "planner") == 1
    assert sidecar.count("spanledger_runs_evaluated_by_name_total", "shop", "planner", "relevance") == 1
    assert sidecar.count("spanledger_runs_total") == 1


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(log(RELEVANT, trace(1), span_id(2)), (*BY, 1, "parent"), id="on the judged span"),
        pytest.param(log(RELEVANT, trace(1)), (*BY, None, "parent"), id="on the trace"),
        pytest.param(
            log({**RELEVANT, "gen_ai.response.id": "resp_0123456789"}), (*BY, 1, "response_id"), id="by response"
        ),
        pytest.param(
            log({**RELEVANT, "gen_ai.response.id": "resp_0123456789"}, trace(8), span_id(8)),
            (*BY, 1, "response_id"),
            id="by response, in a trace of its own",
        ),
        pytest.param(
            log({**RELEVANT, "gen_ai.conversation.id": "conversation-1"}), (*BY, None, "conversation"),
            id="by conversation",
        ),
        pytest.param(
            log({**RELEVANT, "session.id": "conversation-1"}, trace(8)), (*BY, None, "conversation"), id="by session"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", ["before", "open", "closed"])
async def test_evaluations_in_logs(
    sidecar: Sidecar, record: LogRecord, expected: tuple[object, ...], when: str
) -> None:
    """Before the run, while it is open, and after it was closed."""
    if when == "before":
        await sidecar.logs(record)
        await sidecar.wait()
        await sidecar.spans(*run())
    else:
        await sidecar.spans(*run())
        await sidecar.wait(5 if when == "closed" else 0)
        await sidecar.logs(record)
    await sidecar.wait(1)
    await sidecar.wait(5)
    await sidecar.wait(5)

    assert sidecar.judged == [expected]
    assert [one["revision"] for one in documents_of(sidecar.told)] == ([1, 2] if when == "closed" else [1])
    assert sidecar.count("spanledger_runs_total") == 1
    assert sidecar.count("spanledger_evaluations_total", "shop", "planner", "relevance") == 1
    assert sidecar.count("spanledger_evaluation_score", "shop", "planner", "relevance") == 1
    assert sidecar.count("spanledger_runs_evaluated_total") == 1
    assert sidecar.count("spanledger_trajectory_log_records_dropped_total") == 0


async def test_a_judge_in_a_trace_of_its_own_is_no_run(sidecar: Sidecar) -> None:
    """It has done no work for anybody; what its model cost is a run of its own, and is not judged by it."""
    judge = {**RELEVANT, "gen_ai.response.id": "resp_0123456789"}
    await sidecar.spans(*run(), span(3, 0, judge, trace_number=9), span(4, 0, RELEVANT, trace_number=10))
    await sidecar.spans(span(6, 5, {**CHAT, "gen_ai.response.id": "other"}, trace_number=11),
                        span(5, 0, judge, trace_number=11))  # fmt: skip
    await sidecar.wait(5)
    await sidecar.wait(60)

    documents = {one["trace_ids"][0]: one for one in documents_of(sidecar.told)}
    assert set(documents) == {trace(1).hex(), trace(11).hex()}
    assert [one["basis"] for one in documents[trace(11).hex()]["evaluations"]] == ["builtin"]
    assert [one[4] for one in sidecar.judged] == ["response_id", "response_id"]


async def test_what_another_sidecar_evaluated_is_not_taken_for_a_judgement(sidecar: Sidecar) -> None:
    """Each judges by itself: else it would count twice."""
    await sidecar.spans(*run())
    await sidecar.logs(log({**RELEVANT, "gen_ai.evaluation.name": "spanledger.goal_signal"}, trace(1), span_id(1)))
    await sidecar.wait(5)

    assert sidecar.judged == []
    assert sidecar.count("spanledger_runs_evaluated_total", "shop", "planner") == 0


async def test_built_in_evaluations_leave_as_events_of_the_conventions(sidecar: Sidecar) -> None:
    """On the root of the run, once for each value; and they are no coverage."""
    await sidecar.spans(*run())
    await sidecar.wait(5)
    (event,) = [one for one in sidecar.told if one.event_name == "gen_ai.evaluation.result"]
    assert (event.trace_id, event.span_id) == (trace(1), span_id(1))
    assert attributes_of(event.attributes) == {
        "gen_ai.evaluation.name": "spanledger.goal_signal",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "answered",
        "gen_ai.evaluation.explanation": "the last answer asks for nothing more",
        "gen_ai.agent.name": "planner",
        "gen_ai.conversation.id": "conversation-1",
        "spanledger.run.id": documents_of(sidecar.told)[0]["run_id"],
        "spanledger.run.revision": 1,
    }
    assert sidecar.count("spanledger_evaluations_total", "shop", "planner", "spanledger.goal_signal", "answered") == 1
    assert sidecar.count("spanledger_runs_evaluated_total") == 0


async def test_a_revision_corrects_a_score_and_counts_nothing_twice(sidecar: Sidecar) -> None:
    """The document and the event have the new value; the counters count the run once and say that it changed."""
    await sidecar.spans(*run())
    await sidecar.wait(5)
    await sidecar.spans(span(4, 1, {**CHAT, "gen_ai.response.finish_reasons": ["length"], "gen_ai.response.id": "r2"}))
    await sidecar.wait(5)

    first, second = documents_of(sidecar.told)
    assert [one["evaluations"][0]["label"] for one in (first, second)] == ["answered", "truncated"]
    events = [attributes_of(one.attributes) for one in sidecar.told if one.event_name == "gen_ai.evaluation.result"]
    assert [(one["gen_ai.evaluation.score.value"], one["spanledger.run.revision"]) for one in events] == [
        (1, 1),
        (0, 2),
    ]
    assert sidecar.count("spanledger_evaluations_total") == 1
    assert sidecar.count("spanledger_evaluation_score") == 1
    assert sidecar.count("spanledger_run_corrections_total", "evaluations") == 1


async def test_the_series_of_an_agent_are_born_at_zero(sidecar: Sidecar) -> None:
    """Before its first run ends, so that the first evaluation is an increase."""
    await sidecar.spans(span(2, 1, {**CHAT, "gen_ai.agent.name": "planner"}))
    families = {family.metric.name: family for family in sidecar.table.families()}
    labels = {key[:3] for key in families["spanledger_evaluations_total"]._cells}
    assert ("shop", "planner", "spanledger.tool_success") in labels
    assert families["spanledger_runs_evaluated_total"].get(("shop", "planner")) is not None
    assert sidecar.count("spanledger_evaluations_total") == 0


async def test_an_evaluation_of_one_agent_is_born_at_zero_for_the_others(sidecar: Sidecar) -> None:
    """Those that are known, and those that come."""
    await sidecar.spans(span(2, 1, {**CHAT, "gen_ai.agent.name": "booker"}, trace_number=2))
    await sidecar.spans(with_event(span(2, 1, CHAT)), span(1, 0, AGENT))
    await sidecar.wait(5)
    await sidecar.spans(span(2, 1, {**CHAT, "gen_ai.agent.name": "seller"}, trace_number=3))
    (by_name,) = (one for one in sidecar.table.families() if one.metric.name.startswith("spanledger_runs_evaluated_by"))
    assert {key[1]: cell.value for key, cell in by_name._cells.items()} == {"booker": 0, "planner": 1, "seller": 0}


async def test_without_evaluators_nothing_is_judged() -> None:
    """They can be turned off."""
    sidecar = Sidecar(evaluators=[])
    await sidecar.connector.start()
    await sidecar.spans(*run())
    await sidecar.wait(5)
    assert documents_of(sidecar.told)[0]["evaluations"] == []
    await sidecar.connector.shutdown(sidecar.clock.now_s)
