"""The connector in its pipeline: what it writes on spans, hands to logs pipelines, and finds again after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.detail import Evaluation
from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.safety.concern import Concern
from spanledger.conventions.trajectory import Judgement
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import attributes_of, key_value
from spanledger.processor.batch import Batch, Delivery, decode, finish
from spanledger.processor.component import Passive, Refused, Rejected
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.sqlite_file import SPARE_BYTES, Malformed
from spanledger.processor.trajectory import connector as connector_module
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.processor.trajectory.journal import RETRY_S
from spanledger.processor.trajectory.journal_file import FILE, JournalFile
from spanledger.processor.trajectory.outbox import GATHER_S
from spanledger.processor.trajectory.records import Record
from spanledger.processor.trajectory.store import Store
from spanledger.service.flow import Intake, Pipeline, Stage
from tests.assembled_runs import agent, documents_of, run, says, span_id, spans_of, step, total, trace
from tests.fakes import Clock, FakeSink, host, request, span

LOOP = "spanledger.loop.fingerprint"


class Bed:
    """A connector on a clock that stands still, and the logs pipeline behind it."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.table = MetricTable()
        self.answers: list[Exception] = []
        self.batches: list[Batch] = []
        self.slept: list[float] = []
        self.config = TrajectoryConfig.model_validate(config)
        self.connector = self.again()

    def again(self) -> Trajectory:
        """Return a connector as the next process would have it."""
        surroundings = host("trajectory", self.clock, self.table)  # type: ignore[arg-type]
        self.connector = Trajectory(self.config, surroundings, sleep=self.sleep)
        self.connector.consumers = {"logs": self.consume}
        return self.connector

    async def consume(self, batch: Batch) -> None:
        """Be the logs pipeline."""
        if self.answers:
            raise self.answers.pop(0)
        self.batches.append(batch)

    async def sleep(self, seconds: float) -> None:
        """Let nobody wait."""
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def take(self, *records: Record) -> None:
        """Give spans, as one request."""
        steps = tuple(record for record in records if hasattr(record, "kind") and isinstance(record.kind, str))
        bridges = tuple(record for record in records if record not in steps)
        self.connector.commit(Delivery("traces", b"", len(records), 0, steps, bridges))  # type: ignore[arg-type]

    async def wait(self, seconds: float = 0) -> None:
        """Let time pass, and everybody do what is due."""
        self.clock.now_s += seconds
        self.connector._wake.set()
        for _ in range(40):
            await asyncio.sleep(0)

    async def crash(self) -> None:
        """End without a word, some time after the last change was written."""
        journal = self.connector._journal
        assert journal is not None
        if journal._task is not None:
            await journal._task
        assert self.connector._task is not None
        self.connector._task.cancel()
        await asyncio.gather(self.connector._task, return_exceptions=True)
        await journal._in_thread(journal._file.close)
        self.connector = self.again()

    @property
    def records(self) -> list[LogRecord]:
        """Return what the logs pipeline was given."""
        return [record for batch in self.batches for group in batch.groups for record in group.items]

    @property
    def documents(self) -> list[Any]:
        """Return the run documents it was given."""
        return documents_of(self.records)


class Reading2(Passive):
    """A processor that reads spans by their names, as the normaliser would."""

    def process(self, batch: Batch) -> Generator[None, None, None]:
        """Fill in the readings."""
        for group in batch.groups:
            for index, item in enumerate(group.items):
                if item.name.startswith("chat"):
                    cost = Cost("priced", total=10**9)
                    group.readings[index] = Reading("otel", "llm", "chat", usage=Usage(10, 2), cost=cost)
                elif item.name.startswith("agent"):
                    group.readings[index] = Reading("otel", "agent", "invoke_agent", agent_name="planner")
                elif item.name.startswith("tool"):
                    attributes = {"gen_ai.tool.call.arguments": '{"q": "x"}', "gen_ai.tool.call.result": "nothing new"}
                    group.readings[index] = Reading(
                        "otel", "tool", "execute_tool", tool_name="search", attributes=attributes
                    )
                yield


def pipeline(bed: Bed, *sinks: Any) -> Intake:
    """Return an intake into the connector and other sinks."""
    stage = Stage(Reading2(), lambda _count: None, lambda _count: None)
    one = Pipeline("traces", "traces", (stage,), (*sinks, bed.connector), bed.connector)
    return Intake((one,), deque(maxlen=1), bed.clock.monotonic)


async def send(intake: Intake, *spans: Any) -> None:
    """Send spans through the pipeline."""
    await intake(finish(decode("traces", request(*spans).SerializeToString(), 0)))


def one_after_the_other(one: Span) -> Span:
    """Return a span of half a second that begins at the second of its number."""
    one.start_time_unix_nano = (1_700_000_000 + int.from_bytes(one.span_id, "big")) * 10**9
    one.end_time_unix_nano = one.start_time_unix_nano + 5 * 10**8
    return one


