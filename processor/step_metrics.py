"""What one step adds to the metric table.

Tokens and money are counted once: on the call itself, never on a wrapper of it. Which is which is told as a `Bill`,
and may change with what comes later: then what was added is taken back. In a pipeline without genai_pricing every
model call counts.
Unknown is not 0: a call that says nothing about tokens adds none, and a model without a price has no
cost series. What is added as 0 here creates a series before its first event.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from spanledger.conventions.ledger import Bill
from spanledger.conventions.metrics import TOKEN_TYPE
from spanledger.conventions.same_tool import ToolReport, part_of, report_of, told_by_both
from spanledger.processor.ancestry import Called
from spanledger.processor.metric_store import MAX_LABEL_CHARS
from spanledger.processor.retold import RetoldTools

if TYPE_CHECKING:
    from spanledger.conventions.ledger import Excess
    from spanledger.conventions.step import Step
    from spanledger.conventions.usage import Usage
    from spanledger.processor.metric_store import CounterFamily, HistogramFamily, Labels, MetricStore

NO_DIALECT: Final = "none"
NO_TYPE: Final = "_OTHER"
"""The conventions' `error.type` of a failure that has no other."""

UNKNOWN_MODEL: Final = "unknown_model"
"""The usual reason for tokens without a price."""

OUTPUT_UNKNOWN: Final = "output_unknown"
"""The usual reason for a price of a part: a stream that was broken off."""

MAX_TOLD: Final = 8192
"""Tool spans that are remembered, for those that are told again, and as many of agents and workflows."""

MAX_TRACES: Final = 1024
"""Traces whose last tools are known, for another dialect may tell of them too."""

MAX_LATELY: Final = 16
"""Last tools of a trace."""

MAX_BEGUN: Final = 4096
"""Sets of series that are known to have begun."""

MAX_FAILED: Final = 1024
"""Failed calls that a retry is expected of."""

_CALLS: Final = frozenset({"llm", "embedding"})
_RUNNERS: Final = frozenset({"agent", "workflow"})
_TIMED: Final = _RUNNERS | {"tool"}
"""Work that is no call of a model and has a duration of its own in the conventions."""

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class Entry:
    """A step that tells of calls, and what was counted of it."""

    step: Step
    bill: Bill = field(default_factory=Bill)
    retries: int = 0


def bill_of(step: Step) -> Bill:
    """Return what is counted of a step that nobody has told the ledger of."""
    cost = step.cost
    told = step.kind in _CALLS if cost is None or cost.status == "no_usage" else cost.status != "rollup"
    return Bill(told and step.kind in _CALLS, told, told)


def counts(step: Step) -> bool:
    """Tell whether anything but its span is counted of a step that nobody has told the ledger of."""
    return step.kind in _TIMED or bill_of(step) != Bill()


def disjoint(usage: Usage) -> dict[str, int]:
    """Return the known token counts by `token_type`, taken apart so that they add up to the total."""
    tokens: dict[str, int] = {}
    if usage.cache_read is not None:
        tokens["cache_read"] = usage.cache_read
    if usage.cache_write is not None:
        tokens["cache_write"] = usage.cache_write
    if usage.reasoning is not None:
        tokens["reasoning"] = usage.reasoning
    if usage.input is not None:
        tokens["input"] = max(0, usage.input - (usage.cache_read or 0) - (usage.cache_write or 0))
    if usage.output is not None:
        tokens["output"] = max(0, usage.output - (usage.reasoning or 0))
    return tokens


def by_modality(total: int, audio: int | None, image: int | None) -> dict[str, int]:
    """Return a token count by modality; without a breakdown all of it is `unknown`."""
    if audio is None and image is None:
        return {"unknown": total}
    parts = {"text": max(0, total - (audio or 0) - (image or 0)), "audio": audio or 0, "image": image or 0}
    return {modality: count for modality, count in parts.items() if count}


