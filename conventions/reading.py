"""What a dialect reads on one span: the facts, and the edits that make the span say them in OTel words.

A reading is made by `spanledger.conventions.dialects.read` (pure), applied to the span by the
processor `genai_normalizer`, completed with a cost by `genai_pricing`, and frozen into a `Step`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from spanledger.conventions.record import record

if TYPE_CHECKING:
    from spanledger.conventions.call import Call
    from spanledger.conventions.content import Content
    from spanledger.conventions.units import Units
    from spanledger.conventions.usage import Usage
    from spanledger.conventions.values import Attributes, Value

StepKind = Literal[
    "agent", "workflow", "llm", "embedding", "retrieval", "tool", "plan", "memory", "guardrail",
    "evaluation", "human", "other",
]  # fmt: skip

CostStatus = Literal["priced", "unpriced", "no_usage", "conflict", "rollup"]

_PARTIAL: Final = frozenset({"input_unknown", "output_unknown", "tokens_unknown", "fee_unknown"})
"""Reasons of priced calls of which something that costs is not known."""


@record(frozen=True, slots=True)
class Cost:
    """The money of one span. Amounts are integers in pico-dollars (1e-12 USD); None is unknown."""

    status: CostStatus
    reason: str = ""
    """Why it is not simply priced: `unknown_model`, `self_hosted`, `reported`, ...; "" if it is."""
    total: int | None = None
    input: int | None = None
    output: int | None = None
    price_ref: str = ""
    """The price that was used: source, version, model and date, tier and region where they matter."""
    saved: int | None = field(default=None, compare=False)
    """What reading from a cache saved: those tokens at the full price of input, less what they cost."""

    @property
    def is_partial(self) -> bool:
        """Tell whether the total is known to be a part of the cost only."""
        return self.reason in _PARTIAL

    @property
    def total_usd(self) -> float | None:
        """The total in dollars: the one place where money becomes a float."""
        return None if self.total is None else self.total / 1e12


class Ready(NamedTuple):
    """Attributes to add to a span."""

    size: int
    wire: bytes
    """As a serialised span that has nothing else."""


@dataclass(slots=True)
class Reading:
    """The GenAI facts of one span, in current OTel terms. Owned by its batch."""

    dialect: str
    kind: StepKind
    operation: str | None = None
    """A well-known `gen_ai.operation.name`; None on structural spans."""
    provider: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    agent_name: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    workflow_name: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    usage: Usage | None = None
    """None when the span says nothing about tokens."""
    aggregate: bool = False
    """The usage is a sum over descendants (agent totals, outer wrappers), by the dialect's own rules."""
    spared: bool = False
    """The status of the span is the failure of another one."""
    opened: bool = False
    """The span ended when a stream was opened: the call itself came after it."""
    echo: bool = False
    """The same call is on the span around it, with more facts, unless that span was overwritten or is another's.
    So this one counts only if that one does not, and is written to only then."""
    report: str = ""
    """The log event that this was read from; "" for spans."""
    retold: bool = False
    """A call whose dialect may tell it again, as a span or a log record: of a model or a tool. Of two reports the
    numbers of the richer one win."""
    request_id: str | None = None
    """Of the HTTP request, which the reports of one call have in common."""
    same_as: bytes = b""
    """Trace id and span id of another report of the same call, that came before. Set by genai_pricing."""
    turn: bytes = b""
    """Of a log record: the same for all that belong to one turn of its agent."""
    unbilled: str = ""
    """Why a call that was answered cost nothing: `cache_hit`, `callback`; "" for all that a model answered."""
    error_type: str | None = None
    time_to_first_chunk_s: float | None = None
    attempt: int = 1
    service_tier: str | None = None
    region: str | None = None
    """Where the model ran, if the span says it: a cloud's region, or an area such as `us`."""
    units: Units | None = None
    """What is billed beside tokens; () where the span says that there was nothing, None where it says nothing."""
    server_address: str | None = None
    reported_cost_usd: float | None = None
    """A cost that the span came with."""
    reported_cost_key: str = ""
    attributes: Attributes = field(default_factory=dict)
    """The span's attributes as they came."""
    edits: dict[str, Value] = field(default_factory=dict)
    """Attributes to write; a value equal to the present one is not listed."""
    ready: Ready | None = None
    """The first of `edits`, which are the same on many spans."""
    removals: list[str] = field(default_factory=list)
    """Attributes to delete (only where `remove_originals` says so, or the target profile demands it)."""
    echo_edits: dict[str, Value] = field(default_factory=dict)
    """What an echo that counts has to say, beyond `edits`."""
    cost: Cost | None = None
    """Set by genai_pricing; None when that did not run or the span is not priced at all (no model call)."""
    call: Call | None = None
    """What the ledger was told; set with `cost`."""
    price: Cost | None = None
    """What it would cost by itself, before it was decided who counts; set with `call`."""
    content: Content | None = None
    """What was parsed for the edits; None when the span's content was in its current form, or not read."""

    @property
    def model(self) -> str | None:
        """The model that answered, or else the one that was asked."""
        return self.response_model or self.request_model

    def says(self, name: str) -> Value:
        """Return what the span says under `name` once its edits are written; None where it says nothing."""
        return self.edits[name] if name in self.edits else self.attributes.get(name)
