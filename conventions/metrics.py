"""The table of metrics: every name at `/metrics`, its labels and what they can say.

The metric store, the exposition, docs/metrics.md and the dashboards follow from these rows. A name that
is not here cannot be written. Names are a contract with dashboards and alert rules.

Sources: `gen_ai_*` names, units, labels and buckets are those of open-telemetry/semantic-conventions-genai@6fd0d763
(2026-10-09) and, for the two it replaced, of semantic-conventions v1.41.1, translated to Prometheus by the
rules of `UnderscoreEscapingWithSuffixes`; `otelcol_*` names are the Collector's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, get_args

from spanledger.conventions.budgets import Level
from spanledger.conventions.policies import Action, Approval, PolicyRule
from spanledger.conventions.reading import StepKind
from spanledger.conventions.redaction.detectors import ENTITIES
from spanledger.conventions.run import Completeness, Outcome
from spanledger.conventions.safety.concern import Category, SafetySeverity

MetricType = Literal["counter", "gauge", "histogram"]

OTHER: Final = "__other__"
"""What stands for a label value from data once a metric has as many series as it may."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label. Its values are a closed set, or come from the configuration, or come from data."""

    name: str
    help: str
    values: tuple[str, ...] = ()
    """All values, when they are a closed set."""
    from_data: bool = False
    """Clients choose the values: they are cleaned, and counted against the series limit."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: a family of series."""

    name: str
    """As it is queried, `_total` of counters included."""
    type: MetricType
    help: str
    labels: tuple[Label, ...] = ()
    unit: str = ""
    """The last word of the name before `_total` when it is a unit: `seconds`, `usd`, `tokens`, `bytes`."""
    buckets: tuple[float, ...] = ()
    """Histograms: upper bounds, ascending, without +Inf."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Return the names of the labels, in the order in which values are given."""
        return tuple(label.name for label in self.labels)

    @property
    def from_data(self) -> bool:
        """Tell whether clients decide how many series there are."""
        return any(label.from_data for label in self.labels)


def _data(name: str, help_: str) -> Label:
    return Label(name, help_, from_data=True)


SERVICE: Final = _data("service_name", "`service.name` of the resource")
AGENT: Final = _data(
    "agent_name",
    'The agent that did it; "" where none is known: neither the span says it nor one above it, of the same '
    "service, that came within `genai_metrics::agent_wait`",
)
PROVIDER: Final = _data("provider", "`gen_ai.provider.name`, normalised")
MODEL: Final = _data("model", "The model that answered, or else the one that was asked")
ERROR_TYPE: Final = _data("error_type", '`error.type` of the span: `_OTHER` for a failure without one, "" for none')
TOOL: Final = _data("tool_name", "`gen_ai.tool.name`")
STATUS: Final = Label("status", "How it ended", ("ok", "error"))
TOKEN_TYPE: Final = Label(
    "token_type",
    "Disjoint: `input` is without cached tokens, `output` is without reasoning",
    ("input", "cache_read", "cache_write", "output", "reasoning"),
)
KIND: Final = Label("kind", "What the span is", get_args(StepKind))
L: Final = (SERVICE, AGENT, PROVIDER, MODEL)
"""The labels of every metric of model calls."""

RECEIVER: Final = Label("receiver", "Id of the receiver in the configuration")
TRANSPORT: Final = Label("transport", "How it came: `grpc`, `http` or `kafka`")
PROCESSOR: Final = Label("processor", "Id of the processor in the configuration")
EXPORTER: Final = Label("exporter", "Id of the exporter in the configuration")
SIGNAL: Final = Label("signal", "What it is about", ("traces", "logs", "metrics"))

OPERATION: Final = _data("gen_ai_operation_name", "`gen_ai.operation.name`")
INFERENCE: Final = (
    SERVICE,
    OPERATION,
    _data("gen_ai_provider_name", "`gen_ai.provider.name`"),
    _data("gen_ai_request_model", "`gen_ai.request.model`"),
    _data("gen_ai_response_model", "`gen_ai.response.model`"),
)
"""The conventions' labels of a model call. `service_name` is added: one sidecar serves several services."""
GEN_AI_AGENT: Final = _data("gen_ai_agent_name", "`gen_ai.agent.name`")
MODALITY: Final = Label(
    "gen_ai_token_modality",
    "`unknown` where the span does not break its tokens down",
    ("text", "image", "audio", "unknown"),
)