class Retries:
    """Tells which calls repeat one that failed: the next of the same model under the same parent span.

    Few applications number their attempts. Spans are sent in the order in which they ended, so that a
    failure comes before its retry.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[bytes, bytes, str], int] = OrderedDict()

    def count(self, step: Step) -> int:
        """Return the attempts beyond the first that `step` stands for."""
        key = (step.trace_id, step.parent_span_id, (step.request_model or step.model)[:MAX_LABEL_CHARS])
        failed_ns = self._failed.pop(key, None)
        if step.status == "error":
            self._failed[key] = step.end_ns
            if len(self._failed) > MAX_FAILED:
                self._failed.popitem(last=False)
        again = failed_ns is not None and step.start_ns >= failed_ns
        return max(step.attempt - 1, int(again))


class ToolCalls:
    """Tells which tool spans are calls of their own.

    One call is often told twice: by the agent's framework, by the client and by the server of MCP, or by two callbacks
    of one framework. The first that comes counts. And a span that comes again is the same call again.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, Called] = OrderedDict()
        self._below: OrderedDict[bytes, Called] = OrderedDict()
        """Span id of a parent -> the counted tool span below it."""
        self._counted: OrderedDict[bytes, list[tuple[ToolReport, set[str]]]] = OrderedDict()
        """Trace id -> the last calls of it that count, each with the dialects that told of it."""

    def is_new(self, step: Step, around: Step | None) -> bool:
        """Tell whether to count `step`; `around` is the call that it is part of, in the same request."""
        key, parent = step.trace_id + step.span_id, step.trace_id + step.parent_span_id
        if key in self._seen:
            return False
        called = Called(step.tool_call_id, step.tool_name)
        _remember(self._seen, key, called)
        if around is not None:
            return False
        above, below = self._seen.get(parent), self._below.pop(key, None)
        _remember(self._below, parent, called)
        if any(other is not None and part_of(called, other) for other in (above, below)):
            return False
        return not self._is_told_by_another(step)

    def _is_told_by_another(self, step: Step) -> bool:
        counted = self._counted.setdefault(step.trace_id, [])
        for report, dialects in counted:
            if step.dialect not in dialects and told_by_both(report, step):
                dialects.add(step.dialect)
                return True
        counted.append((report_of(step), {step.dialect}))
        del counted[:-MAX_LATELY]
        if len(self._counted) > MAX_TRACES:
            self._counted.popitem(last=False)
        return False


