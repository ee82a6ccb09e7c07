"""The record of an agent run: what `spanledger runs export` writes, one JSON object a line.

Everything here is immutable and says only what was seen; `basis` fields name the rule behind what was
inferred. `None` is unknown. The document is `spanledger.run/1`; a change of meaning makes a new number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from spanledger.conventions.detail import Evaluation
from spanledger.conventions.reading import CostStatus, StepKind
from spanledger.conventions.record import record
from spanledger.conventions.safety.concern import Concern

SCHEMA: Final = "spanledger.run/1"

Outcome = Literal["success", "failure", "partial", "unknown"]
OutcomeBasis = Literal["explicit", "evaluation", "terminal_tool", "status", "none"]
Completeness = Literal["complete", "idle", "evicted", "rootless", "truncated", "shutdown", "open"]
EdgeBasis = Literal[
    "root", "parent", "inferred_parent", "link", "tool_call_id", "mcp", "conversation", "history", "response_id",
    "time", "messages", "arguments",
]  # fmt: skip
AgentBasis = Literal["span", "above", "delegated", "asked", "service", "node", "around"]
Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class RunUsage:
    """Tokens of one step or of many; None where nobody said."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@record(frozen=True, slots=True)
class RunStep:
    """One step. `index` is its place in `Run.steps`; other steps are named by theirs."""

    index: int
    span_id: str
    """"" for a tool that no span reports, whose basis is `messages`."""
    trace_id: str
    parent: int | None
    basis: EdgeBasis
    """Why `parent` is the parent."""
    kind: StepKind
    name: str
    agent_name: str | None
    """Who did it; `agent_basis` is how that is known."""
    tool_name: str | None
    tool_call_id: str | None
    provider: str | None
    model: str | None
    started_at_ns: int
    duration_s: float | None
    status: Literal["ok", "error"]
    error_type: str | None
    attempt: int
    """1 for the first; a retry of the same call has the number of the attempt."""
    usage: RunUsage | None
    cost_pico_usd: int | None
    cost_status: CostStatus | None
    requested_by: int | None = None
    """Tools: the model call that asked for it."""
    requested_basis: Literal["tool_call_id", "order_and_name"] | None = None
    read_by: int | None = None
    """Tools: the model call that read the result."""
    depth: int = 0
    """Agents and workflows above it."""
    branch: int = 0
    """Steps of one parent that overlap in time have different branches."""
    critical: bool = False
    """It lies on the critical path: the run would have been shorter without it."""
    twins: tuple[str, ...] = ()
    """Other spans that report the same work."""
    asks: tuple[str, ...] = ()
    """Model calls: the tools that the answer asks for, in order, where content says so."""
    input: str | None = None
    output: str | None = None
    agent_basis: AgentBasis | None = None
    concerns: tuple[Concern, ...] = ()
    """What is said of safety. Not in the document: its findings have it."""


@record(frozen=True, slots=True)
class RunTotals:
    """Sums over the run, each billed call once. Tokens: input includes cached, output includes reasoning."""

    steps: int = 0
    llm_calls: int = 0
    llm_calls_failed: int = 0
    tool_calls: int = 0
    tool_calls_failed: int = 0
    retries: int = 0
    max_depth: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_pico_usd: int | None = None
    """None when no call has a price."""
    unpriced_calls: int = 0
    """Calls of which no price is known, or the price of a part only: the run cost more than `cost_pico_usd`."""
    unattributed_cost_pico_usd: int = 0
    """What agents report beyond the calls below them, at the price of those calls; not in `cost_pico_usd`."""
    unattributed_tokens: int = 0
    rollups_less: int = 0
    """Agents that report fewer tokens than the calls below them."""
    rollups_more: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What one agent, tool or dimension value had of a run."""

    name: str
    llm_calls: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was noticed. `steps` are indexes."""

    kind: str
    """`loop`, `storm`, `ceiling`, `evaluation`, ..."""
    rule: str
    severity: Severity
    steps: tuple[int, ...]
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunEvaluation:
    """A score joined to the run, or to one of its steps."""

    evaluation: Evaluation
    step: int | None
    basis: Literal["parent", "response_id", "conversation", "builtin"]


@dataclass(frozen=True, slots=True)
class Handoff:
    """One agent giving work to another."""

    giver: str
    taker: str
    step: int
    """The agent that takes over."""
    kind: Literal["delegation", "handoff"]
    """The giver waits for the result, or is done."""


@record(frozen=True, slots=True)
class Run:
    """One agent run."""

    run_id: str
    revision: int
    trace_ids: tuple[str, ...]
    session_id: str | None
    user_id: str | None
    service_name: str
    agent_name: str
    root_span_id: str | None
    started_at_ns: int
    duration_s: float | None
    outcome: Outcome
    outcome_basis: OutcomeBasis
    completeness: Completeness
    totals: RunTotals
    steps: tuple[RunStep, ...]
    agents: tuple[Share, ...] = ()
    tools: tuple[Share, ...] = ()
    """By tool: calls, and the model cost that its results induced."""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    evaluations: tuple[RunEvaluation, ...] = ()
    failure_chain: tuple[int, ...] = ()
    """Steps that led to the failure, cause first."""
    failure_basis: tuple[str, ...] = ()
    """For each link of the chain, why: `tool_call_id`, `error_propagation`, `repeated_error`, `data`."""
    critical_path: tuple[int, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Agent name -> fingerprint of its prompt, tools and model."""
    by_dimension: Mapping[str, tuple[Share, ...]] = field(default_factory=dict)
    """Dimension -> what each of its values had."""
    handoffs: tuple[Handoff, ...] = ()
