"""AWS Strands Agents: Python 1.0 to 1.62 and TypeScript 1.19.

The agent's span has the usage of all its `chat` spans since the agent was made: in a conversation those of the turns
before as well, so it is the sum of nothing that can be told from the span, and is left alone. The provider is never
told: `gen_ai.system` is the framework's name, in TypeScript that of the service, which is the scope there too. Times
are in milliseconds. TypeScript passes on what a provider says of its input, Python makes it whole since it writes
dotted cache keys, and LiteLLM (`provider/model`) always did.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    USAGE,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.emitters import at_boundary

_SCOPES: Final = ("strands.telemetry.tracer", "strands-agents")
_STARTED: Final = "gen_ai.event.start_time"
_TIME_TO_FIRST: Final = "gen_ai.server.time_to_first_token"
_WHOLE: Final = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens")
_APART: Final = ("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cache_write_input_tokens")
_BY_LITELLM: Final = re.compile(r"[a-z_]+/")


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    python = any(at_boundary(facts.scope, scope) for scope in _SCOPES)
    if not python and attributes.get("gen_ai.system", facts.text(PROVIDER)) == facts.scope:
        facts.forget(PROVIDER)
    if not python:
        facts.emitter = "@strands-agents/sdk"
    elif any(key in attributes for key in _APART) and not any(key in attributes for key in _WHOLE):
        through_litellm = _BY_LITELLM.match(facts.text(REQUEST_MODEL) or "") is not None
        facts.emitter = "strands.telemetry.tracer" if through_litellm else "strands-agents"
    else:
        facts.emitter = "strands.telemetry.tracer"
    facts.offer_found(TIME_TO_FIRST_CHUNK, _TIME_TO_FIRST, coerce.milliseconds)
    if facts.kind not in MODEL_CALLS:
        for target in USAGE:
            facts.forget(target)
    if facts.kind == "tool" and attributes.get("gen_ai.tool.status") == "error":
        facts.failed = True


DIALECT: Final = Dialect(
    name="strands",
    source="https://github.com/strands-agents/sdk-python",
    scopes=_SCOPES,
    evidence=(_STARTED, "event_loop.cycle_id", "agent_loop.cycle_id", "gen_ai.agent.tools"),
    operations={
        "execute_event_loop_cycle": STRUCTURAL,
        "execute_agent_loop_cycle": STRUCTURAL,
        "execute_node": STRUCTURAL,
        "invoke_swarm": Kinded("workflow", "invoke_workflow"),
        "invoke_graph": Kinded("workflow", "invoke_workflow"),
        "memory.add": Kinded("memory", "create_memory"),
        "memory.search": Kinded("memory", "search_memory"),
        "memory.extract": STRUCTURAL,
        "memory.inject": STRUCTURAL,
        "bidi_session": STRUCTURAL,
        "bidi_response": STRUCTURAL,
        "bidi_connect": STRUCTURAL,
    },
    complete=_complete,
)
