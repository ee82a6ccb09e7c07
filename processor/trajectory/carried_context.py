"""A trace context that came inside a message: MCP and A2A carry `traceparent` in the metadata of a request.

Where a server does not make it the parent of its span but writes it down, the attribute is what joins the
two traces (Model Context Protocol, `_meta.traceparent`; W3C Trace Context for the format).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.span_attributes import by_keys

if TYPE_CHECKING:
    from collections.abc import Collection

    from spanledger.conventions.values import Attributes

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def carried_context(attributes: Attributes) -> tuple[bytes, bytes] | None:
    """Return the (trace id, span id) that an attribute named `...traceparent` says; None where none does."""
    for name in by_keys(attributes, _named):
        value = attributes[name]
        if isinstance(value, str) and (found := _TRACEPARENT.fullmatch(value[:128])):
            trace_id, span_id = map(bytes.fromhex, found.groups())
            if any(trace_id) and any(span_id):
                return trace_id, span_id
    return None


def _named(keys: Collection[str]) -> list[str]:
    return [key for key in keys if key.endswith("traceparent")]