def attributes(delivery: Delivery) -> list[dict[str, Any]]:
    """Return the attributes of the spans that left."""
    return [dict(attributes_of(item.attributes)) for item in finish(decode("traces", delivery.data, 0)).groups[0].items]


# -- on the spans --


async def test_the_roll_up_is_on_the_root_in_passing() -> None:
    """Children came before it, in an earlier request and in its own."""
    bed, sink = Bed(), FakeSink()
    intake = pipeline(bed, sink)
    await send(intake, span(2, 1, name="chat"))
    await send(intake, span(3, 1, name="chat"), span(1, name="agent"))

    child, root = attributes(sink.taken[1])
    assert child == {}
    assert root["spanledger.run.llm_calls"] == 2
    assert root["spanledger.run.cost_usd"] == 0.002
    assert root["spanledger.run.completeness"] == "complete"
    assert root["spanledger.run.id"]


async def test_a_root_whose_children_are_still_open_says_so() -> None:
    """It may become more."""
    bed, sink = Bed(), FakeSink()
    await send(pipeline(bed, sink), span(3, 2, name="chat"), span(1, name="agent"))

    assert attributes(sink.taken[0])[1]["spanledger.run.completeness"] == "open"


async def test_what_was_built_in_passing_is_what_is_told() -> None:
    """The same run, and its id on the span."""
    bed, sink = Bed(), FakeSink()
    await bed.connector.start()
    await send(pipeline(bed, sink), span(2, 1, name="chat"), span(1, name="agent"))
    await bed.wait(5)

    (document,) = bed.documents
    assert document["run_id"] == attributes(sink.taken[0])[1]["spanledger.run.id"]
    assert document["totals"]["cost_usd"] == 0.001
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_request_that_is_refused_leaves_nothing_behind() -> None:
    """It comes again, and counts then."""
    bed = Bed()
    with pytest.raises(Refused):
        await send(pipeline(bed, FakeSink(room=0)), span(2, 1, name="chat"), span(1, name="agent"))

    assert bed.connector.statistics()["open"] == 0
    assert total(bed.table, "spanledger_trajectory_spans_total") == 0


async def test_a_loop_is_told_and_marked_while_the_run_is_open() -> None:
    """The same tool, the same arguments, the same result, again and again."""
    bed, sink = Bed(), FakeSink()
    await bed.connector.start()
    intake = pipeline(bed, sink)
    for number in range(2, 22, 2):
        await send(
            intake, *(one_after_the_other(span(number + n, 1, name=name)) for n, name in enumerate(("chat", "tool")))
        )
        await bed.wait()

    (told, *_) = bed.records
    said = attributes_of(told.attributes)
    assert told.event_name == "spanledger.loop.detected"
    assert said["spanledger.loop.rule"] == "exact_repeat"
    assert total(bed.table, "spanledger_loops_total", "shop", "", "exact_repeat") == 1
    assert bed.documents == []
    marked = [one for delivery in sink.taken for one in attributes(delivery) if LOOP in one]
    assert [one["spanledger.loop.rule"] for one in marked].count("exact_repeat") >= 5
    assert [one["spanledger.loop.count"] for one in marked] == sorted(one["spanledger.loop.count"] for one in marked)
    assert {one[LOOP] for one in marked} == {said[LOOP]}
    assert not any(LOOP in one for delivery in sink.taken[:2] for one in attributes(delivery))
    await bed.connector.shutdown(bed.clock.now_s)
    assert [one["rule"] for one in bed.documents[0]["findings"]] == ["exact_repeat"]


# -- into the logs pipelines --


async def test_what_a_logs_pipeline_refuses_is_sent_again() -> None:
    """After the time it asks for."""
    bed = Bed()
    bed.answers = [Refused("full", 3.0), Refused("full", None)]
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)

    assert [document["totals"]["llm_calls"] for document in bed.documents] == [2]
    assert bed.slept == [GATHER_S, 3.0, 1.0]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_what_a_logs_pipeline_rejects_is_dropped_and_counted() -> None:
    """It would be rejected for ever."""
    bed = Bed(evaluators=[])
    bed.answers = [Rejected("too large")]
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)

    assert bed.documents == []
    assert total(bed.table, "spanledger_trajectory_events_dropped_total", "rejected") == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def test_shutdown_hands_over_what_is_open() -> None:
    """Before the exporters behind it stop."""
    bed = Bed()
    await bed.connector.start()
    bed.take(*run(1), step(2, 1, 2))

    assert await bed.connector.shutdown(bed.clock.now_s + 5) == 0
    assert sorted(document["completeness"] for document in bed.documents) == ["complete", "shutdown"]


async def test_shutdown_says_what_could_not_be_handed_over() -> None:
    """A logs pipeline that refuses until the deadline."""
    bed = Bed(evaluators=[])
    bed.answers = [Refused("full")] * 1_000_000
    await bed.connector.start()
    bed.take(*run())

    assert await bed.connector.shutdown(bed.clock.now_s) == 1
    assert total(bed.table, "spanledger_trajectory_events_dropped_total", "shutdown") == 1