OUTCOME: Final = Label("outcome", "How the run ended", get_args(Outcome))
COMPLETENESS: Final = Label(
    "completeness",
    "Whether all of the run was seen, or else why it was closed",
    tuple(value for value in get_args(Completeness) if value != "open"),
)
RUN: Final = (SERVICE, AGENT)
"""The labels of every metric of runs."""
EVALUATION: Final = _data("evaluation_name", "`gen_ai.evaluation.name`; of a built-in one with `spanledger.` before it")

SECONDS_CALL: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
SECONDS_FIRST_CHUNK: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
SECONDS_TOOL: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SECONDS_REQUEST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The four that follow are the conventions' own.
SECONDS_OPERATION: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
SECONDS_AGENT: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
SECONDS_WORKFLOW: Final = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
TOKENS: Final = tuple(float(4**power) for power in range(14))

SECONDS_RUN: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
USD_RUN: Final = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 50.0, 100.0)
COUNTS: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)
DEPTHS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
SCORES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 100.0)

ITEMS: Final = {"spans": "Spans", "log_records": "Log records", "metric_points": "Metric data points"}


def _counter(name: str, help_: str, *labels: Label, unit: str = "") -> Metric:
    return Metric(name, "counter", help_, labels, unit)


def _gauge(name: str, help_: str, *labels: Label, unit: str = "") -> Metric:
    return Metric(name, "gauge", help_, labels, unit)


def _histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: Label, unit: str = "seconds") -> Metric:
    return Metric(name, "histogram", help_, labels, unit, buckets)


def _reason(*values: str) -> Label:
    return Label("reason", "Why", values)


GENAI: Final = (
    _counter(
        "spanledger_llm_calls_total", "Model calls, wrappers of other calls not counted.",
        *L, _data("operation", "`gen_ai.operation.name`"), STATUS, ERROR_TYPE,
    ),
    _counter("spanledger_llm_tokens_total", "Tokens of model calls.", *L, TOKEN_TYPE, unit="tokens"),
    _counter("spanledger_llm_cost_usd_total", "Cost of model calls in US dollars.", *L, unit="usd"),
    _counter(
        "spanledger_llm_unpriced_tokens_total", "Tokens that no price is known for: they are missing in the cost.",
        SERVICE, PROVIDER, MODEL, Label("reason", "`spanledger.cost.reason` of the span"), unit="tokens",
    ),
    _counter(
        "spanledger_llm_partly_priced_cost_usd_total",
        "Cost of calls of which only a part has a price, in US dollars: they cost more. Part of "
        "`spanledger_llm_cost_usd_total`.",
        SERVICE, PROVIDER, MODEL,
        Label("reason", "What is not known (`spanledger.cost.reason` of the span)",
              ("input_unknown", "output_unknown", "tokens_unknown", "fee_unknown")),
        unit="usd",
    ),
    _counter(
        "spanledger_llm_cache_savings_usd_total",
        "What reading from caches saved, in US dollars: those tokens at the full price of input, less what they cost.",
        *L, unit="usd",
    ),
    _counter(
        "spanledger_llm_calls_without_usage_total", "Answered model calls that tell no tokens: their cost is unknown.",
        *L,
    ),
    _counter(
        "spanledger_llm_unattributed_tokens_total",
        "Tokens that agents and workflows report beyond the calls below them: calls that nobody saw.",
        SERVICE, AGENT, Label("direction", "Of the call", ("input", "output")), unit="tokens",
    ),
    _counter(
        "spanledger_llm_unattributed_cost_usd_total",
        "The same in US dollars, at the price of the calls that were seen.",
        SERVICE, AGENT, unit="usd",
    ),
    _histogram("spanledger_llm_duration_seconds", "Duration of model calls.", SECONDS_CALL, *L),
    _histogram(
        "spanledger_llm_time_to_first_chunk_seconds", "Time from the request to the first chunk of a streamed answer.",
        SECONDS_FIRST_CHUNK, *L,
    ),
    _counter("spanledger_llm_retries_total", "Attempts beyond the first, numbered or after a failed one.", *L),
    _counter("spanledger_tool_calls_total", "Tool calls.", SERVICE, AGENT, TOOL, STATUS, ERROR_TYPE),
    _histogram("spanledger_tool_duration_seconds", "Duration of tool calls.", SECONDS_TOOL, SERVICE, AGENT, TOOL),
    _gauge(
        "spanledger_agent_info", "1 for each agent, with what was said of it last: one series for each.",
        SERVICE, AGENT, _data("version", "`gen_ai.agent.version`, or else `service.version`"),
        _data("framework", "What it is built with"),
        _data("fingerprint", "Of its instructions, tools and model in its last run; with the connector `trajectory`"),
    ),
    _counter(
        "spanledger_spans_total", "Spans, by the dialect that they were read as.",
        Label("dialect", "`none` for spans that no dialect claims"), KIND,
    ),
    _counter(
        "spanledger_duplicate_spans_total", "Model calls, tool calls and agents that were told again and counted once.",
        SERVICE,
    ),
    _counter(
        "spanledger_usage_conflicts_total", "Token counts that cannot be or do not add up; the spans keep them.",
        SERVICE, Label("conflict", "What is wrong, as in docs/attributes.md"),
    ),
)  # fmt: skip

