"""BeeAI for JavaScript, as OpenInference's instrumentation of it tells: spans of events, and of none of its calls.

A call is `start`, then `success` or `error`, then `finish` below the span of the whole, each of the call's kind. The
end of a call stands for it, and it alone has its tokens; how long it took nothing says.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import AGENT_NAME, ERROR_TYPE, MAX_NAME_CHARS, TOOL_NAME, Facts
from spanledger.conventions.emitters import at_boundary
from spanledger.conventions.values import Value

_SCOPE: Final = "@arizeai/openinference-instrumentation-beeai"
_EVENT: Final = "target"
_NAME: Final = "name"
_ENDS: Final = ("success", "error")
_ASKED: Final = ("llm.model_name", "input.value", "tool.parameters")


def is_event(facts: Facts) -> bool:
    """Tell what happened in an agent from the agent."""
    return at_boundary(facts.scope, _SCOPE) and _EVENT in facts.attributes


def is_around(facts: Facts) -> bool:
    """Tell from the end of a call its other events, and the whole that it is told within.

    The whole says what was asked for only where there are events to take it from.
    """
    if not at_boundary(facts.scope, _SCOPE):
        return False
    told = facts.attributes
    return told.get(_NAME) not in _ENDS if _EVENT in told else any(key in told for key in _ASKED)


def read_event(facts: Facts) -> None:
    """Offer what an event is about (`tool.dynamic.getWeather.success`), and what an error says of itself."""
    if not at_boundary(facts.scope, _SCOPE):
        return
    facts.failed = facts.failed or facts.attributes.get(_NAME) == "error"
    facts.offer_found(ERROR_TYPE, "exception.type", coerce.text)
    if facts.kind == "agent":
        facts.offer_found(AGENT_NAME, "source", coerce.text)
    elif facts.kind == "tool":
        facts.offer_found(TOOL_NAME, _EVENT, _emitter)


def _emitter(event: Value) -> str | None:
    path = event.split(".") if isinstance(event, str) else ()
    return path[-2][:MAX_NAME_CHARS] if len(path) > 1 else None