@pytest.mark.parametrize("storage", [False, True], ids=["memory", "disk"])
async def test_shutdown_tells_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, storage: bool
) -> None:
    """Of many large runs: those it has no time for are lost and counted, or told after the next start."""
    bed = Bed(evaluators=[], storage=str(tmp_path) if storage else "")
    composing = connector_module.composing

    def slowly(snapshot: Any) -> Any:
        bed.clock.now_s += 1
        return composing(snapshot)

    monkeypatch.setattr(connector_module, "composing", slowly)
    await bed.connector.start()
    for number in range(1, 6):
        bed.connector.commit(await keep(bed, *(step(one, 1, number) for one in range(2, 72))))

    # Four fifths of its time are for that.
    assert await bed.connector.shutdown(bed.clock.now_s + 3) == (0 if storage else 2)
    assert total(bed.table, "spanledger_trajectory_events_dropped_total", "shutdown") == (0 if storage else 2)
    assert len(bed.documents) == 3
    if storage:
        await bed.again().start()
        assert await bed.connector.shutdown(bed.clock.now_s + 30) == 0
        assert sorted(one["trace_ids"] for one in bed.documents) == [[trace(number).hex()] for number in range(1, 6)]


async def test_what_makes_room_is_forgotten_on_disk_when_it_was_told() -> None:
    """Not before: a process that is killed in between tells of it after its next start."""
    bed = Bed(memory={"max_runs": 1})
    for number in (1, 2, 3):
        bed.take(step(2, 1, number))
    store = bed.connector.assembly.store

    assert (store.leaving_groups, store.forgotten_traces) == (2, [])
    ((group, _),) = store.due(bed.clock.now_s, 1)
    store.left(group)
    assert store.forgotten_traces == [trace(1)]


async def test_without_a_logs_pipeline_there_are_still_metrics() -> None:
    """Nobody has to keep documents."""
    bed = Bed()
    bed.connector.consumers = {}
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)

    assert total(bed.table, "spanledger_runs_total") == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_large_run_is_told_all_the_same() -> None:
    """Its document is made in a thread."""
    bed = Bed()
    await bed.connector.start()
    bed.take(*(step(number, 1) for number in range(2, 400)), agent(1, spans=400))
    await bed.connector.shutdown(bed.clock.now_s + 5)

    assert bed.documents[0]["totals"]["llm_calls"] == 398


# -- out of logs --


def logs(*records: LogRecord) -> Delivery:
    """Return log records as a pipeline hands them over."""
    message = ExportLogsServiceRequest()
    message.resource_logs.add().scope_logs.add().log_records.extend(records)
    return Delivery("logs", message.SerializeToString(), len(records), 0)


def judged() -> LogRecord:
    """Return what a judge says of the second span of the first run."""
    return LogRecord(
        event_name="gen_ai.evaluation.result",
        trace_id=trace(1),
        span_id=span_id(2),
        attributes=[key_value("gen_ai.evaluation.name", "helpful"), key_value("gen_ai.evaluation.score.value", 0.5)],
    )


async def test_an_evaluation_in_a_log_record_is_joined_to_its_run() -> None:
    """After the run was closed: a revision."""
    bed = Bed()
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)
    bed.connector.commit(logs(judged()))
    await bed.wait()
    await bed.wait(5)

    assert [document["revision"] for document in bed.documents] == [1, 2]
    assert [(one["name"], one["step"]) for one in bed.documents[1]["evaluations"][:1]] == [("helpful", 1)]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_other_log_records_are_not_even_read() -> None:
    """Logs of applications pass through here in masses."""
    bed = Bed()
    bed.connector.commit(logs(LogRecord(severity_text="INFO")))

    assert bed.connector.statistics()["waiting_log_records"] == 0


# -- after a crash --