RUNS: Final = (
    _counter("spanledger_runs_total", "Runs, each counted once, when it is closed.", *RUN, OUTCOME, COMPLETENESS),
    _gauge("spanledger_runs_open", "Runs that are under way."),
    _gauge(
        "spanledger_open_run_cost_usd_max", "Cost so far of the most expensive run under way in US dollars.", *RUN,
    ),
    _gauge("spanledger_open_run_steps_max", "Steps so far of the longest run under way.", *RUN),
    _histogram("spanledger_run_duration_seconds", "Duration of runs.", SECONDS_RUN, *RUN),
    _histogram("spanledger_run_cost_usd", "Cost of runs in US dollars.", USD_RUN, *RUN, unit="usd"),
    _histogram("spanledger_run_steps", "Steps of runs.", COUNTS, *RUN, unit=""),
    _histogram("spanledger_run_llm_calls", "Model calls of runs.", COUNTS, *RUN, unit=""),
    _histogram("spanledger_run_tool_calls", "Tool calls of runs.", COUNTS, *RUN, unit=""),
    _histogram("spanledger_run_depth", "Agents and workflows above one another in runs.", DEPTHS, *RUN, unit=""),
    _counter(
        "spanledger_run_cost_usd_total", "Cost of closed runs in US dollars, revisions included.", *RUN, OUTCOME,
        unit="usd",
    ),
    _counter(
        "spanledger_run_corrections_total", "Revisions that changed what was counted in a way no counter can follow.",
        Label("what", "What changed", ("outcome", "completeness", "agent", "cost", "runs", "evaluations")),
    ),
    _counter(
        "spanledger_loops_total", "Loops, storms and lack of progress that were found.",
        *RUN, _data("rule", "The rule"),
    ),
    _counter(
        "spanledger_loop_wasted_cost_usd_total", "Cost of the steps that loops repeated, in US dollars.",
        *RUN, _data("rule", "The rule"), unit="usd",
    ),
    _counter(
        "spanledger_evaluations_total", "Evaluations that were joined to a run.",
        *RUN, EVALUATION, _data("label", "The verdict in a word"),
    ),
    _histogram(
        "spanledger_evaluation_score", "Scores of evaluations that were joined to a run.", SCORES,
        *RUN, EVALUATION, _data("label", "The verdict in a word"), unit="",
    ),
    _counter(
        "spanledger_runs_evaluated_total",
        "Closed runs that others than the built-in evaluators judged: the coverage, over `spanledger_runs_total`.",
        *RUN,
    ),
    _counter(
        "spanledger_runs_evaluated_by_name_total", "The same by evaluation, each run once for each.", *RUN, EVALUATION,
    ),
    _counter("spanledger_late_spans_total", "Spans that came after their run was closed.", SERVICE),
    _counter("spanledger_orphan_spans_total", "Steps of closed runs whose parent never came.", SERVICE),
)  # fmt: skip

BUDGET: Final = Label("budget", "Name of the budget in the configuration")
POLICY: Final = Label("policy", "Name of the policy in the configuration")
POLICY_RULE: Final = Label("rule", "What of the policy was looked at", get_args(PolicyRule))
ACTION: Final = Label(
    "action",
    "How far it came: a model asked for it, it was done, it was refused; models and hand-overs are always `executed`",
    get_args(Action),
)

