"""Facts that an instrumentation does not tell, by name: `withheld.yaml`.

    python/openllmetry-openai:
      - why: the instrumentation has no key for tokens written to a cache
        fields: {cache_write: absent, cost: overstated}
        scenarios: [cached]

An entry says what is seen instead of the truth. It holds for exactly its scenarios: where one of them is
right after all, or seen otherwise, the entry is wrong. `elsewhere` names attributes in which the number
does stand, with the reason why it is not read there as part of `why`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import yaml

from tests.corpus.compare import FIELDS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.corpus.compare import Field

FILE: Final = Path(__file__).with_name("withheld.yaml")


@dataclass(frozen=True, slots=True)
class Withheld:
    """One entry."""

    stack: str
    scenarios: tuple[str, ...]
    fields: Mapping[Field, Verdict]
    why: str
    elsewhere: tuple[str, ...] = ()

    def covers(self, scenario: str, field: Field) -> bool:
        """Tell whether the entry speaks of a field of a capture."""
        return scenario in self.scenarios and field in self.fields


def read(path: Path = FILE) -> list[Withheld]:
    """Read the list. Raises ValueError for what no entry may hold."""
    return [_entry(stack, entry) for stack, entries in yaml.safe_load(path.read_text()).items() for entry in entries]


def _entry(stack: str, entry: Mapping[str, object]) -> Withheld:
    made = Withheld(stack, tuple(entry.pop("scenarios")), elsewhere=tuple(entry.pop("elsewhere", ())), **entry)  # type: ignore[attr-defined]
    if not made.why or not made.scenarios or len(set(made.scenarios)) != len(made.scenarios):
        raise ValueError(f"{stack}: an entry needs a reason and scenarios, each once")
    if not set(made.fields) <= set(FIELDS) or not set(made.fields.values()) <= set(get_args(Verdict)) - {"right"}:
        raise ValueError(f"{stack}: {made.fields} are not fields and verdicts")
    return made


def of_stack(entries: Sequence[Withheld], stack: str) -> list[Withheld]:
    """Return the entries of one stack."""
    return [entry for entry in entries if entry.stack == stack]


def disagreements(entries: Sequence[Withheld], seen: Mapping[tuple[str, Field], Verdict]) -> Iterator[str]:
    """Yield every difference between the entries of a stack and what was seen of its captures."""
    for (scenario, field), verdict in seen.items():
        covering = [entry for entry in entries if entry.covers(scenario, field)]
        if len(covering) > 1:
            yield f"{scenario}: {field} is listed {len(covering)} times"
        elif not covering and verdict != "right":
            yield f"{scenario}: {field} is {verdict}"
        elif covering and covering[0].fields[field] != verdict:
            yield f"{scenario}: {field} is {verdict}, but listed as {covering[0].fields[field]}: {covering[0].why}"
    known = {scenario for scenario, _ in seen}
    for entry in entries:
        for scenario in set(entry.scenarios) - known:
            yield f"{scenario} is listed but no such capture exists: {entry.why}"