async def test_a_killed_process_resumes_its_open_runs(tmp_path: Path) -> None:
    """What came before and after is one run, told once."""
    bed = Bed(storage=str(tmp_path / "state"))
    await bed.connector.start()
    bed.take(says(step(2, 1), history=(2**63, 5), input="ping"), step(3, 1))
    await bed.crash()
    await bed.connector.start()
    assert bed.connector.statistics()["open"] == 1
    bed.take(agent(1))
    await bed.wait(5)

    (document,) = bed.documents
    assert spans_of([document]) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 2, 3)]
    assert document["steps"][1]["input"] == "ping"
    assert document["totals"]["cost_usd"] == 0.0005
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_run_that_was_told_before_a_crash_is_revised_after_it(tmp_path: Path) -> None:
    """Its id and revision are known; it is not counted again."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)
    await bed.crash()
    await bed.connector.start()
    await bed.wait(5)
    assert len(bed.documents) == 1, "nothing new, so nothing is told"
    bed.take(step(9, 1))
    await bed.wait()
    await bed.wait(5)

    assert [document["revision"] for document in bed.documents] == [1, 2]
    assert total(bed.table, "spanledger_runs_total") == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_finding_that_was_counted_before_a_crash_is_not_counted_after_it(tmp_path: Path) -> None:
    """What cannot wait is counted while its run is open; the run is closed by the next process."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.take(says(step(2, 1, agent_name="planner"), concerns=(Concern("guardrail", "personal_data", "critical"),)))
    await bed.wait()
    assert total(bed.table, "spanledger_safety_findings_total") == 1
    await bed.crash()
    await bed.connector.start()
    bed.take(agent(1))
    await bed.wait(5)

    assert [finding["rule"] for finding in bed.documents[0]["findings"]] == ["personal_data"]
    assert total(bed.table, "spanledger_safety_findings_total") == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_restart_in_order_goes_on_too_and_counts_a_run_once(tmp_path: Path) -> None:
    """What was told at the end of the process was not the end of the run."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.take(step(2, 1))
    await bed.connector.shutdown(bed.clock.now_s + 5)
    assert total(bed.table, "spanledger_runs_total") == 0
    await bed.again().start()
    bed.take(agent(1))
    await bed.wait(5)

    assert [(one["revision"], one["completeness"]) for one in bed.documents] == [(1, "shutdown"), (2, "complete")]
    assert total(bed.table, "spanledger_runs_total", "shop", "planner", "success", "complete") == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def test_what_is_no_longer_held_is_forgotten_on_disk_too(tmp_path: Path) -> None:
    """The file does not grow for ever, and a late span is still known as one."""
    bed = Bed(storage=str(tmp_path), late={"remember": "10s", "forget": "100s"})
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)
    await bed.wait(10)
    await bed.crash()
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT count(*) FROM record").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM closed").fetchone() == (1,)
    db.close()
    await bed.connector.start()
    bed.take(step(9, 1))
    await bed.wait(100)

    assert total(bed.table, "spanledger_trajectory_spans_total", "too_late") == 1
    assert len(bed.documents) == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def keep(bed: Bed, *records: Record) -> Delivery:
    """Give spans as a request that is acknowledged: on disk first."""
    delivery = Delivery("traces", b"", len(records), 0, records)  # type: ignore[arg-type]
    bed.connector.reserve(delivery)
    await bed.connector.keep(delivery)
    return delivery


async def test_a_reload_waits_for_the_file_and_tells_of_no_end(tmp_path: Path) -> None:
    """Until the predecessor gives it up requests are refused, to come again; open runs are none that ended."""
    bed = Bed(storage=str(tmp_path))
    first = bed.connector
    await first.start()
    bed.connector.commit(await keep(bed, step(2, 1)))
    second = bed.again()
    for _ in range(2):
        with pytest.raises(ValueError, match="in use"):
            await second.start()
        with pytest.raises(Refused, match="is starting"):
            await keep(bed, step(3, 1))
    await second.take_over(first)
    assert await first.shutdown(bed.clock.now_s + 5) == 0
    await second.start()
    bed.connector.commit(await keep(bed, agent(1, spans=2)))
    await bed.wait(5)

    assert [(one["revision"], one["completeness"]) for one in bed.documents] == [(1, "complete")]
    await second.shutdown(bed.clock.now_s)


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
async def test_what_was_acknowledged_a_moment_before_a_crash_is_there_again(tmp_path: Path, moment: str) -> None:
    """Nothing of it was written as a record yet."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    delivery = await keep(bed, step(2, 1), step(3, 1))
    if moment == "after the commit":
        bed.connector.commit(delivery)
    journal = bed.connector._journal
    assert journal is not None
    journal._waiting.clear()
    await bed.crash()
    await bed.connector.start()
    bed.take(agent(1))
    await bed.wait(5)

    assert spans_of(bed.documents) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 2, 3)]
    await bed.connector.shutdown(bed.clock.now_s)
    assert rows(tmp_path, "arrived") == 0


async def test_a_fault_of_our_own_refuses_and_hangs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what cannot be written down is taken all the same."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    monkeypatch.setattr(JournalFile, "arrive", lambda *_: 1 / 0)
    with pytest.raises(Refused, match="division by zero"):
        await keep(bed, step(2, 1))
    monkeypatch.undo()
    bed.connector.commit(await keep(bed, says(step(2, 1), input="half a character \ud800")))
    bed.take(agent(1))
    await bed.wait(5)
    assert spans_of(bed.documents) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 2)]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_run_whose_document_nobody_has_yet_is_told_after_a_crash(tmp_path: Path) -> None:
    """The logs pipeline refuses as long as the process lives."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.connector.commit(await keep(bed, *run()))
    bed.answers = [Refused("full")] * 100_000
    await bed.wait(5)
    assert not bed.documents
    journal = bed.connector._journal
    assert journal is not None
    assert journal._task is not None
    for task in (journal._task, bed.connector._task, bed.connector._outbox._task):
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    journal._waiting.clear()
    await journal._in_thread(journal._file.close)
    bed.answers = []
    await bed.again().start()
    await bed.wait()
    await bed.wait(5)
    await bed.wait(5)

    assert [document["revision"] for document in bed.documents] == [1]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_what_was_refused_elsewhere_is_not_taken_after_a_crash(tmp_path: Path) -> None:
    """Its sender has it and sends it again."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.connector.release(await keep(bed, step(2, 1)))
    await bed.crash()
    assert rows(tmp_path, "arrived") == 0


