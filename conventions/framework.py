"""What an agent is built with, as far as the instrumentation that tells of it says."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

WATCHERS: Final = frozenset({
    "agentops", "braintrust", "inference_servers", "laminar", "langfuse", "langsmith", "langtrace", "logfire", "mcp",
    "mlflow", "openinference", "openlit", "openllmetry", "otel", "sentry", "trace_ai",
})  # fmt: skip
"""Dialects of those who watch the frameworks of others; all other dialects are a framework's own."""

_WATCHED: Final = re.compile(r"(?:instrumentation[.-]|^logfire\.)(?:genai\.)?(?!genai\b)([A-Za-z][A-Za-z0-9_-]{0,63})")
_VERSION: Final = re.compile(r"_v\d+$")
MAX_SCOPE_CHARS: Final = 256


@lru_cache(1024)
def framework_of(dialect: str, scope: str) -> str:
    """Return the name of a framework or client library in lower case, `openai_agents`; "" where nothing says it.

    `scope` is the name of the instrumentation: `openinference.instrumentation.crewai` watches `crewai`.
    """
    if dialect not in WATCHERS:
        return dialect
    watched = _WATCHED.search(scope[:MAX_SCOPE_CHARS])
    return _VERSION.sub("", watched[1].lower().replace("-", "_")) if watched is not None else ""
