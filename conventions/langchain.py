"""What LangChain and LangGraph say in their own words, whichever instrumentation passes it on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.values import Value

PLUMBING: Final = frozenset({"agent", "tools", "model", "model_request", "call_model", "__start__", "__end__"})
"""Nodes that LangChain's own agents are made of."""
_SIGNALS: Final = frozenset({"GraphBubbleUp", "GraphInterrupt", "NodeInterrupt", "ParentCommand"})
_FROM_CACHE: Final = re.compile(r'"usage_metadata": ?\{(?:[^{}]|\{[^{}]{0,512}\}){0,1024}?"total_cost": ?0[,}]')


def is_signal(error_type: str) -> bool:
    """Tell whether an exception is how LangGraph stops for a person, or hands over to a node of the graph around."""
    return error_type.rpartition(".")[2] in _SIGNALS


def is_from_cache(answer: Value) -> bool:
    """Tell whether a model's message, as JSON, came out of LangChain's own cache.

    It is the first answer over again, with its tokens and its id; `BaseChatModel` says then that it cost nothing.
    """
    if not isinstance(answer, str) or '"total_cost"' not in answer:
        return False
    found = _FROM_CACHE.search(answer)
    return found is not None and '"input_cost"' not in found.group()  # else somebody's own model is for free


def nodes_of(path: str) -> list[str]:
    """Return the nodes of a name space, outermost first.

    It is the path of nodes, each with the id of its task: `researcher:2ebf…|model:3949…`.
    """
    return [part.partition(":")[0] for part in path.split("|")]


def named_node(path: str, chars: int) -> str | None:
    """Return the innermost node of a name space that is more than a part of a ready-made agent, and no longer."""
    named = [node for node in nodes_of(path) if node and node not in PLUMBING and len(node) <= chars]
    return named[-1] if named else None
