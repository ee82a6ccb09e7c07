"""The Model Context Protocol: OTel's conventions for it, as written by its SDK for Python (2.x) and FastMCP.

A call of a tool is a span of the client and, below it, one of the server; an agent may have one above both. They are
one call. Before the operation had a name of its own here, the method alone said it.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import MAX_NAME_CHARS, TOOL_NAME, Dialect, Facts, Kinded

_METHOD: Final = "mcp.method.name"
_CALL: Final = "tools/call"


def _complete(facts: Facts) -> None:
    if facts.kind == "tool" and facts.attributes.get(_METHOD) == _CALL:
        # "tools/call weather", and the client of the SDK for Python says "MCP send tools/call weather".
        called = facts.span.name.partition(_CALL + " ")[2]
        facts.offer(TOOL_NAME, "", called if 0 < len(called) <= MAX_NAME_CHARS else None)


DIALECT: Final = Dialect(
    name="mcp",
    source="https://github.com/modelcontextprotocol/python-sdk",
    scopes=("mcp-python-sdk", "fastmcp", "@modelcontextprotocol/"),
    evidence=(_METHOD, "fastmcp."),
    kinds={_METHOD: {_CALL: Kinded("tool", "execute_tool")}},
    complete=_complete,
)
