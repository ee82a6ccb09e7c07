"""Facts that an instrumentation does not tell, by name: `withheld.yaml`.

    python/openllmetry-openai:
      - why: no attribute for tokens written to a cache
        seen:
          cached: {cache_write: absent, cost: understated}

An entry says what is seen instead of the truth, in the words of `compare.finding`. It holds for exactly
its scenarios (several with the same findings may share a line, blanks between them): where one of them is
right after all, or seen otherwise, the entry is wrong. `elsewhere` names attributes in which the fact does
stand, `why` then says why it is not read there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.corpus.compare import FIELDS, RIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.corpus.compare import Field

FILE: Final = Path(__file__).with_name("withheld.yaml")


@dataclass(frozen=True, slots=True)
class Withheld:
    """One entry: a reason, and what is seen because of it."""

    stack: str
    why: str
    seen: Mapping[tuple[str, Field], str]
    """(scenario, field) -> finding."""
    elsewhere: tuple[str, ...] = ()
    """Prefixes of places as `evidence` names them."""

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Return the scenarios it speaks of, in order."""
        return tuple(dict.fromkeys(scenario for scenario, _ in self.seen))

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return the fields it speaks of, in the order of the table."""
        return tuple(field for field in FIELDS if any(field == other for _, other in self.seen))


def read(path: Path = FILE) -> list[Withheld]:
    """Read the list. Raises ValueError for what no entry may hold."""
    entries: dict[str, list[dict[str, Any]]] = yaml.safe_load(path.read_text())
    return [_entry(stack, entry) for stack, of_stack in entries.items() for entry in of_stack]


def _entry(stack: str, entry: dict[str, Any]) -> Withheld:
    unknown = set(entry) - {"why", "seen", "elsewhere"}
    findings = {
        (scenario, field): finding
        for scenarios, fields in entry["seen"].items()
        for scenario in scenarios.split()
        for field, finding in fields.items()
    }
    if unknown or not entry["why"] or not findings or {field for _, field in findings} - set(FIELDS):
        raise ValueError(f"{stack}: an entry has a reason and findings about {', '.join(FIELDS)}")
    return Withheld(stack, entry["why"], findings, tuple(entry.get("elsewhere", ())))


def of_stack(entries: Sequence[Withheld], stack: str) -> list[Withheld]:
    """Return the entries of one stack."""
    return [entry for entry in entries if entry.stack == stack]


def disagreements(entries: Sequence[Withheld], findings: Mapping[tuple[str, Field], str]) -> Iterator[str]:
    """Yield every difference between the entries of a stack and what was found in its captures."""
    listed: dict[tuple[str, Field], str] = {}
    times = Counter(about for entry in entries for about in entry.seen)
    for entry in entries:
        listed.update(entry.seen)
    for about in dict.fromkeys((*findings, *listed)):
        scenario, field = about
        if about not in findings:
            yield f"{scenario}: {field} is listed, but there is no such capture"
        elif times[about] > 1:
            yield f"{scenario}: {field} is listed {times[about]} times"
        elif findings[about] != listed.get(about, RIGHT):
            yield f"{scenario}: {field} is {findings[about]}, and listed as {listed.get(about, RIGHT)}"
