"""What is billed beside tokens: searches, sound by its length, images, pages, characters.

Counts are of one model call; absent is unknown. Sound is counted in
whole milliseconds. The names are those of `fees` in an override file, but for sound, which has its price by the minute
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

Unit = Literal[
    "web_search", "file_search", "map_search", "social_search", "code_execution", "rerank_search", "image", "page",
    "character", "audio_input_ms", "audio_output_ms",
]  # fmt: skip
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)

Units: TypeAlias = "tuple[tuple[Unit, int], ...]"
"""How much of each unit, in the order of `UNITS`; only what is more than 0. Hashable and frozen."""

TARGETS: Final = frozenset(f"@{unit}" for unit in UNITS)
"""What dialects call them, as they call other facts that have no attribute of their own."""

MAX_UNITS: Final = 10**8
"""No call has more: a day of sound is 86,400,000 ms."""


def units_of(known: Mapping[str, object]) -> Units | None:
    """Return the units among the facts of a span, () where it says that there were none; None where it says nothing.

    What cannot be a count is left out.
    """
    told = tuple(
        (unit, count) for unit in UNITS if type(count := known.get(f"@{unit}")) is int and 0 <= count <= MAX_UNITS
    )
    return tuple((unit, count) for unit, count in told if count) if told else None
