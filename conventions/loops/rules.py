"""The thresholds of all loop rules, with defaults under which honest runs have no finding (docs/loops.md)."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, Literal

Rule = Literal[
    "exact_repeat", "near_repeat", "cycle", "same_error", "no_progress", "output_repeat", "retry_storm",
    "steps_ceiling", "depth_ceiling", "duration_ceiling",
]  # fmt: skip

Basis = Literal["content", "arguments", "names"]
"""What a finding rests on: arguments and results, arguments alone, or only names."""

MAX_PERIOD: Final = 4
"""Calls in one round of a cycle."""

WINDOW: Final = 256
"""Model and tool calls of a run that are looked at, the last ones."""


@dataclass(frozen=True, slots=True)
class LoopRules:
    """How often is too often. A count of 0 turns its rule off."""

    exact_repeat: int = 3
    """Calls of a tool with the same arguments, the first one included."""
    near_repeat: int = 4
    """Calls of a tool with nearly the same arguments and result."""
    cycle_rounds: int = 3
    """Rounds of two to four calls in the same order."""
    same_error: int = 3
    """Failures of a tool with the same error in a row."""
    no_progress: int = 4
    """Calls of a tool with different arguments and the same result."""
    output_repeat: int = 3
    """Nearly the same answers of a model in one conversation."""
    retry_storm: int = 5
    """Failures of one request within `retry_window_s`."""
    names_repeat: int = 10
    """Calls of a tool in a row where nothing says its arguments."""
    names_cycle_rounds: int = 5
    """Rounds of a cycle where nothing says the arguments."""
    names_tokens: float = 0.1
    """Where nothing says the arguments, requests whose lengths in tokens differ by more than this are not the same."""
    unseen_extra: int = 2
    """Added to a threshold where results are not seen: then a call that made progress looks like one that did not."""
    similarity: float = 0.9
    """From this share of word pairs in common, arguments and answers are nearly the same."""
    no_progress_min_chars: int = 64
    """Shorter results ("ok", "[]") say the same of many things that are done one after the other."""
    output_min_chars: int = 64
    """Shorter answers are alike by chance."""
    retry_window_s: float = 60.0
    backoff_factor: float = 1.5
    """Repeats whose pauses grow by this factor each time are waiting on purpose."""
    backoff_min_s: float = 1.0
    """The last pause of such a wait at the least; the time that models take is no pause."""
    pause_s: float = 30.0
    """Repeats with pauses of at least this are waiting on purpose too; not where model calls are not seen."""
    polling_tools: tuple[str, ...] = ("*poll*", "*wait*", "*sleep*")
    """Names (globs, in lower case) of tools that may be called again and again."""
    max_steps: int | None = None
    max_depth: int | None = None
    max_duration_s: float | None = None
    ceiling_factor: float = 2.0
    """Above this multiple of the agent's own 99th percentile a run is out of the ordinary."""

    def is_polling(self, tool: str) -> bool:
        """Tell whether a tool may be called again and again."""
        return _matches(tool, self.polling_tools)


@lru_cache(maxsize=4096)
def _matches(tool: str, globs: tuple[str, ...]) -> bool:
    name = tool.lower()
    return any(fnmatchcase(name, glob) for glob in globs)