def _remember(memory: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    memory[key] = value
    if len(memory) > MAX_TOLD:
        memory.popitem(last=False)


class StepMetrics:
    """Counts steps into the `spanledger_*` metrics."""

    def __init__(self, table: MetricStore, exemplars: bool) -> None:
        self._exemplars = exemplars
        self._table = table
        self._begun: dict[tuple[object, ...], int] = {}
        """What has all series that begin at 0 -> how many of the table had been dropped by then."""
        self._retried = Retries()
        self._told_tools = ToolCalls()
        self._retold_tools = RetoldTools()
        self._told_runners: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        """Ids and beginning of agents and workflows: one may be told again with more."""
        self._spans = table.counter("spanledger_spans_total")
        self._duplicates = table.counter("spanledger_duplicate_spans_total")
        self._conflicts = table.counter("spanledger_usage_conflicts_total")
        self._agents = table.gauge("spanledger_agent_info")
        self._calls = table.counter("spanledger_llm_calls_total")
        self._tokens = table.counter("spanledger_llm_tokens_total")
        self._cost = table.counter("spanledger_llm_cost_usd_total")
        self._saved = table.counter("spanledger_llm_cache_savings_usd_total")
        self._without_usage = table.counter("spanledger_llm_calls_without_usage_total")
        self._unpriced = table.counter("spanledger_llm_unpriced_tokens_total")
        self._partly = table.counter("spanledger_llm_partly_priced_cost_usd_total")
        self._unattributed_tokens = table.counter("spanledger_llm_unattributed_tokens_total")
        self._unattributed_cost = table.counter("spanledger_llm_unattributed_cost_usd_total")
        self._retries = table.counter("spanledger_llm_retries_total")
        self._duration = table.histogram("spanledger_llm_duration_seconds")
        self._first_chunk = table.histogram("spanledger_llm_time_to_first_chunk_seconds")
        self._tool_calls = table.counter("spanledger_tool_calls_total")
        self._tool_duration = table.histogram("spanledger_tool_duration_seconds")

    def take_over(self, predecessor: StepMetrics) -> None:
        """Know what another one counted, so that it is not counted again."""
        self._retried, self._told_runners = predecessor._retried, predecessor._told_runners
        self._told_tools, self._retold_tools = predecessor._told_tools, predecessor._retold_tools

    def count_bridges(self, count: int) -> None:
        """Count spans that no dialect claims."""
        self._spans.add((NO_DIALECT, "other"), count)

    def count(self, step: Step, around: Step | None = None) -> bool:
        """Count that a step is there; `around` is the tool call that a tool's span is part of.

        Tell whether it is work of its own, and no tool call, agent or workflow that was told before.
        """
        if not step.report:
            self._spans.add((step.dialect, step.kind))
        if step.usage is not None:
            for conflict in step.usage.conflicts:
                self._conflicts.add((step.service_name, conflict))
        if step.agent_name:
            self.tell_agent(step)
        if not self._is_new(step, around):
            self._duplicates.add((step.service_name,))
            return False
        return True

    def _is_new(self, step: Step, around: Step | None) -> bool:
        if step.kind == "tool":
            return self._told_tools.is_new(step, around) and (not step.retold or self._retold_tools.is_new(step))
        if step.kind not in _RUNNERS:
            return True
        key = step.trace_id + step.span_id, step.start_ns
        is_new = key not in self._told_runners
        _remember(self._told_runners, key, None)
        return is_new

    def tell_agent(self, step: Step) -> None:
        """Show the agent of a step."""
        # The library that an agent calls its model with is not what the agent is built with.
        who = (step.service_name, step.agent_name, step.agent_version, step.framework, "")
        self._agents.tell(who, surely=step.kind in _RUNNERS)

    def count_again(self, step: Step) -> None:
        """Count a span that came before."""
        if not step.report:
            self._spans.add((step.dialect, step.kind))
        self._duplicates.add((step.service_name,))

    def bill(self, entry: Entry, bill: Bill) -> None:
        """Count what a step is billed for, and take back what it was billed for and is not any more."""
        was, entry.bill = entry.bill, bill
        self._duplicates.add((entry.step.service_name,), 0)
        if was.tokens != bill.tokens:
            self._count_tokens(entry.step, back=was.tokens)
        if was.money != bill.money:
            self._count_money(entry.step, back=was.money)
        if was.call != bill.call:
            self._count_call(entry, back=was.call)
        if was.excess != bill.excess:
            self._count_excess(entry.step, was.excess, back=True)
            self._count_excess(entry.step, bill.excess)

    def _is_begun(self, *key: object) -> bool:
        return self._begun.get(key) == self._table.removals

    def _begin(self, key: tuple[object, ...], *series: tuple[CounterFamily, Labels]) -> None:
        """Begin series at 0, and remember it by `key` for as long as they are there."""
        removals = self._table.removals
        for family, labels in series:
            family.add(labels, 0)
        if len(self._begun) >= MAX_BEGUN:
            self._begun.clear()
        self._begun[key] = removals

    def count_tool(self, step: Step) -> None:
        """Count a tool call that is work of its own."""
        trace_id = step.trace_id if self._exemplars else None
        tool = (step.service_name, step.agent_name, step.tool_name)
        if not self._is_begun(self._tool_calls, *tool):
            key = (self._tool_calls, *tool)
            self._begin(key, (self._tool_calls, (*tool, "ok", "")), (self._tool_calls, (*tool, "error", NO_TYPE)))
        self._tool_calls.add((*tool, step.status, step.error_type), 1, trace_id)
        if (duration_s := step.duration_s) is not None:
            self._tool_duration.observe(tool, duration_s, trace_id)

    def _count_call(self, entry: Entry, *, back: bool = False) -> None:
        step = entry.step
        trace_id = step.trace_id if self._exemplars else None
        who = (step.service_name, step.agent_name, step.provider, step.model)
        call = (*who, step.operation)
        if not self._is_begun(self._calls, *call):
            self._begin(
                (self._calls, *call),
                (self._calls, (*call, "ok", "")),
                (self._calls, (*call, "error", NO_TYPE)),
                (self._without_usage, who),
                (self._retries, who),
            )
        _add(self._calls, (*call, step.status, step.error_type), 1, trace_id, back)
        if step.status == "ok" and not (step.usage is not None and step.usage.known):
            _add(self._without_usage, who, 1, trace_id, back)
        if not back:
            entry.retries = self._retried.count(step)
        if entry.retries:
            _add(self._retries, who, entry.retries, trace_id, back)
        if (duration_s := step.duration_s) is not None:
            _observe(self._duration, who, duration_s, trace_id, back)
        if step.time_to_first_chunk_s is not None:
            _observe(self._first_chunk, who, step.time_to_first_chunk_s, trace_id, back)

    def _count_tokens(self, step: Step, *, back: bool = False) -> None:
        trace_id = step.trace_id if self._exemplars else None
        who = (step.service_name, step.agent_name, step.provider, step.model)
        tokens = disjoint(step.usage) if step.usage is not None else {}
        if not self._is_begun(self._tokens, *who):
            self._begin((self._tokens, *who), *((self._tokens, (*who, token_type)) for token_type in TOKEN_TYPE.values))
        for token_type, count in tokens.items():
            _add(self._tokens, (*who, token_type), count, trace_id, back)

    def _count_money(self, step: Step, *, back: bool = False) -> None:
        cost = step.price or step.cost
        if cost is None:
            return
        trace_id = step.trace_id if self._exemplars else None
        seller = (step.service_name, step.provider, step.model)
        if not self._is_begun(self._unpriced, *seller):
            self._begin(
                (self._unpriced, *seller),
                (self._unpriced, (*seller, UNKNOWN_MODEL)),
                (self._partly, (*seller, OUTPUT_UNKNOWN)),
            )
        if cost.status == "unpriced":
            tokens = sum(disjoint(step.usage).values()) if step.usage is not None else 0
            _add(self._unpriced, (*seller, cost.reason), tokens, trace_id, back)
        else:
            who = (step.service_name, step.agent_name, step.provider, step.model)
            _add(self._cost, who, cost.total_usd or 0, trace_id, back)
            if cost.is_partial:
                _add(self._partly, (*seller, cost.reason), cost.total_usd or 0, trace_id, back)
            if cost.saved is not None:
                _add(self._saved, who, max(0, cost.saved) / 1e12, trace_id, back)

    def _count_excess(self, step: Step, excess: Excess | None, *, back: bool = False) -> None:
        if excess is None:
            return
        trace_id = step.trace_id if self._exemplars else None
        who = (step.service_name, step.agent_name)
        _add(self._unattributed_tokens, (*who, "input"), excess.input, trace_id, back)
        _add(self._unattributed_tokens, (*who, "output"), excess.output, trace_id, back)
        if excess.pico_usd is not None:
            _add(self._unattributed_cost, who, excess.pico_usd / 1e12, trace_id, back)


class SemconvMetrics:
    """Counts steps into the `gen_ai_*` metrics, for applications that send spans and no metrics."""

    def __init__(self, table: MetricStore, exemplars: bool) -> None:
        self._exemplars = exemplars
        self._operation = table.histogram("gen_ai_client_operation_duration_seconds")
        self._token_usage = table.histogram("gen_ai_client_token_usage")
        self._inference = table.histogram("gen_ai_client_inference_duration_seconds")
        self._first_chunk = table.histogram("gen_ai_client_inference_time_to_first_chunk_seconds")
        self._input = table.histogram("gen_ai_client_inference_operation_input_tokens")
        self._output = table.histogram("gen_ai_client_inference_operation_output_tokens")
        usage = "gen_ai_client_inference_usage"
        self._all_input = table.counter(f"{usage}_input_tokens_total")
        self._all_output = table.counter(f"{usage}_output_tokens_total")
        self._cache_read = table.counter(f"{usage}_cache_read_input_tokens_total")
        self._cache_write = table.counter(f"{usage}_cache_write_input_tokens_total")
        self._reasoning = table.counter(f"{usage}_reasoning_output_tokens_total")
        self._agent = table.histogram("gen_ai_invoke_agent_duration_seconds")
        self._workflow = table.histogram("gen_ai_invoke_workflow_duration_seconds")
        self._tool = table.histogram("gen_ai_execute_tool_duration_seconds")

    def count(self, step: Step) -> None:
        """Count one step that is no call of a model."""
        if step.kind not in _TIMED or (duration_s := step.duration_s) is None:
            return
        trace_id = step.trace_id if self._exemplars else None
        who = (step.service_name, step.agent_name)
        if step.kind == "tool":
            self._tool.observe((*who, step.tool_name, step.error_type), duration_s, trace_id)
        elif step.kind == "agent":
            self._agent.observe((*who, step.request_model, step.error_type), duration_s, trace_id)
        elif step.kind == "workflow":
            labels = (step.service_name, step.workflow_name, step.error_type)
            self._workflow.observe(labels, duration_s, trace_id)

    def bill(self, step: Step, was: Bill, bill: Bill) -> None:
        """Count an operation that is billed as such, or take it back."""
        if step.kind not in _CALLS:
            return
        if was.call != bill.call:
            self._count_call(step, back=was.call)
        if was.tokens != bill.tokens:
            self._count_tokens(step, back=was.tokens)

    def _count_call(self, step: Step, *, back: bool) -> None:
        trace_id = step.trace_id if self._exemplars else None
        call = (step.service_name, step.operation, step.provider, step.request_model, step.response_model)
        failed = (*call, step.error_type)
        if (duration_s := step.duration_s) is not None:
            _observe(self._operation, failed, duration_s, trace_id, back)
            if step.kind == "llm":
                _observe(self._inference, failed, duration_s, trace_id, back)
        if step.kind == "llm" and step.time_to_first_chunk_s is not None:
            _observe(self._first_chunk, call, step.time_to_first_chunk_s, trace_id, back)

    def _count_tokens(self, step: Step, *, back: bool) -> None:
        usage = step.usage
        if usage is None:
            return
        trace_id = step.trace_id if self._exemplars else None
        call = (step.service_name, step.operation, step.provider, step.request_model, step.response_model)
        if usage.input is not None:
            _observe(self._token_usage, (*call, "input"), usage.input, trace_id, back)
        if usage.output is not None:
            _observe(self._token_usage, (*call, "output"), usage.output, trace_id, back)
        if step.kind == "llm":
            self._count_inference_tokens(usage, call, step.error_type, trace_id, back)

    def _count_inference_tokens(
        self, usage: Usage, call: Labels, error_type: str, trace_id: bytes | None, back: bool
    ) -> None:
        if usage.input is not None:
            _observe(self._input, (*call, error_type), usage.input, trace_id, back)
        if usage.output is not None:
            _observe(self._output, (*call, error_type), usage.output, trace_id, back)
        for counter, total, audio, image in (
            (self._all_input, usage.input, usage.audio_input, usage.image_input),
            (self._all_output, usage.output, usage.audio_output, usage.image_output),
            (self._cache_read, usage.cache_read, usage.audio_cache_read, None),
            (self._cache_write, usage.cache_write, None, None),
            (self._reasoning, usage.reasoning, None, None),
        ):
            if total is not None:
                for modality, count in by_modality(total, audio, image).items():
                    _add(counter, (*call, modality), count, trace_id, back)


def _add(family: CounterFamily, labels: Labels, value: float, trace_id: bytes | None, back: bool) -> None:
    if back:
        family.take_back(labels, value)
    else:
        family.add(labels, value, trace_id)


def _observe(family: HistogramFamily, labels: Labels, value: float, trace_id: bytes | None, back: bool) -> None:
    if back:
        family.take_back(labels, value)
    else:
        family.observe(labels, value, trace_id)
