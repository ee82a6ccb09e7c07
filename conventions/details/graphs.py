"""Which node of a graph does something, as LangGraph's run metadata says it, wherever an instrumentation puts that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import MAX_NAME_CHARS
from spanledger.conventions.langchain import named_node, nodes_of
from spanledger.conventions.span_attributes import by_keys

if TYPE_CHECKING:
    from collections.abc import Collection

    from spanledger.conventions.values import Attributes

_PLACES: Final = (
    "traceloop.association.properties.langgraph_checkpoint_ns",
    "langfuse.observation.metadata.langgraph_checkpoint_ns",
    "langsmith.metadata.langgraph_checkpoint_ns",
)
_WITHIN: Final = re.compile(r'"langgraph_checkpoint_ns": ?"([^"\\]{1,2048})"')
"""The same in a JSON object, under OpenInference's `metadata`."""


def node_of(attributes: Attributes) -> str:
    """Return the innermost node that is more than a part of a ready-made agent; "" where no graph is spoken of."""
    if not by_keys(attributes, _may_tell):
        return ""
    path = next((said for name in _PLACES if (said := coerce.unquoted(attributes.get(name))) is not None), None)
    if path is None:
        metadata = attributes.get("metadata")
        found = _WITHIN.search(metadata) if isinstance(metadata, str) else None
        path = found[1] if found else ""
    return named_node(path, MAX_NAME_CHARS) or nodes_of(path)[0][:MAX_NAME_CHARS]


def _may_tell(keys: Collection[str]) -> bool:
    return any(key in keys for key in (*_PLACES, "metadata"))
