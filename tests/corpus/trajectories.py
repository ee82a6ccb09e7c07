"""The runs that are built from a capture, against what really happened."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from spanledger.conventions.details import Details, merged
from spanledger.conventions.step import Step, make_bridge, make_step
from spanledger.conventions.trajectory import Edge, build
from spanledger.conventions.trajectory.twins import bare
from spanledger.processor.batch import decode, finish
from spanledger.processor.component import ComponentId, Host
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from tests.fakes import Clock, Numbers

if TYPE_CHECKING:
    from spanledger.conventions.detail import ContentMode
    from spanledger.conventions.run import Run, RunStep
    from spanledger.conventions.step import Bridge
    from spanledger.processor.batch import Signal
    from tests.corpus.captures import Capture, TrueCall

RunField = Literal["runs", "agents", "tools", "calls", "failed_calls", "input", "output", "outcome"]
FIELDS: Final[tuple[RunField, ...]] = (
    "runs", "agents", "tools", "calls", "failed_calls", "input", "output", "outcome",
)  # fmt: skip

Stitch = Callable[[Sequence["Step | Bridge"]], Sequence[Edge]]
"""Says which traces of a capture belong together beyond links."""


class Workshop:
    """The stages before a trajectory, without sockets: normaliser, prices, details."""

    def __init__(self, mode: ContentMode = "full") -> None:
        clock = Clock()

        def host(name: str) -> Host:
            numbers: Any = Numbers()
            return Host(ComponentId(name), numbers, logging.getLogger(name), clock.time_ns, clock.monotonic)

        self._stages = (
            GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer")),
            GenaiPricing(GenaiPricingConfig(), host("genai_pricing")),
        )
        asyncio.run(self._stages[1].start())
        self._details = Details(mode, b"corpus")

    def records(self, capture: Capture) -> list[Step | Bridge]:
        """Return the records of a capture, in the order its spans came."""
        found: list[Step | Bridge] = []
        signals: tuple[Signal, ...] = ("traces", "logs")
        for signal in signals:
            for data in capture.requests(signal):
                found += self._read(signal, data)
        return self._with_logs(found, capture)

    def _read(self, signal: Signal, data: bytes) -> Iterator[Step | Bridge]:
        batch = finish(decode(signal, data, 0))
        for stage in self._stages:
            work = stage.process(batch)
            if work is not None:
                finish(work)
        for group in batch.work:
            resource = group.resource
            for span, reading in zip(group.items, group.readings, strict=True):
                if reading is not None:
                    detail = self._details.read(span, reading, resource.attributes)
                    yield make_step(span, resource.service_name, reading, resource.attributes, detail, group.scope.name)
                elif span is not None:
                    yield make_bridge(span, resource.service_name)

    def _with_logs(self, records: list[Step | Bridge], capture: Capture) -> list[Step | Bridge]:
        at = {(record.trace_id, record.span_id): place for place, record in enumerate(records)}
        for data in capture.requests("logs"):
            for group in finish(decode("logs", data, 0)).groups:
                for item in group.items:
                    told = self._details.detail_of_log(item)
                    place = at.get(told[:2]) if told is not None else None
                    if told is None or place is None:
                        continue
                    step = records[place]
                    if isinstance(step, Step):
                        detail = told[2] if step.detail is None else merged(step.detail, told[2])
                        records[place] = replace(step, detail=detail)
        return records


def groups(records: Sequence[Step | Bridge], edges: Sequence[Edge]) -> Iterator[list[Step | Bridge]]:
    """Yield the connected groups of records: by trace, by links, by edges, by response id."""
    leader: dict[Any, Any] = {}

    def find(name: Any) -> Any:
        leader.setdefault(name, name)
        while leader[name] != name:
            name = leader[name]
        return name

    def join(one: Any, other: Any) -> None:
        leader[find(other)] = find(one)

    traces = {record.trace_id for record in records}
    for record in records:
        links = record.links if not isinstance(record, Step) else record.detail.links if record.detail else ()
        for trace_id, _ in links:
            if trace_id in traces:
                join(record.trace_id, trace_id)
        if isinstance(record, Step) and record.response_id:
            join(record.trace_id, record.response_id)
    for edge in edges:
        join(edge.trace_id, edge.from_trace_id)
    found: dict[Any, list[Step | Bridge]] = {}
    for record in records:
        found.setdefault(find(record.trace_id), []).append(record)
    yield from found.values()


def runs_of(records: Sequence[Step | Bridge], stitch: Stitch) -> list[Run]:
    """Return the runs of a capture whose spans have all come."""
    edges = stitch(records)
    found = [run for group in groups(records, edges) for run in build(group, links=edges, completeness="complete")]
    return sorted(found, key=lambda run: (run.started_at_ns, run.run_id))


@dataclass(slots=True)
class Truth:
    """What a run really was."""

    name: str
    outcome: str
    """`success`, `failure`; "" where the process was killed before the end, `unsaid` where nobody knows."""
    agents: tuple[str, ...]
    tools: tuple[str, ...] | None
    """In the order they were executed; None where the capture does not say whose they were."""
    calls: int
    failed_calls: int
    """Requests over HTTP; frameworks and SDKs hide those they repeat."""
    input: int
    output: int
    response_ids: frozenset[str] = frozenset()
    unattributed: list[TrueCall] = field(default_factory=list)
    """Of its calls, those that the bill does not attribute to any run."""


_OUTCOMES: Final = {"success": "success", "ok": "success", "error": "failure", "failure": "failure", None: ""}


def truths(capture: Capture) -> list[Truth]:
    """Return the runs of a capture, in the order in which they began."""
    calls: dict[str, list[Any]] = {}
    for call in capture.calls:
        calls.setdefault(call.run, []).append(call)
    raw = {run["run"]: run for run in capture.truth["runs"]}
    found = []
    for name, run in raw.items():
        mine = calls.get(name, [])
        tools = run.get("tools_executed")
        if tools is None and len(raw) == 1:
            # Of a coding agent's own tools there is no log but what the model asked for.
            tools = capture.truth.get("tools") or (
                capture.truth["tools_requested_by_model"] if _runs_itself(run) else ()
            )
        found.append(
            Truth(
                name,
                _outcome(run, capture.truth.get("exit_code") if len(raw) == 1 else None),
                tuple(run.get("agents") or capture.truth.get("agents") or ()),
                None if tools is None else tuple(tool.get("name") or tool["tool"] for tool in tools),
                sum(call.ok for call in mine),
                sum(not call.ok for call in mine),
                sum(call.input for call in mine),
                sum(call.output for call in mine),
                frozenset(call.response_id for call in mine if call.response_id),
            )
        )
    return found


def _runs_itself(run: Mapping[str, Any]) -> bool:
    """Tell whether a run is that of a program that was called, which keeps no log for us."""
    return "outcome" in run and run["outcome"] is None


def _outcome(run: Mapping[str, Any], exit_code: int | None) -> str:
    if _runs_itself(run):
        return {None: "unsaid", 0: "success"}.get(exit_code, "failure")
    return _OUTCOMES.get(run.get("outcome"), str(run.get("outcome")))


@dataclass(slots=True)
class Told:
    """What was built of a true run: its runs, added up."""

    truth: Truth
    logged: frozenset[str]
    """Tools that the application keeps a log of; agents as tools and handoffs are in none."""
    runs: list[Run] = field(default_factory=list)

    @property
    def failed_attempts(self) -> int:
        """Return the calls that failed: those with a step, and those that the number of a later attempt tells of."""
        return sum(run.totals.llm_calls_failed + _hidden_attempts(run.steps) for run in self.runs)

    def differences(self) -> dict[RunField, tuple[Any, Any]]:
        """Return field -> (what happened, what was built) for what is not equal."""
        truth, runs = self.truth, self.runs
        totals = [run.totals for run in runs]
        steps = [step for run in runs for step in run.steps]
        agents = {name for run in runs for name in _agents(run)}
        pairs: dict[RunField, tuple[Any, Any]] = {
            "runs": (1, len(runs)),
            "agents": (set(truth.agents) or None, agents & set(truth.agents)),
            "tools": (truth.tools, _in_true_order(truth.tools, self.logged, steps)),
            "calls": (truth.calls, sum(one.llm_calls - one.llm_calls_failed for one in totals)),
            "failed_calls": (truth.failed_calls, self.failed_attempts),
            "input": (truth.input, sum(one.input_tokens for one in totals)),
            "output": (truth.output, sum(one.output_tokens for one in totals)),
            "outcome": (_known(truth.outcome), _worst(run.outcome for run in runs)),
        }
        return {name: pair for name, pair in pairs.items() if pair[0] is not None and pair[0] != pair[1]}


def _in_true_order(true: tuple[str, ...] | None, logged: frozenset[str], steps: Sequence[RunStep]) -> tuple[str, ...]:
    """Return the tools in their order; those that ran at once have none, and are put in the true one."""
    found: list[str] = []
    together: list[str] = []
    until = 0
    tools = [(step, name) for step in steps if step.kind == "tool" and (name := bare(step.tool_name or "")) in logged]
    for step, name in tools:
        if step.started_at_ns >= until:
            found += _sorted_like(true or (), len(found), together)
            together = []
        together.append(name)
        until = max(until, step.started_at_ns + int((step.duration_s or 0) * 1e9))
    return (*found, *_sorted_like(true or (), len(found), together))


def _sorted_like(true: Sequence[str], start: int, names: Sequence[str]) -> list[str]:
    expected = list(true[start : start + len(names)])
    return expected if Counter(expected) == Counter(names) else list(names)


def _agents(run: Run) -> Iterator[str]:
    yield run.agent_name
    yield from (share.name for share in run.agents)
    yield from (handoff.taker for handoff in run.handoffs)


def _hidden_attempts(steps: Sequence[RunStep]) -> int:
    """Return the attempts at model calls that no step stands for: they failed, or there were no more."""
    hidden = 0
    last: dict[int | None, RunStep] = {}
    for step in steps:
        if step.kind == "llm":
            before = last.get(step.parent)
            seen = before.attempt if step.attempt > 1 and before is not None and before.status == "error" else 0
            hidden += step.attempt - 1 - seen
            last[step.parent] = step
    return hidden


def _known(outcome: str) -> str | None:
    return None if outcome == "unsaid" else outcome or "unknown"


def _worst(outcomes: Iterable[str]) -> str:
    seen = set(outcomes)
    return next((one for one in ("failure", "partial", "unknown", "success") if one in seen), "none")


def _spans(run: Run) -> set[tuple[str, str]]:
    return {(step.trace_id, one) for step in run.steps for one in (step.span_id, *step.twins)}


def _claim(capture: Capture, truth: Sequence[Truth], answered: Sequence[Collection[str]]) -> None:
    """Give the calls that the bill attributes to no run to the one that shares a run's spans with others of it.

    The model server knows a run by the prompt, which a call that goes on from an earlier response does not repeat.
    """
    for call in capture.calls:
        if call.run or not call.ok:
            continue
        beside = next((responses for responses in answered if call.response_id in responses), ())
        one = next((one for one in truth if not one.response_ids.isdisjoint(beside)), None)
        if one is not None:
            one.calls += 1
            one.input += call.input
            one.output += call.output
            one.response_ids |= {call.response_id}
            one.unattributed.append(call)


def compare(capture: Capture, records: Sequence[Step | Bridge], runs: Sequence[Run]) -> tuple[list[Told], list[Run]]:
    """Give each built run to the true run whose responses it has, else by time; return what is left over too."""
    responses = {
        (record.trace_id.hex(), record.span_id.hex()): record.response_id
        for record in records
        if isinstance(record, Step) and record.response_id
    }
    truth = truths(capture)
    _claim(capture, truth, [{responses.get(key, "") for key in _spans(run)} for run in runs])
    logged = frozenset(name for one in truth for name in one.tools or ())
    told = [Told(one, logged) for one in truth]
    left = []
    for run in runs:
        found = Counter(
            number
            for key in _spans(run)
            for number, one in enumerate(told)
            if responses.get(key) in one.truth.response_ids
        )
        if found:
            told[found.most_common(1)[0][0]].runs.append(run)
        else:
            left.append(run)
    if left and len(told) == 1:
        told[0].runs += left
        left = []
    for run in list(left):  # where no id tells: to the first in time of those that it fits best
        waiting = [one for one in told if not one.runs]
        if waiting:
            min(waiting, key=lambda one: len(Told(one.truth, logged, [run]).differences())).runs.append(run)
            left.remove(run)
    for one in told:
        one.runs.sort(key=lambda run: run.started_at_ns)
    return told, left


def differences(
    capture: Capture, workshop: Workshop, stitch: Stitch
) -> Mapping[str, Mapping[RunField, tuple[Any, Any]]]:
    """Return true run -> what was built otherwise; `?` holds the number of runs that never were."""
    records = workshop.records(capture)
    told, left = compare(capture, records, runs_of(records, stitch))
    found: dict[str, Mapping[RunField, tuple[Any, Any]]] = {}
    for one in told:
        if different := one.differences():
            found[one.truth.name] = different
    if left:
        found["?"] = {"runs": (0, len(left))}
    return found
