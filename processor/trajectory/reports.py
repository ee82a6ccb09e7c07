"""What there is to say of a group when it is closed or revised: its runs as documents. Pure, and not always quick."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spanledger.processor.batch import finish
from spanledger.processor.trajectory.emitted import Change, changing
from spanledger.processor.trajectory.histories import usual_of

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Usual
    from spanledger.conventions.loops import Loop
    from spanledger.conventions.run import Completeness, Run
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.trajectory.emitted import Emitted
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.histories import Successes
    from spanledger.processor.trajectory.packing import Kept
    from spanledger.processor.trajectory.recipe import Recipe
    from spanledger.processor.trajectory.records import Key
    from spanledger.processor.trajectory.store import Reason


@dataclass(frozen=True, slots=True)
class Built:
    """Runs that were built for a root in passing. Mostly nothing more comes, and they are those to be told of."""

    keys: frozenset[Key]
    changes: int
    completeness: Completeness
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the runs of a group follow from. Nobody changes it: it may be read in another thread."""

    recipe: Recipe
    kept: Kept
    changes: int
    judgements: tuple[Judgement, ...]
    emitted: Mapping[str, Emitted]
    completeness: Completeness
    told: tuple[Loop, ...] = ()
    """Loops that were found while the group was open."""
    successes: Successes = field(default_factory=dict)
    built: Built | None = None
    """What was built in passing."""

    def making(self) -> Generator[None, None, tuple[Run, ...]]:
        """Return the runs, with pauses."""
        built, records = self.built, self.kept.records()
        yield
        if (
            built is not None
            and not self.judgements
            and not self.told
            and (built.completeness, built.changes) == (self.completeness, self.changes)
            and built.keys == records.keys()
        ):
            return built.runs
        return (
            yield from self.recipe.making(
                records.values(), self.completeness, judgements=self.judgements, told=self.told, usual=self.usual
            )
        )

    def usual(self, label: Label) -> Usual | None:
        """Return what an agent did before. A revision is compared with the same as the run was at first."""
        for known in self.emitted.values():
            if (known.service_name, known.agent_name) == label:
                return known.usual
        return usual_of(self.successes.get(label, ()))


def compose(snapshot: Snapshot) -> list[Change]:
    """Return the runs that are new or differ from what was said of them."""
    return finish(composing(snapshot))


def composing(snapshot: Snapshot) -> Generator[None, None, list[Change]]:
    """Do the same with pauses: some twenty for a run, of 2 to 10 ms for each thousand records."""
    runs = yield from snapshot.making()
    return (yield from changing(snapshot.emitted, runs, snapshot.usual, snapshot.recipe.tallies))


def completeness_of(group: Group, reason: Reason) -> Completeness:
    """Return what a run may say of itself when its group is closed for `reason`."""
    open_ended = group.phase() in ("running", "waiting")
    if reason == "late":
        return group.completeness if open_ended or group.completeness == "truncated" else "complete"
    if reason == "shutdown":
        return "shutdown" if open_ended else "complete"
    if reason in ("span_limit", "max_duration"):
        return "truncated"
    if reason in ("evicted_count", "evicted_bytes"):
        return "evicted"
    return "complete" if reason == "root" else "idle"