async def test_log_records_of_a_moment_before_a_crash_are_read_after_it(tmp_path: Path) -> None:
    """An evaluation that nobody had looked at."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    delivery = logs(judged())
    await bed.connector.keep(delivery)
    await bed.crash()
    await bed.connector.start()
    bed.take(*run())
    await bed.wait()
    await bed.wait(5)

    assert [one["name"] for one in bed.documents[-1]["evaluations"][:1]] == ["helpful"]
    await bed.connector.shutdown(bed.clock.now_s)
    assert rows(tmp_path, "arrived") == 0


async def test_a_disk_that_fails_refuses_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start and later: nothing is lost that was acknowledged, a healthy file is not put aside."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.connector.commit(await keep(bed, step(2, 1)))
    await bed.crash()
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    real = JournalFile._begin

    def fails(_file: JournalFile) -> Any:
        raise full

    monkeypatch.setattr(JournalFile, "_begin", fails)
    await bed.connector.start()
    with pytest.raises(Refused, match="cannot write open runs to disk"):
        await keep(bed, step(3, 1))
    monkeypatch.setattr(JournalFile, "_begin", real)
    await bed.wait(1)
    bed.connector.commit(await keep(bed, step(3, 1)))
    bed.take(agent(1))
    await bed.wait(5)

    assert spans_of(bed.documents) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 2, 3)]
    assert not [name for name in names_in(tmp_path) if ".broken-" in name]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_client_that_goes_away_while_the_file_is_opened_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a former life left is taken up to the end: who comes next finds the file open and does not look again."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.connector.commit(await keep(bed, step(2, 1), agent(1)))
    await bed.crash()
    begins, real = threading.Event(), JournalFile._begin

    def slow(file: JournalFile) -> Any:
        begins.wait(10)
        return real(file)

    monkeypatch.setattr(JournalFile, "_begin", slow)
    impatient = asyncio.create_task(bed.connector.keep(Delivery("traces", b"", 0, 0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    begins.set()
    await bed.connector.start()
    await bed.wait(5)

    assert spans_of(bed.documents) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 2)]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_who_is_far_behind_refuses_until_all_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests come again; what was taken is in its run, and the run is not told before all of it is there."""
    monkeypatch.setattr(connector_module, "MAX_WAITING", 2)
    bed = Bed()
    seconds = itertools.count()
    bed.connector._host.monotonic = lambda: bed.clock.now_s + next(seconds) / 1e3
    bed.connector.assembly.take([step(number, 1) for number in range(2, 12)])
    bed.connector.assembly.take([agent(1)])
    assert bed.connector.assembly.waiting_spans > 2
    refused = 0
    while True:
        try:
            bed.connector.reserve(Delivery("traces", b"", 1, 0))
        except Refused:
            refused += 1
            await bed.connector.work()
        else:
            break

    assert refused > 1
    assert bed.connector.assembly.waiting_spans == 0
    await bed.connector.shutdown(bed.clock.now_s + 10)
    assert len(spans_of(bed.documents)) == 11


async def test_who_closes_runs_faster_than_they_are_told_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that make room for others are in no limit any more, so that there have to be few of them."""
    monkeypatch.setattr(connector_module, "MAX_LEAVING", 5)
    bed = Bed(memory={"max_runs": 10})
    bed.take(*(agent(number, trace_number=number) for number in range(1, 30)))
    with pytest.raises(Refused, match=r"\d+ closed runs waiting"):
        bed.connector.reserve(Delivery("traces", b"", 1, 0))
    while await bed.connector.work() == 0:
        pass

    bed.connector.reserve(Delivery("traces", b"", 1, 0))
    await bed.connector.shutdown(bed.clock.now_s + 10)
    assert len(bed.documents) == 29


async def test_a_span_that_cannot_be_taken_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours takes that span and no other; what waits comes to nothing again."""
    bed = Bed()
    real = Store.add

    def fails(store: Store, record: Any, now_s: float) -> Any:
        if record.span_id == span_id(3):
            raise RuntimeError("a fault")
        return real(store, record, now_s)

    monkeypatch.setattr(Store, "add", fails)
    with pytest.raises(RuntimeError):
        bed.take(step(2, 1), step(3, 1), step(4, 1), agent(1))
    await bed.connector.work()

    assert bed.connector.statistics()["waiting_spans"] == 0
    await bed.connector.shutdown(bed.clock.now_s + 10)
    assert spans_of(bed.documents) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 2, 4)]


async def test_changes_that_found_no_room_are_written_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk passes; what was said of runs meanwhile has to outlive a crash after it."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    journal = bed.connector._journal
    assert journal is not None
    real, failures = journal._file.apply, [sqlite3.OperationalError("database or disk is full")] * 3

    def apply(changes: Any) -> None:
        if failures:
            raise failures.pop()
        real(changes)

    monkeypatch.setattr(journal._file, "apply", apply)
    bed.take(step(2, 1))
    await bed.crash()
    assert rows(tmp_path, "record") == 1