GOVERNANCE: Final = (
    _gauge(
        "spanledger_slo_latency_seconds", "Objective for the duration of runs, from the configuration.", *RUN,
        unit="seconds",
    ),
    _gauge(
        "spanledger_slo_evaluation_score", "The least score that an evaluation should have, from the configuration.",
        *RUN, EVALUATION,
    ),
    _gauge(
        "spanledger_budget_limit_usd", "Hard limit of the budget in US dollars; the soft one where it has no other.",
        BUDGET, unit="usd",
    ),
    _gauge(
        "spanledger_budget_spent_usd",
        "Spent in the current hour, day or month (UTC) in US dollars; of a budget per run by the dearest under way.",
        BUDGET, unit="usd",
    ),
    _gauge(
        "spanledger_budget_period_seconds",
        "Length of the current hour, day or month of the budget: how fast it burns follows. None for a budget per run.",
        BUDGET, unit="seconds",
    ),
    _counter(
        "spanledger_budget_breaches_total", "Limits that were passed: once for each period, or run, and level.",
        BUDGET, Label("level", "Which limit", get_args(Level)),
    ),
    _counter(
        "spanledger_policy_evaluations_total", "What policies were asked about: each step and rule once.",
        POLICY, POLICY_RULE, SERVICE, AGENT, TOOL, ACTION,
    ),
    _counter(
        "spanledger_policy_violations_total", "Those of them that the policy does not allow.",
        POLICY, POLICY_RULE, SERVICE, AGENT, TOOL, ACTION,
    ),
    _counter(
        "spanledger_safety_findings_total",
        "What spans say of safety: each step of a run and category once. A series begins with its first.",
        *RUN, Label("category", "What it is about, as far as it is said", get_args(Category)),
        Label(
            "severity", "`critical` went through, `warning` was held back, `info` was changed or declined",
            get_args(SafetySeverity),
        ),
    ),
    _counter(
        "spanledger_approvals_total", "Approvals that people or approval tools gave, refused, or were not asked for.",
        *RUN, Label("outcome", "`missing`: a policy demands one that was not found", get_args(Approval)),
    ),
    _counter(
        "spanledger_handoffs_total", "Work that one agent gave to another.",
        *RUN, _data("to_agent", "The agent that took it"),
        Label("kind", "The giver waits for the result, or is done", ("delegation", "handoff")),
    ),
    _counter(
        "spanledger_cost_by_dimension_usd_total",
        "Cost of closed runs in US dollars by the attributes that the configuration names; a step without a value has "
        "that of the step above it.",
        *RUN, Label("dimension", "Name of the dimension in the configuration"),
        _data("value", "Its value; `__other__` beyond the limit of the dimension, \"\" where nothing says it"),
        unit="usd",
    ),
    _counter(
        "spanledger_retry_cost_usd_total", "Cost of attempts beyond the first in closed runs, in US dollars.", *RUN,
        unit="usd",
    ),
    _counter(
        "spanledger_tool_retries_total",
        "Tool calls of closed runs that repeat a failed one, by id or, where there is none, by arguments, before a "
        "model is asked again.",
        *RUN,
    ),
    _counter(
        "spanledger_tool_induced_cost_usd_total",
        "Cost of the model calls that read the results of tools, in closed runs, in US dollars.", *RUN, TOOL,
        unit="usd",
    ),
)  # fmt: skip

ASSEMBLY: Final = (
    _counter(
        "spanledger_trajectory_spans_total", "Spans that came to the trajectories, by what became of them.",
        Label(
            "became", "What became of it: part of an open or a closed run, known already, of a run that is no longer "
            "held or has all the spans it may have", ("new", "late", "duplicate", "too_late", "over_limit"),
        ),
    ),
    _counter("spanledger_trajectory_unrelated_spans_total", "Those of traces that had no GenAI work in them."),
    _counter(
        "spanledger_runs_closed_total", "Runs by what closed them.",
        _reason("root", "idle", "span_limit", "evicted_count", "evicted_bytes", "max_duration", "shutdown"),
    ),
    _counter("spanledger_run_revisions_total", "Closed runs that were reported again after late spans."),
    _gauge("spanledger_trace_store_bytes", "Estimated size of the runs kept in memory.", unit="bytes"),
    _gauge("spanledger_traces_closed", "Closed groups of traces that can still be revised."),
    _counter("spanledger_trajectory_events_total", "Runs, findings and evaluations handed to logs pipelines."),
    _counter(
        "spanledger_trajectory_events_dropped_total", "Runs, findings and evaluations that no logs pipeline took.",
        _reason("full", "rejected", "internal", "shutdown"),
    ),
    _counter(
        "spanledger_trajectory_faults_total", "Runs that could not be told, by a fault of the sidecar's own.",
    ),
    _counter(
        "spanledger_trajectory_log_records_dropped_total", "Evaluations and content in logs that are in no run.",
        _reason("unknown", "too_many"),
    ),
    _counter(
        "spanledger_unannotated_roots_total", "Roots that passed without a roll-up because their run is too large.",
    ),
    _counter(
        "spanledger_trajectory_storage_errors_total", "Failures to write or read the file of open runs.",
        Label("operation", "What failed", ("open", "load", "write")),
    ),
)  # fmt: skip

