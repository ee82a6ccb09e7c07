"""What the result of a tool, as frameworks pass it to the model, says of how the tool went."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.values import Value

_FAILED: Final = re.compile(
    # LangChain's message, in the order in which it is serialised; a handover has those of the whole talk before its own
    r'"tool_call_id": ?"[\w.:-]{1,256}"(?:, ?"artifact": ?null)?, ?"status": ?"error"[},]'
    r'(?![\s\S]*"status": ?"success")'
    # MCP's result as the last thing that LlamaIndex's has, or what that says itself
    r'|"is_?[eE]rror": ?true\}(?:, ?"(?:is_error|return_direct)": ?(?:true|false)\})?$'
)
_END_CHARS: Final = 1024


def is_failed_result(result: Value) -> bool:
    """Tell whether a tool's result, as JSON, says that the tool failed: what was raised went to the model."""
    return isinstance(result, str) and _FAILED.search(result, max(0, len(result) - _END_CHARS)) is not None