async def test_requests_are_refused_while_little_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of it is for what is settled; where a queue on the same disk refuses, they come again and again."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.connector.commit(await keep(bed, *run()))
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fstatvfs", lambda _descriptor: SimpleNamespace(f_bavail=SPARE_BYTES // 4096 - 1, f_frsize=4096)
        )
        for _ in range(10):
            with pytest.raises(Refused, match="16 MiB"):
                await keep(bed, step(7, 1, 2))
        await bed.wait(5)
    assert len(bed.documents) == 1
    await bed.connector.keep(Delivery("traces", b"", 1, 0, (step(7, 1, 2),)))  # type: ignore[arg-type]
    await bed.crash()
    assert (rows(tmp_path, "run"), rows(tmp_path, "arrived")) == (1, 1)


async def test_documents_that_nobody_took_before_a_shutdown_are_told_after_it(tmp_path: Path) -> None:
    """At least once: the file does not say that they were told, and the shutdown does not say that they are lost."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.connector.commit(await keep(bed, *run()))
    await bed.wait(5)
    assert [document["revision"] for document in bed.documents] == [1]
    bed.answers = [Refused("full")] * 100_000
    bed.connector.commit(await keep(bed, *run(2)))
    await bed.wait(5)

    assert await bed.connector.shutdown(bed.clock.now_s) == 0
    assert total(bed.table, "spanledger_trajectory_events_dropped_total", "shutdown") == 0
    bed.answers = []
    await bed.again().start()
    for _ in range(3):
        await bed.wait(5)

    assert [(document["trace_ids"], document["revision"]) for document in bed.documents] == [
        ([trace(1).hex()], 1),
        ([trace(2).hex()], 1),
    ]
    await bed.connector.shutdown(bed.clock.now_s)
    assert rows(tmp_path, "arrived") == 0


async def test_documents_that_nobody_took_are_lost_without_storage() -> None:
    """And said to be."""
    bed = Bed()
    await bed.connector.start()
    bed.answers = [Refused("full")] * 100_000
    bed.take(*run())
    await bed.wait(5)

    assert await bed.connector.shutdown(bed.clock.now_s) > 0


async def test_a_file_that_breaks_on_a_full_disk_is_begun_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without tables would refuse every request for ever."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    journal = bed.connector._journal
    assert journal is not None
    file = journal._file
    begin = file._begin

    def begin_on_a_full_disk() -> Any:
        file._connection = sqlite3.connect(tmp_path / FILE, check_same_thread=False)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(file, "_begin", begin_on_a_full_disk)
        patch.setattr(file, "arrive", lambda *_: (_ for _ in ()).throw(Malformed("a page is damaged")))
        with pytest.raises(Refused):
            await keep(bed, step(2, 1))
    assert not journal.is_open
    assert file._begin == begin
    bed.clock.now_s += RETRY_S
    bed.connector.commit(await keep(bed, *run()))
    await bed.wait(5)

    assert len(bed.documents) == 1
    await bed.connector.shutdown(bed.clock.now_s)


def rows(directory: Path, table: str) -> int:
    """Return how many there are in a table of the file."""
    with contextlib.closing(sqlite3.connect(directory / FILE)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_a_damaged_file_is_put_aside_and_reported(tmp_path: Path) -> None:
    """A sidecar that does not start for old data would be worse."""
    bed = Bed(storage=str(tmp_path))
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    await bed.connector.start()
    bed.take(*run())
    await bed.wait(5)

    assert len(bed.documents) == 1
    (aside,) = [name for name in names_in(tmp_path) if ".broken-" in name]
    assert aside.startswith(FILE)
    assert total(bed.table, "spanledger_trajectory_storage_errors_total", "open") == 1
    await bed.connector.shutdown(bed.clock.now_s)


async def test_a_row_that_nobody_understands_is_left_out(tmp_path: Path) -> None:
    """Another release may have written it."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    bed.take(step(2, 1), step(3, 1))
    await bed.crash()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE record SET body = '{\"_\":\"Poem\"}' WHERE substr(key, 24, 1) = x'02'")
    db.close()
    await bed.connector.start()
    bed.take(agent(1))
    await bed.wait(5)

    assert spans_of(bed.documents) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 3)]
    await bed.connector.shutdown(bed.clock.now_s)


async def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    """A reload waits for the one that leaves."""
    bed = Bed(storage=str(tmp_path))
    await bed.connector.start()
    first = bed.connector
    with pytest.raises(ValueError, match="is in use"):
        await bed.again().start()

    await first.shutdown(bed.clock.now_s)