REDACTION: Final = (
    _counter(
        "spanledger_redactions_total",
        "What the processor `redaction` took out.",
        Label(
            "entity",
            "What it was: by its form, by a pattern of the configuration, by its key",
            (*ENTITIES, "blocked_value", "blocked_key", "key"),
        ),
        Label("field", "Where it was", ("attributes", "resource", "scope", "event", "link", "body", "name", "status")),
        Label("action", "What became of it", ("masked", "hashed", "removed")),
    ),
)

SEMCONV: Final = (
    _histogram(
        "gen_ai_client_operation_duration_seconds", "Duration of calls to a model or a retriever.",
        SECONDS_OPERATION, *INFERENCE, ERROR_TYPE,
    ),
    _histogram(
        "gen_ai_client_token_usage", "Tokens of a model call: input includes cached tokens, output reasoning.",
        TOKENS, *INFERENCE, Label("gen_ai_token_type", "Which tokens", ("input", "output")), unit="",
    ),
    _histogram(
        "gen_ai_client_inference_duration_seconds", "Duration of calls to a model.",
        SECONDS_OPERATION, *INFERENCE, ERROR_TYPE,
    ),
    _histogram(
        "gen_ai_client_inference_time_to_first_chunk_seconds",
        "Time from the request to the first chunk of a streamed answer.", SECONDS_OPERATION, *INFERENCE,
    ),
    _histogram(
        "gen_ai_client_inference_operation_input_tokens", "Input tokens of a model call, cached ones included.",
        TOKENS, *INFERENCE, ERROR_TYPE, unit="tokens",
    ),
    _histogram(
        "gen_ai_client_inference_operation_output_tokens", "Output tokens of a model call, reasoning included.",
        TOKENS, *INFERENCE, ERROR_TYPE, unit="tokens",
    ),
    _counter(
        "gen_ai_client_inference_usage_input_tokens_total", "Input tokens, cached ones included.",
        *INFERENCE, MODALITY, unit="tokens",
    ),
    _counter(
        "gen_ai_client_inference_usage_output_tokens_total", "Output tokens, reasoning included.",
        *INFERENCE, MODALITY, unit="tokens",
    ),
    _counter(
        "gen_ai_client_inference_usage_cache_read_input_tokens_total", "Input tokens read from a cache.",
        *INFERENCE, MODALITY, unit="tokens",
    ),
    _counter(
        "gen_ai_client_inference_usage_cache_write_input_tokens_total", "Input tokens written to a cache.",
        *INFERENCE, MODALITY, unit="tokens",
    ),
    _counter(
        "gen_ai_client_inference_usage_reasoning_output_tokens_total", "Output tokens used for reasoning.",
        *INFERENCE, MODALITY, unit="tokens",
    ),
    _histogram(
        "gen_ai_invoke_agent_duration_seconds", "Duration of an agent invocation.",
        SECONDS_AGENT, SERVICE, GEN_AI_AGENT, _data("gen_ai_request_model", "`gen_ai.request.model`"), ERROR_TYPE,
    ),
    _histogram(
        "gen_ai_invoke_workflow_duration_seconds", "Duration of a workflow.",
        SECONDS_WORKFLOW, SERVICE, _data("gen_ai_workflow_name", "`gen_ai.workflow.name`"), ERROR_TYPE,
    ),
    _histogram(
        "gen_ai_execute_tool_duration_seconds", "Duration of a tool call.",
        SECONDS_OPERATION, SERVICE, GEN_AI_AGENT, _data("gen_ai_tool_name", "`gen_ai.tool.name`"), ERROR_TYPE,
    ),
)  # fmt: skip

