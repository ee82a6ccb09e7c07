"""What was decided about a span, so that it holds for others that are the same in all that mattered.

An instrumentation writes the same keys again and again (`shape`), and most values with them. Where all values that
anything depended on are the same, so is the `Decision`; what merely passes through, such as ids and counts, is
read anew. That nothing else mattered is not assumed but seen: the first time, `witness` notes what is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    COST,
    REQUEST_ID,
    RESPONSE_ID,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    USER_ID,
)
from spanledger.conventions.reading import Reading, Ready
from spanledger.conventions.values import key_value
from spanledger.conventions.witness import NAME, WatchedDict, WatchedSpan

if TYPE_CHECKING:
    from spanledger.conventions.counting import Counting
    from spanledger.conventions.dialect import Facts
    from spanledger.conventions.reading import StepKind
    from spanledger.conventions.span_attributes import SpanAttributes
    from spanledger.conventions.values import Value

PASSED: Final[Mapping[str, tuple[str, bool]]] = {
    RESPONSE_ID: ("response_id", False),
    TOOL_CALL_ID: ("tool_call_id", False),
    CONVERSATION_ID: ("conversation_id", False),
    USER_ID: ("user_id", False),
    REQUEST_ID: ("request_id", False),
    COST: ("reported_cost_usd", True),
    TIME_TO_FIRST_CHUNK: ("time_to_first_chunk_s", True),
}
"""Targets that go into a field of the reading and differ from span to span -> that field, and whether it is
`measured`."""

_FIELDS: Final = tuple(slot.name for slot in fields(Reading))

Places: TypeAlias = Mapping[str, int]
"""Target -> where its fact stands in the list of facts that pass through."""


def measured(value: object) -> float | None:
    """Return a measurement, which is not negative; None for anything else."""
    return value if isinstance(value, float) and value >= 0 else None


class Seen:
    """What a decision depended on."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        """Attributes."""
        self.targets: set[str] = set()
        """Facts."""
        self.fields: set[str] = set()
        """Fields of the span."""
        self._kept: frozenset[str] = frozenset()

    def watch(self, facts: Facts, *, named: bool) -> None:
        """Note from here on what is looked at; `named`: the span's name was already."""
        if named:
            self.fields.add(NAME)
        facts.span = cast("Span", WatchedSpan(facts.span, self.fields))
        facts.attributes = facts.attributes.watched(lambda at: WatchedDict(at, self.keys))
        facts.values = WatchedDict(facts.values, self.targets)

    def spare(self, targets: Iterable[str] = ()) -> None:
        """Take back that these facts were looked at since the last time: they were only passed on."""
        self.targets -= set(targets) - self._kept
        self._kept = frozenset(self.targets)


@dataclass(slots=True, eq=False)
class Decision:
    """All that is to be said of a span, with places where its own facts go in."""

    kind: StepKind
    dialect: str
    edits: Mapping[str, Value]
    fields: tuple[Any, ...]
    """Of the reading, in order."""
    passed: Sequence[tuple[str, int, bool]]
    """Fields of the reading to fill in: name, place, whether it is measured."""
    filled: Sequence[tuple[str, int]]
    """Attributes to write: name, place."""
    counts: Sequence[tuple[str, Value, int | None]]
    """Token counts by their names in `tokens.COUNTS`: value, or else place."""
    counting: Counting | None
    """None where no tokens are counted."""
    counts_moved: bool
    aggregate: bool
    content: bool
    """Its content is to be read."""
    tells_reasons: bool
    """It is said elsewhere than in the content why the model stopped, or it is no model."""
    unnamed: bool
    """What it gives for its operation is none, and has to go."""
    facts: Facts | None
    """Only where originals are removed, and for this one span."""
    ready: Ready | None

    @classmethod
    def of(
        cls,
        reading: Reading,
        places: Places,
        *,
        filled: Sequence[tuple[str, str]],
        counts: Mapping[str, tuple[Value, int | None]],
        present: Collection[str],
        remembered: bool,
        **others: Any,
    ) -> Decision:
        """Take a reading apart into what holds for all and what is filled in at `places`."""
        open_names = {name: places[target] for name, target in filled if target in places}
        reading.attributes = {}  # they would keep the whole span
        return cls(
            kind=reading.kind,
            dialect=reading.dialect,
            edits=reading.edits,
            fields=tuple(getattr(reading, name) for name in _FIELDS),
            passed=tuple(
                (name, places[target], is_measured)
                for target, (name, is_measured) in PASSED.items()
                if target in places and (is_measured or getattr(reading, name) is not None)
            ),
            filled=tuple(open_names.items()),
            counts=tuple((name, *told) for name, told in counts.items()),
            ready=_ready(reading.edits, {*present, *open_names}) if remembered else None,
            **others,
        )

    def reading(self, attributes: SpanAttributes, told: Sequence[Value]) -> Reading:
        """Return the reading of a span with these attributes, whose own facts are `told`."""
        reading = Reading(*self.fields)
        reading.attributes = attributes
        reading.edits = dict(self.edits)
        reading.removals, reading.echo_edits = [], {}
        reading.ready = self.ready
        for name, at, is_measured in self.passed:
            setattr(reading, name, measured(told[at]) if is_measured else told[at])
        return reading


def _ready(edits: Mapping[str, Value], special: Collection[str]) -> Ready | None:
    made = Span()
    for name, value in edits.items():
        if name in special:
            break
        made.attributes.append(key_value(name, value))
    return Ready(len(made.attributes), made.SerializeToString()) if made.attributes else None