def names_in(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return [path.name for path in directory.iterdir()]


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """It may hold prompts."""

    async def once() -> None:
        bed = Bed(storage=str(tmp_path / "state"))
        await bed.connector.start()
        bed.take(*run())
        await bed.wait()
        await bed.crash()

    asyncio.run(once())
    modes = {path.stat().st_mode & 0o077 for path in [tmp_path / "state", *(tmp_path / "state").iterdir()]}
    assert modes == {0}


# -- a reload --


async def test_runs_go_on_in_the_connector_that_a_reload_puts_in_the_place_of_this_one() -> None:
    """Open ones, closed ones that may be revised, and what is on its way: nothing is told twice, or as `shutdown`."""
    bed = Bed()
    await bed.connector.start()
    bed.take(step(2, 1), says(step(3, 1), after=7))
    bed.take(*run(2))
    await bed.wait(6)
    before = bed.connector
    bed.config = TrajectoryConfig.model_validate({"settle": "1s"})
    after = bed.again()
    await after.start()
    handover = after.take_over(before)
    bed.connector = before
    bed.take(step(4, 1))
    await handover
    bed.take(step(5, 1))
    await before.shutdown(bed.clock.now_s)
    bed.connector = after
    bed.take(agent(1, 0), step(9, 1, 2))
    await bed.wait(2)

    await after.shutdown(bed.clock.now_s)
    told = [(one["trace_ids"][0][-1], one["revision"], one["completeness"]) for one in bed.documents]
    assert sorted(told) == [("1", 1, "complete"), ("2", 1, "complete"), ("2", 2, "complete")]
    assert {one["trace_ids"][0][-1]: len(one["steps"]) for one in bed.documents} == {"1": 5, "2": 5}
    assert total(bed.table, "spanledger_runs_total") == 2


@pytest.mark.parametrize("storage", [("", ""), ("a", "a"), ("", "a")], ids=["memory", "one file", "a file from now on"])
async def test_budgets_go_on_over_a_reload(tmp_path: Path, storage: tuple[str, str]) -> None:
    """What closed runs and open ones spent, what was told of, and the gauges, which the predecessor takes away."""
    before, after = (str(tmp_path / one) if one else "" for one in storage)
    paid = Cost("priced", total=10**12)
    budget = {"name": "day", "per": "day", "soft_usd": 2, "hard_usd": 5}
    bed = Bed(budgets=[budget], storage=before)
    first = bed.connector
    await first.start()
    bed.take(agent(1), step(2, 1, cost=paid), step(3, 1, cost=paid))
    await bed.wait(6)
    bed.take(step(2, 1, 2, cost=paid))
    bed.config = TrajectoryConfig.model_validate({"budgets": [budget], "storage": after, "settle": "1s"})
    second = bed.again()
    if before:
        with pytest.raises(ValueError, match="in use"):
            await second.start()
    else:
        await second.start()
    handover = second.take_over(first)
    if not after:
        # Beside the handover, which counts what is open.
        bed.take(step(3, 1, 2, cost=paid))
    await handover
    await first.shutdown(bed.clock.now_s + 5)
    if before:
        await second.start()

    if before == after:
        if after:
            bed.take(step(3, 1, 2, cost=paid))
            await bed.wait()
        assert total(bed.table, "spanledger_budget_spent_usd") == 4
    else:
        assert total(bed.table, "spanledger_budget_spent_usd") == 0, "the open run was told as one that ended"
    assert total(bed.table, "spanledger_budget_limit_usd") == 5
    assert total(bed.table, "spanledger_budget_period_seconds") == 86_400
    assert total(bed.table, "spanledger_budget_breaches_total", "day", "soft") == 1
    assert total(bed.table, "spanledger_budget_breaches_total", "day", "hard") == 0
    await second.shutdown(bed.clock.now_s)
    assert bed.table.gauge("spanledger_budget_limit_usd").get(("day",)) is None


async def test_a_limit_that_is_reached_beside_a_handover_is_told_of_by_the_next_step() -> None:
    """The call that came meanwhile is counted with what was open, of which nothing is told."""
    paid = Cost("priced", total=10**12)
    bed = Bed(budgets=[{"name": "day", "per": "day", "soft_usd": 2, "hard_usd": 3}])
    first = bed.connector
    await first.start()
    bed.take(step(2, 1, cost=paid), step(3, 1, cost=paid))
    await bed.wait()
    second = bed.again()
    await second.start()
    handover = second.take_over(first)
    bed.take(step(4, 1, cost=paid))
    await handover
    bed.take(step(5, 1, cost=paid))
    await bed.wait()

    breaches = {level: total(bed.table, "spanledger_budget_breaches_total", "day", level) for level in ("soft", "hard")}
    assert breaches == {"soft": 1, "hard": 1}
    for connector in (first, second):
        await connector.shutdown(bed.clock.now_s)


async def test_what_was_held_against_policies_is_not_again_after_a_reload() -> None:
    """Neither of a run that is open nor of one that is closed and told again, for a step came late."""
    policies = [{"name": "models", "models": {"deny": ["gpt-4o"]}}]
    bed = Bed(policies=policies)
    first = bed.connector
    await first.start()
    bed.take(agent(1), step(2, 1), step(3, 1))
    await bed.wait(6)
    bed.take(step(2, 1, 2))
    bed.config = TrajectoryConfig.model_validate({"policies": policies, "settle": "1s"})
    second = bed.again()
    await second.start()
    await second.take_over(first)
    await first.shutdown(bed.clock.now_s + 5)
    bed.take(step(4, 1), agent(1, 0, 2))
    await bed.wait(60)

    assert total(bed.table, "spanledger_policy_violations_total") == 4
    assert {(one["trace_ids"][0][-1], one["revision"]) for one in bed.documents} == {("1", 1), ("1", 2), ("2", 1)}
    await second.shutdown(bed.clock.now_s)


async def test_a_large_run_that_is_put_together_while_a_reload_takes_over_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By whoever goes on: its group was handed over as one that is not told of yet."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(work: Generator[None, None, Any], *_: object) -> Any:
        begun.set()
        assert go_on.wait(10)
        return finish(work)

    monkeypatch.setattr(connector_module, "resting", slow)
    bed = Bed()
    await bed.connector.start()
    bed.take(*(step(number, 1) for number in range(2, 400)), agent(1, spans=400))
    await bed.wait(6)
    assert await asyncio.to_thread(begun.wait, 10)

    before, after = bed.connector, bed.again()
    await after.start()
    await after.take_over(before)
    go_on.set()
    await before.shutdown(bed.clock.now_s)
    await bed.wait(6)
    await after.shutdown(bed.clock.now_s)

    assert [one["completeness"] for one in bed.documents] == ["complete"]
    assert total(bed.table, "spanledger_runs_total") == 1


async def test_runs_that_were_closed_to_make_room_before_a_reload_are_told() -> None:
    """Nobody remembers them but the line of those that are to be told of; the others go over to the heir."""
    bed = Bed(memory={"max_runs": 10})
    await bed.connector.start()
    for number in range(1, 41):
        bed.take(step(2, 1, number), step(3, 1, number))
    bed.take(*(step(number, 1, 41) for number in range(2, 400)))
    for number in range(42, 82):
        bed.take(step(2, 1, number), step(3, 1, number))
    assert bed.connector.assembly.store.leaving_groups == 71
    before, after = bed.connector, bed.again()
    await after.start()
    await after.take_over(before)
    await before.shutdown(bed.clock.now_s)
    await after.shutdown(bed.clock.now_s)

    assert len({one["trace_ids"][0] for one in bed.documents}) == len(bed.documents) == 81
    assert total(bed.table, "spanledger_runs_total") == 81


async def test_log_records_that_are_being_read_at_a_reload_are_heard() -> None:
    """What they say is of runs that somebody else has by now."""
    bed = Bed()
    bed.take(*run())
    message = ExportLogsServiceRequest()
    for records in ([LogRecord()], [judged()]):
        message.resource_logs.add().scope_logs.add().log_records.extend(records)
    before = bed.connector
    before.commit(Delivery("logs", message.SerializeToString(), 2, 0))
    reading = asyncio.create_task(before._read_logs())
    await asyncio.sleep(0)
    assert not reading.done()

    after = bed.again()
    await after.take_over(before)
    await reading
    await before.shutdown(bed.clock.now_s)
    await after.shutdown(bed.clock.now_s)
    assert [one["name"] for one in bed.documents[-1]["evaluations"] if one["basis"] != "builtin"] == ["helpful"]


async def test_an_evaluation_that_waits_for_its_run_is_there_after_a_restart(tmp_path: Path) -> None:
    """It was acknowledged. On disk it is for as long as the run that it is about, whatever trace it names."""
    bed = Bed(storage=str(tmp_path), evaluators=[], late={"remember": "60s", "forget": "60s"})
    await bed.connector.start()
    bed.connector.assembly.judge(Judgement(Evaluation("helpful", 0.5, response_id="resp_12345")))
    bed.connector.assembly.judge(Judgement(Evaluation("kind", 0.5, response_id="nobody")))
    await bed.wait()
    await bed.crash()
    await bed.connector.start()
    bed.take(*run(), step(9, 1, response_id="resp_12345"))
    await bed.wait()
    await bed.wait(6)

    assert [one["name"] for one in bed.documents[-1]["evaluations"]] == ["helpful"]
    for _ in range(4):
        await bed.wait(60)
    assert total(bed.table, "spanledger_trajectory_log_records_dropped_total", "unknown") == 1
    assert await bed.connector.shutdown(bed.clock.now_s) == 0
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as file:
        assert file.execute("SELECT count(*) FROM record").fetchone() == (0,)


async def test_digests_of_content_are_the_same_after_a_reload() -> None:
    """What was said before joins what is said after."""
    bed = Bed()
    before, after = bed.connector, bed.again()
    await after.take_over(before)

    span_of_tool = span(1, gen_ai__tool__call__arguments='{"q": "x"}')
    reading = Reading("otel", "tool", "execute_tool", attributes=dict(attributes_of(span_of_tool.attributes)))
    resource = finish(decode("traces", request(span_of_tool).SerializeToString(), 0)).groups[0].resource
    assert before.detail(span_of_tool, reading, resource) == after.detail(span_of_tool, reading, resource)