COLLECTOR: Final = (
    *(
        _counter(f"otelcol_receiver_{verb}_{noun}_total", f"{items} {what}.", RECEIVER, TRANSPORT)
        for verb, what in (
            ("accepted", "taken"),
            ("refused", "not taken: the sender tries again or the data was bad"),
            ("failed", "not taken because of an error of our own"),
        )
        for noun, items in ITEMS.items()
    ),
    *(
        _counter(f"otelcol_processor_{verb}_items_total", f"Items that {what} the processor.", PROCESSOR,
                 Label("otel_signal", "What it is about", SIGNAL.values))
        for verb, what in (("incoming", "reached"), ("outgoing", "left"))
    ),
    *(
        _counter(f"otelcol_processor_refused_{noun}_total", f"{items} that the processor refused.", PROCESSOR)
        for noun, items in ITEMS.items()
    ),
    *(
        _counter(f"otelcol_exporter_sent_{noun}_total", f"{items} that the destination took.", EXPORTER)
        for noun, items in ITEMS.items()
    ),
    *(
        _counter(f"otelcol_exporter_enqueue_failed_{noun}_total", f"{items} that the queue had no room for.", EXPORTER)
        for noun, items in ITEMS.items()
    ),
    *(
        _counter(
            f"otelcol_exporter_send_failed_{noun}_total", f"{items} that could not be delivered and were dropped.",
            EXPORTER, Label("error_type", "Status code or kind of the last error"),
            Label("error_permanent", "Whether the destination said not to try again", ("true", "false")),
        )
        for noun, items in ITEMS.items()
    ),
    *(
        _gauge(f"otelcol_exporter_{name}", help_, EXPORTER, Label("data_type", "What it is about", SIGNAL.values))
        for name, help_ in (
            ("queue_size", "Requests waiting in the queue."),
            ("queue_capacity", "Requests that the queue has room for."),
            ("in_flight_requests", "Requests being sent."),
        )
    ),
    _gauge("otelcol_process_uptime_seconds", "Seconds since the process started.", unit="seconds"),
    _gauge("otelcol_process_memory_rss_bytes", "Resident memory of the process.", unit="bytes"),
    _counter("otelcol_process_cpu_seconds_total", "CPU time used by the process.", unit="seconds"),
)  # fmt: skip

