"""Plans that agents keep with a tool: lists of items, each with what has become of it.

| tool | written by | arguments |
|---|---|---|
| `TodoWrite`, `todowrite`, `todo_write` | Claude Code, opencode, Qwen Code | `todos: [{content, status}]` |
| `write_todos` | LangChain's deep agents, Gemini CLI | `todos: [{content, status}]`, `[{description, status}]` |
| `update_plan` | Codex | `plan: [{step, status}]` |
| `task_tracker` | OpenHands | `task_list: [{title, status}]` |

The words for a status are theirs. Only numbers are read of it, never what an item says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.content.parse import Json

MAX_ITEMS: Final = 1_000
"""Of one plan; a longer list is none."""

_TOOLS: Final = re.compile(r"todo|plan|task_?(list|tracker)", re.IGNORECASE)
_DONE: Final = frozenset({"completed", "complete", "done"})
_OPEN: Final = frozenset({"pending", "in_progress", "todo", "not_started", "open", "blocked"})
_GIVEN_UP: Final = frozenset({"cancelled", "canceled", "skipped"})


def plan_of(tool_name: str, arguments: Json) -> tuple[int, int] | None:
    """Return how many items of a plan are done and how many there are; None when the call keeps no plan.

    Items that were given up are no part of the plan any more.
    """
    if not _TOOLS.search(tool_name) or not isinstance(arguments, dict):
        return None
    for value in arguments.values():
        statuses = _statuses(value)
        if statuses:
            kept = [status for status in statuses if status not in _GIVEN_UP]
            return (sum(status in _DONE for status in kept), len(kept)) if kept else None
    return None


def _statuses(items: Json) -> list[str]:
    """Return the status of each item; nothing unless each has one that is known."""
    if not isinstance(items, list) or not 0 < len(items) <= MAX_ITEMS:
        return []
    found = []
    for item in items:
        said = item.get("status") if isinstance(item, dict) else None
        status = said.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(said, str) else ""
        if status not in _DONE | _OPEN | _GIVEN_UP:
            return []
        found.append(status)
    return found
