"""What is given beside the records: joins that no parent link says, and judgements that came by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanledger.conventions.detail import Evaluation
    from spanledger.conventions.run import EdgeBasis


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """A span that follows from a span of another trace (or from one of its own that is not its parent).

    `link`, `tool_call_id` and `mcp` say that it was called from there; `history` and `conversation` that it
    goes on with what was said there; `response_id` and `time` that both are reports of the same work.
    """

    trace_id: bytes
    span_id: bytes
    from_trace_id: bytes
    from_span_id: bytes
    basis: EdgeBasis


@dataclass(frozen=True, slots=True)
class Judgement:
    """An evaluation that did not come on a step, with what it says about its place. All of it may be unknown."""

    evaluation: Evaluation
    trace_id: bytes = b""
    span_id: bytes = b""
    """The span that is judged, or one below it."""
    conversation_id: str = ""