SELF: Final = (
    _counter(
        "spanledger_refused_requests_total", "Requests that were not taken.", RECEIVER, TRANSPORT,
        _reason("memory", "in_flight", "queue_full", "not_ready", "shutdown", "timeout", "storage", "too_large",
                "undecodable", "unsupported", "unauthenticated", "cancelled", "internal"),
    ),
    _gauge(
        "spanledger_receiver_in_flight_bytes", "Bytes of requests that were received and not answered yet.", RECEIVER,
        unit="bytes",
    ),
    _gauge(
        "spanledger_receiver_in_flight_limit_bytes", "Bytes from which on further requests are refused.", RECEIVER,
        unit="bytes",
    ),
    _counter(
        "spanledger_unread_resources_total",
        "Resources and scopes whose attributes were too many to be read; they passed unchanged.", RECEIVER, SIGNAL,
    ),
    _counter(
        "spanledger_kafka_messages_total",
        "Messages from Kafka: accepted, tried again later, unreadable and set aside, or given up to another member.",
        RECEIVER, SIGNAL, Label("outcome", "What became of it", ("accepted", "retried", "set_aside", "given_up")),
    ),
    _gauge(
        "spanledger_kafka_lag_messages", "Messages in the partitions of this member that are not accepted yet.",
        RECEIVER, Label("topic", "The topic"),
    ),
    _counter(
        "spanledger_rejected_items_total", "Items left out of a request that was taken (partial success).",
        RECEIVER, SIGNAL, _reason("bad_id", "undecodable", "too_large"),
    ),
    _counter(
        "spanledger_dropped_items_total", "Items that were accepted and then lost.", EXPORTER, SIGNAL,
        _reason("permanent", "retry_exhausted", "shutdown", "partial_success", "oversized", "storage"),
    ),
    _counter("spanledger_exporter_retries_total", "Requests that were sent again.", EXPORTER),
    _counter(
        "spanledger_shortened_items_total", "Items that were cut because the peer takes no message of their length.",
        EXPORTER, SIGNAL,
    ),
    _gauge("spanledger_queue_storage_bytes", "Size of what a queue has on disk.", EXPORTER, unit="bytes"),
    _counter("spanledger_queue_storage_errors_total", "Failures of a queue's disk.", EXPORTER),
    _counter(
        "spanledger_queue_storage_aside_total", "Files of queues that were broken and are put aside.", EXPORTER
    ),
    _gauge("spanledger_dead_letters", "Requests that a peer refused for good and that wait for somebody.", EXPORTER),
    _counter(
        "spanledger_dead_letters_total", "Requests that became dead letters, and what became of them.", EXPORTER,
        Label("outcome", "What became of it", ("kept", "replayed", "discarded")),
    ),
    _counter(
        "spanledger_unread_spans_total", "Spans that passed through without being read.",
        _reason("oversized", "error", "too_many_attributes"),
    ),
    _counter(
        "spanledger_log_reports_total", "Log records that report work as a span would, and were read as one.",
        Label("dialect", "The dialect"), Label("kind", "The kind of step"),
    ),
    _counter(
        "spanledger_unread_log_records_total", "Log records that were not searched for reports of work.",
        _reason("oversized", "error", "too_many_attributes"),
    ),
    _counter(
        "spanledger_normalizer_errors_total", "Spans that a dialect failed on; they passed unchanged.",
        Label("dialect", "The dialect"),
    ),
    _gauge(
        "spanledger_model_price_usd",
        "What one token of a model in use costs today in US dollars: standard tier, short context, own prices too.",
        PROVIDER, MODEL, TOKEN_TYPE, unit="usd",
    ),
    _gauge(
        "spanledger_price_data_info", "1 for the price data in use.",
        Label("source", "Where the prices are from"), Label("version", "Which version of them"),
    ),
    _gauge(
        "spanledger_price_data_age_seconds",
        "Age of the price data in use: since the file was changed, since the last dated price of a list that comes "
        "with spanledger.",
        Label("source", "Where the prices are from"), unit="seconds",
    ),
    _counter(
        "spanledger_price_refreshes_total", "Files with prices that changed, and were read again.",
        Label("source", "Which file"), Label("result", "Refused: what was read before stays in use", ("ok", "refused")),
    ),
    _gauge(
        "spanledger_price_refresh_ok", "1 if the file with prices could be used when it last changed, 0 if not.",
        Label("source", "Which file"),
    ),
    _gauge(
        "spanledger_display_currency_rate", "What one US dollar is in the currency that people are shown.",
        Label("currency", "ISO 4217"),
    ),
    _gauge("spanledger_price_memo_entries", "Resolved prices that are remembered."),
    _counter(
        "spanledger_cost_conflicts_total", "Spans that came with a cost that differs from ours.", PROVIDER,
    ),
    _counter(
        "spanledger_late_children_total", "Model calls that came after a span above them had left with their cost.",
    ),
    _counter(
        "spanledger_series_overflow_total", "Values counted under __other__ because the metric had all its series.",
        Label("metric", "The metric"),
    ),
    _counter(
        "spanledger_refused_values_total", "Values that are no count, size or time: not finite, negative or absurd.",
        Label("metric", "The metric"),
    ),
    _counter("spanledger_uncounted_steps_total", "Steps that genai_metrics failed on, by a fault of its own."),
    _counter(
        "spanledger_agent_waits_total",
        "Steps that named no agent and waited to be counted until the spans above them came (`agent_wait`).", SERVICE,
        Label("ending", "How it ended: `found` an agent; `none` is above; `timeout`, `full` (too many waited) and "
              "`shutdown` were counted without one", ("found", "none", "timeout", "full", "shutdown")),
    ),
    _counter(
        "spanledger_run_store_records_total", "Log records that the run store was given.", EXPORTER,
        Label("result", "What became of it", ("run", "replaced", "finding", "duplicate", "ignored", "invalid")),
    ),
    _counter("spanledger_run_store_pruned_total", "Entries of the run store that were too old or too much.", EXPORTER),
    _counter("spanledger_run_store_aside_total", "Run stores that could not be used and were put aside.", EXPORTER),
    _gauge("spanledger_run_store_bytes", "Size of what is in the run store.", EXPORTER, unit="bytes"),
    _counter(
        "spanledger_accept_failures_total",
        "Tries to accept a connection while no file could be opened: it waits until another one is closed.",
    ),
    _gauge("spanledger_loop_lag_seconds", "How late the event loop last was.", unit="seconds"),
    _histogram(
        "spanledger_request_duration_seconds", "Time from a request's last byte to its answer.",
        SECONDS_REQUEST, SIGNAL, TRANSPORT,
    ),
    _counter(
        "spanledger_config_reloads_total", "Attempts to change to a new configuration.",
        Label("result", "How it ended", ("ok", "failed")),
    ),
)  # fmt: skip

METRICS: Final[tuple[Metric, ...]] = (*GENAI, *RUNS, *GOVERNANCE, *REDACTION, *SEMCONV, *COLLECTOR, *ASSEMBLY, *SELF)


