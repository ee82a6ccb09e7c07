"""What was said of a run before: its id and revision, and what of it is in the metrics.

A run keeps its id. Where its root comes late, or two runs turn out to be one, the id that follows from the
spans would change; the run is then recognised by its first step, and keeps the id it was reported under.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from spanledger.conventions.loops.found import KINDS as LOOP_KINDS
from spanledger.conventions.record import record
from spanledger.conventions.run_document.lines import joined, parts
from spanledger.conventions.safety.findings import noted
from spanledger.conventions.tallies import tallies

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Usual
    from spanledger.conventions.run import Completeness, Outcome, Run, RunEvaluation
    from spanledger.conventions.safety.findings import Noted
    from spanledger.conventions.tallies import Key
    from spanledger.processor.trajectory.group import Label

_PIECE: Final = 2_047
"""Bytes that hashlib takes without letting other threads run."""


@record(frozen=True, slots=True)
class Emitted:
    """What was last said of a run."""

    revision: int
    digest: str
    """Of everything but the revision."""
    service_name: str
    agent_name: str
    outcome: Outcome
    completeness: Completeness
    cost_pico_usd: int
    anchor: str
    """Trace id and span id of its first step."""
    evaluations: tuple[str, ...] = ()
    """Digests of those that are counted."""
    loops: tuple[tuple[str, float], ...] = ()
    """Fingerprint and wasted dollars of those that are counted."""
    judged: tuple[str, ...] = ()
    """Names of the evaluations from outside: what the run is counted as evaluated by."""
    scores: tuple[tuple[str, float | None, str | None], ...] = ()
    """Name, score and label of the built-in evaluations that are counted."""
    usual: Usual | None = None
    """What its agent did before, when the run was closed."""
    tallies: tuple[tuple[Key, int], ...] = ()
    """What else is counted of it."""
    safety: tuple[str, ...] = ()
    """Spans and categories of the findings of safety that are told."""


@dataclass(frozen=True, slots=True)
class Change:
    """A run that is new or differs from what was said of it."""

    run: Run
    now: Emitted
    document: bytes
    """The run as JSON in UTF-8."""
    before: tuple[Emitted, ...] = ()
    """Nothing for a new run, several where runs turned out to be one."""
    replaced: tuple[str, ...] = ()
    """Ids of runs that turned out to be part of this one."""


def changing(
    emitted: Mapping[str, Emitted],
    runs: Sequence[Run],
    usual: Callable[[Label], Usual | None],
    tallied: Callable[[Run], Mapping[Key, int]] = tallies,
) -> Generator[None, None, list[Change]]:
    """Return the runs that differ from what was said of them, with their ids and revisions; with pauses."""
    found: list[Change] = []
    owners = _owners(emitted, runs)
    for run in runs:
        ids = owners.get(run.run_id, ())
        before = tuple(emitted[run_id] for run_id in ids)
        revision = max((known.revision for known in before), default=0) + 1
        run_id = ids[0] if ids else run.run_id
        same = (run.run_id, run.revision) == (run_id, revision)
        named = run if same else replace(run, run_id=run_id, revision=revision)
        yield
        told = tallied(named)
        yield
        now, written = _told(named, usual((run.service_name, run.agent_name)), told)
        if len(before) != 1 or now.digest != before[0].digest:
            found.append(Change(named, now, written, before, ids[1:]))
    return found


def _owners(emitted: Mapping[str, Emitted], runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Return for each run the ids it was reported under: its own, or of the runs whose first step it contains."""
    if not emitted:
        return {}
    owners: dict[str, tuple[str, ...]] = {run.run_id: (run.run_id,) for run in runs if run.run_id in emitted}
    lost = {known.anchor: run_id for run_id, known in emitted.items() if run_id not in owners}
    for run in runs if lost else ():
        for step in run.steps:
            # What was a step may be known by now as another report of the same work.
            for span_id in (step.span_id, *step.twins):
                if (run_id := lost.pop(step.trace_id + span_id, None)) is not None:
                    owners[run.run_id] = (*owners.get(run.run_id, ()), run_id)
    return owners


def name_of(evaluation: RunEvaluation) -> str:
    """Return a digest that tells an evaluation from others, in every revision of its run."""
    return blake2b(
        repr((evaluation.evaluation, evaluation.basis)).encode("utf-8", "replace"), digest_size=9
    ).hexdigest()


def safety_of(run: Run) -> dict[str, Noted]:
    """Return the findings of safety under names that they have in every revision of their run."""
    return {
        f"{run.steps[one.step].trace_id} {span_id} {one.category}": one
        for one in noted(run)
        for span_id in (run.steps[one.step].span_id, *run.steps[one.step].twins)
    }


def _digest(*parts: bytes) -> str:
    """Return the digest of all parts, piece by piece.

    Of 2,048 bytes and more hashlib lets other threads run meanwhile. If one of them has work, the event loop, where
    small runs are told, then waits a millisecond for every run.
    """
    digest = blake2b(digest_size=12)
    for part in parts:
        for start in range(0, len(part), _PIECE):
            digest.update(part[start : start + _PIECE])
    return digest.hexdigest()


def _told(run: Run, usual: Usual | None, tallied: Mapping[Key, int]) -> tuple[Emitted, bytes]:
    """Return what to remember of a run that is told now, and its document."""
    rest, steps = parts(run)
    builtin = [one for one in run.evaluations if one.basis == "builtin"]
    others = [one for one in run.evaluations if one.basis != "builtin"] if len(builtin) < len(run.evaluations) else ()
    now = Emitted(
        revision=run.revision,
        digest=_digest(rest, steps),
        service_name=run.service_name,
        agent_name=run.agent_name,
        outcome=run.outcome,
        completeness=run.completeness,
        cost_pico_usd=run.totals.cost_pico_usd or 0,
        anchor=run.steps[0].trace_id + run.steps[0].span_id if run.steps else "",
        evaluations=tuple(sorted(map(name_of, others))),
        loops=tuple(
            (one.detail.get("fingerprint", ""), one.detail.get("wasted_usd") or 0.0)
            for one in run.findings
            if one.kind in LOOP_KINDS
        ),
        judged=tuple(sorted({one.evaluation.name for one in others})),
        scores=tuple([(one.evaluation.name, one.evaluation.score, one.evaluation.label) for one in builtin]),
        usual=usual,
        tallies=tuple(tallied.items()),
        safety=tuple(safety_of(run)),
    )
    return now, joined(rest, run.revision, steps)
