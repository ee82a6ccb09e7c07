"""The record that a span becomes: small, frozen, and all that metrics and trajectories need."""

from __future__ import annotations

from dataclasses import field, fields
from operator import attrgetter
from sys import intern
from typing import TYPE_CHECKING, Any, Literal

from spanledger.conventions.framework import framework_of
from spanledger.conventions.langchain import is_signal
from spanledger.conventions.record import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.call import Call
    from spanledger.conventions.detail import Detail
    from spanledger.conventions.reading import Cost, Reading, StepKind
    from spanledger.conventions.usage import Usage
    from spanledger.conventions.values import Attributes

MAX_CHARS = 1024
"""Text of a step beyond this is cut off: steps are kept by the thousand, and a name may have megabytes."""
MAX_LINKS = 128
"""Links kept of a bridge, the SDKs' own limit."""

_STATUS_ERROR = 2
_SERVER, _CONSUMER = 2, 5
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


@record(frozen=True, slots=True)
class Step:
    """One GenAI span. Text fields are "" where the span says nothing, for they become labels."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    start_ns: int
    end_ns: int
    service_name: str
    dialect: str
    kind: StepKind
    operation: str
    status: Literal["ok", "error"]
    error_type: str
    agent_name: str
    provider: str
    model: str
    response_id: str
    tool_name: str
    tool_call_id: str
    workflow_name: str
    conversation_id: str
    user_id: str
    attempt: int
    usage: Usage | None
    cost: Cost | None
    time_to_first_chunk_s: float | None
    request_model: str = ""
    """The model that was asked; `model` is what it comes down to."""
    response_model: str = ""
    """The model that answered."""
    resource: Attributes = field(default_factory=dict)
    """Of the service; shared between steps: never change it."""
    detail: Detail | None = None
    """What trajectories join by; None when no sink of the pipeline asks for it."""
    remote_parent: bool = False
    """The parent is a span of another process: it may never be seen here."""
    report: str = ""
    """The log event that this was read from; "" for spans."""
    retold: bool = False
    """The same call, of a model or a tool, may be told again, as a span or a log record."""
    same_as: bytes = b""
    """Trace id and span id of another report of the same call, that came before."""
    turn: bytes = b""
    """The same for all that belongs to one turn of a coding agent, as its log records name it."""
    call: Call | None = None
    """What the ledger was told of it, when `cost` was decided by what had come until then."""
    price: Cost | None = None
    """What it would cost by itself; None where `call` is."""
    agent_version: str = ""
    """Of the agent, or else of the service it is part of."""
    framework: str = ""
    """What the agent is built with; see `framework.py`."""

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None when the span's times are missing or reversed."""
        return duration_s(self.start_ns, self.end_ns)


_NAMES = tuple(part.name for part in fields(Step))
_AT = {name: at for at, name in enumerate(_NAMES)}
_values: Callable[[Step], tuple[Any, ...]] = attrgetter(*_NAMES)


def altered(step: Step, **others: Any) -> Step:
    """Return the step with `others` in their fields; `dataclasses.replace` takes twice as long."""
    values = list(_values(step))
    for name, value in others.items():
        values[_AT[name]] = value
    return Step(*values)


@record(frozen=True, slots=True)
class Bridge:
    """A span that is no GenAI work but holds the tree together (HTTP, queues, frameworks)."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    kind: int
    start_ns: int
    end_ns: int
    name: str = ""
    service_name: str = ""
    failed: bool = False
    links: tuple[tuple[bytes, bytes], ...] = ()
    """(trace id, span id) of span links."""
    remote_parent: bool = False
    """The parent is a span of another process: it may never be seen here."""


def duration_s(start_ns: int, end_ns: int) -> float | None:
    """Return the seconds between two span times; None when one is missing or they are reversed."""
    if start_ns <= 0 or end_ns < start_ns:
        return None
    return (end_ns - start_ns) / 1e9


def has_remote_parent(span: Span) -> bool:
    """Tell whether the parent is in another process: the span's flags say it, or else its kind suggests it."""
    if not span.parent_span_id:
        return False
    if span.flags & _HAS_IS_REMOTE:
        return bool(span.flags & _IS_REMOTE)
    return span.kind in (_SERVER, _CONSUMER)


def make_step(
    span: Span,
    service_name: str,
    reading: Reading,
    resource: Attributes | None = None,
    detail: Detail | None = None,
    scope: str = "",
) -> Step:
    """Freeze what is known of a GenAI span; `scope` is the name of its instrumentation."""
    failed = (span.status.code == _STATUS_ERROR and not reading.spared) or reading.error_type is not None
    failed = failed and not is_signal(reading.error_type or "")
    return Step(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=_shared(span.name),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        service_name=_clipped(service_name),
        dialect=reading.dialect,
        kind=reading.kind,
        operation=_shared(reading.operation),
        status="error" if failed else "ok",
        error_type=_clipped(reading.error_type or "_OTHER") if failed else "",
        agent_name=_shared(reading.agent_name),
        provider=_shared(reading.provider),
        model=_shared(reading.model),
        response_id=_clipped(reading.response_id),
        tool_name=_shared(reading.tool_name),
        tool_call_id=_clipped(reading.tool_call_id),
        workflow_name=_shared(reading.workflow_name),
        conversation_id=_clipped(reading.conversation_id),
        user_id=_clipped(reading.user_id),
        attempt=reading.attempt,
        usage=reading.usage,
        cost=reading.cost,
        time_to_first_chunk_s=reading.time_to_first_chunk_s,
        request_model=_shared(reading.request_model),
        response_model=_shared(reading.response_model),
        resource=resource if resource is not None else {},
        detail=detail,
        remote_parent=has_remote_parent(span),
        report=reading.report,
        retold=reading.retold,
        same_as=reading.same_as,
        turn=reading.turn,
        call=reading.call,
        price=reading.price,
        agent_version=_agent_version(reading, resource or {}) if reading.agent_name else "",
        framework=framework_of(reading.dialect, scope) if reading.agent_name else "",
    )


def make_bridge(span: Span, service_name: str = "") -> Bridge:
    """Keep the place of any other span in its tree."""
    return Bridge(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _clipped(span.name),
        _clipped(service_name),
        span.status.code == _STATUS_ERROR,
        tuple((link.trace_id[:16], link.span_id[:8]) for link in span.links[:MAX_LINKS]) if span.links else (),
        has_remote_parent(span),
    )


def _agent_version(reading: Reading, resource: Attributes) -> str:
    for said in (reading.says("gen_ai.agent.version"), resource.get("service.version")):
        if isinstance(said, str) and said:
            return _shared(said)
    return ""


def _clipped(text: str | None) -> str:
    return text[:MAX_CHARS] if text else ""


def _shared(text: str | None) -> str:
    """Return a text that is likely to come again; it is kept once as long as anyone has it."""
    return intern(text[:MAX_CHARS]) if text else ""