def reference() -> str:
    """Return docs/metrics.md."""
    sections = (
        ("Agents, model calls, tools", GENAI, "Made by the connector `genai_metrics` from spans."),
        ("Runs", RUNS, "Made by the connector `trajectory` from closed runs."),
        ("Objectives, budgets, policies, attribution", GOVERNANCE, _ABOUT_GOVERNANCE),
        ("Redaction", REDACTION, "Made by the processor `redaction`, see [redaction.md](redaction.md)."),
        ("The conventions' own names", SEMCONV, _ABOUT_SEMCONV),
        ("The Collector's names", COLLECTOR, "Existing Collector dashboards work with these."),
        ("How runs are put together", ASSEMBLY, "The connector `trajectory` about itself."),
        ("The sidecar itself", SELF, "What the Collector has no name for."),
    )
    parts = [_PREFACE]
    for title, rows, about in sections:
        parts.append(f"\n## {title}\n\n{about}\n\n| metric | labels | what it says |\n|---|---|---|\n")
        parts.extend(
            f"| `{row.name}` {row.type} | {', '.join(f'`{name}`' for name in row.label_names) or '–'} | {row.help} |\n"
            for row in rows
        )
    parts.append("\n## Labels\n\n| label | what it says | values |\n|---|---|---|\n")
    parts.extend(f"| {line} |\n" for line in _labels())
    parts.append("\n## Buckets\n\n| histograms | upper bounds |\n|---|---|\n")
    bounds = dict.fromkeys(row.buckets for row in METRICS if row.buckets)
    for buckets in bounds:
        names = ", ".join(f"`{row.name}`" for row in METRICS if row.buckets == buckets)
        parts.append(f"| {names} | {', '.join(f'{bound:.15g}' for bound in buckets)} |\n")
    return "".join(parts)


def _labels() -> list[str]:
    """Return a line for each label, and for each meaning of one that has several."""
    used: dict[Label, list[str]] = {}
    for row in METRICS:
        for label in row.labels:
            used.setdefault(label, []).append(row.name)
    names = Counter(label.name for label in used)
    lines = []
    for label, metrics in used.items():
        of = f" of {', '.join(f'`{metric}`' for metric in metrics)}" if names[label.name] > 1 else ""
        values = ", ".join(f"`{value}`" for value in label.values)
        lines.append(f"`{label.name}`{of} | {label.help} | {values or ('from data' if label.from_data else 'few')}")
    return sorted(lines)


_ABOUT_GOVERNANCE: Final = """\
Made by the connector `trajectory`: the first ones from its `slo`, `budgets` and `policies` (see
[budgets.md](budgets.md), [policies.md](policies.md)), while runs are under way; the others from closed runs."""

_ABOUT_SEMCONV: Final = """\
Made from spans too, for applications that do not report them: the current names and the two of 1.41 that
dashboards know. `service_name` is added, for one sidecar may serve several services."""

_PREFACE: Final = """<!-- Written by `python -m spanledger.conventions.metrics`; do not edit. -->

# Metrics

What the exporter `prometheus` shows at `/metrics`, in the Prometheus text format and, with exemplars that
carry `trace_id`, in OpenMetrics. The numbers of the process and of Python (`process_*`, `python_*`) follow them.

- Counters start at 0 with the process. A series whose labels are closed sets is there at 0 as soon as its
  agent is seen, so that its first event is an increase. A series with an open label (a new `error_type`, a new
  tool) is born with its first event: alert on those with `sum by (...)`, which has a 0 to rise from.
- Labels come from an allow-list; ids are never labels. Values from data are cut at 128 characters and
  cleaned of control characters and direction marks. A service may have `series_limit` label sets of a metric
  (`genai_metrics`, 2000), and at most half of what other services leave of twice as many, so that one service
  cannot take the room of all. All metrics together have `total_series_limit` (50,000) lines of a scrape, each bucket
  one, and a service at most half of what others leave of these. Further ones are counted with `__other__` in place of
  what data chose, and in `spanledger_series_overflow_total`; the log names the metric, the service and the label with
  the most values.
- The series of a service and agent disappear together, `metric_expiration` after the last of them changed, and
  come back with their old values. Set it longer than the pause between two runs of an agent: an increase that
  happens while a series is away is not seen by `increase()` over a shorter time. What was silent for an
  hour, and is not shown any more, is forgotten when its metric is full.
- Unknown is not 0: a call without usage adds no tokens, a model without a price has no cost series.
- Tokens and cost are counted on model calls, never again on the agents and wrappers above them.
"""

if __name__ == "__main__":
    print(reference(), end="")
