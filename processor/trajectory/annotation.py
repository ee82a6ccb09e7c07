"""The roll-up of a run on its root span, and the loop that a span goes on with, in passing.

SDKs send children before their parents, so that most of a run is known when its root comes. Nothing is held
back for the rest.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.run_document import roll_up, root_attributes
from spanledger.conventions.step import Step
from spanledger.conventions.trajectory.plain import totals_of
from spanledger.conventions.values import add_attributes
from spanledger.processor.trajectory.loops import MAX_STEPS
from spanledger.processor.trajectory.records import key_of
from spanledger.processor.trajectory.reports import Built

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.loops import Loop
    from spanledger.conventions.run import Completeness
    from spanledger.conventions.step import Bridge
    from spanledger.conventions.trajectory.plain import Totals
    from spanledger.conventions.values import Value
    from spanledger.processor.batch import Batch
    from spanledger.processor.trajectory.assembly import Assembly
    from spanledger.processor.trajectory.group import Group
    from spanledger.processor.trajectory.records import Key, Record

MAX_RECORDS: Final = 1_000
"""Spans of one run up to which it is rolled up in passing."""
LARGE: Final = 200
"""Spans from which on runs are built for another root only when they have grown by `AGAIN`."""
AGAIN: Final = 1.25

_ROOTS: Final = frozenset({"agent", "workflow", "other"})
_STRUCTURE: Final = frozenset({"other", "evaluation"})


def annotate(
    batch: Batch, steps: Sequence[Step], bridges: Sequence[Bridge], assembly: Assembly
) -> Generator[None, None, int]:
    """Write the roll-ups; return the roots that were passed over because there is too much below them."""
    by_trace: dict[bytes, list[Record]] = {}
    for step in steps:
        by_trace.setdefault(step.trace_id, []).append(step)
    for bridge in bridges:
        if bridge.trace_id in by_trace:
            by_trace[bridge.trace_id].append(bridge)
    candidates = {
        key_of(step): step.trace_id
        for step in steps
        if step.kind in _ROOTS and (not step.parent_span_id or step.remote_parent)
    }
    rooted = set(candidates.values())
    wanted: dict[Key, dict[str, Value]] = {}
    skipped = 0
    for trace_id, own in by_trace.items():
        group = assembly.store.group_of(trace_id)
        if group is not None and group.state != "open":
            continue
        if assembly.loops is not None:
            came = [record for record in own if isinstance(record, Step)]
            wanted.update({key: _loop(loop) for key, loop in assembly.loops.marked(group, came).items()})
        if trace_id in rooted:
            if _is_too_much(len(own) + (len(group) if group is not None else 0), group, assembly):
                skipped += 1
                continue
            present = _records(group, own)
            if (plain := _plain(present, group, trace_id, assembly)) is not None:
                # It is built when it is closed, which nobody waits for.
                root, totals = key_of(plain[0]), plain[1]
                run_id = f"{trace_id.hex()}-{root[16:].hex()}"
                wanted[root] = {**wanted.get(root, {}), **roll_up(run_id, totals, "success", "complete")}
            elif any(isinstance(one, Step) and one.kind not in _STRUCTURE for one in present.values()):
                built = yield from _build(present, group, assembly)
                assembly.remember(group.traces[0] if group is not None else trace_id, built)
                for run in built.runs:
                    key = trace_id + bytes.fromhex(run.root_span_id or "")
                    if key in candidates:
                        wanted[key] = {**wanted.get(key, {}), **root_attributes(run)}
        yield
    _write(batch, wanted)
    return skipped


def _is_too_much(records: int, group: Group | None, assembly: Assembly) -> bool:
    """Tell whether a root is passed over: a large group is not built again for each of its roots."""
    if records > MAX_RECORDS:
        return True
    before = assembly.built_at(group.traces[0]) if group is not None and records > LARGE else 0
    return before > LARGE and records < AGAIN * before


def _records(group: Group | None, own: Sequence[Record]) -> dict[Key, Record]:
    known = group.records() if group is not None else {}
    for record in own:
        known.setdefault(key_of(record), record)
    return known


def _plain(present: dict[Key, Record], group: Group | None, trace_id: bytes, assembly: Assembly) -> Totals | None:
    """Return the totals of a group if it is one plain run in which nothing was found."""
    if group is not None and (len(group.traces) > 1 or group.changes or group.told or group.judgements):
        return None
    rules, loops = assembly.recipe.rules, assembly.loops
    if rules is not None and (rules.max_steps, rules.max_depth, rules.max_duration_s) != (None, None, None):
        return None
    if loops is not None and (
        len(present) > MAX_STEPS or loops.found_in(group.traces[0] if group is not None else trace_id)
    ):
        return None
    return totals_of(present.values(), assembly.recipe.terminal_tools)


def _loop(loop: Loop) -> dict[str, Value]:
    return {
        "spanledger.loop.rule": loop.rule,
        "spanledger.loop.count": loop.count,
        "spanledger.loop.fingerprint": loop.fingerprint,
    }


def _build(present: dict[Key, Record], group: Group | None, assembly: Assembly) -> Generator[None, None, Built]:
    records = present.values()
    waits = any(
        record.parent_span_id and not record.remote_parent and record.trace_id + record.parent_span_id not in present
        for record in records
    )
    completeness: Completeness = "open" if waits else "complete"
    told = tuple((group.told or {}).values()) if group is not None else ()
    changes = group.changes if group is not None else 0
    runs = yield from assembly.recipe.making(records, completeness, told=told, usual=assembly.usual)
    return Built(frozenset(present), changes, completeness, runs)


def _write(batch: Batch, wanted: dict[Key, dict[str, Value]]) -> None:
    span_ids = {key[16:] for key in wanted}
    for group in batch.groups if wanted else ():
        for index, span in enumerate(group.items):
            if span is None or (span_id := span.span_id) not in span_ids:
                continue
            if (attributes := wanted.get(span.trace_id + span_id)) is not None:
                _put(span, attributes)
                group.changed.add(index)


def _put(span: Span, attributes: dict[str, Value]) -> None:
    """Write attributes onto a span, in the place of those of the same names."""
    if not attributes.keys().isdisjoint([pair.key for pair in span.attributes]):
        kept = [pair for pair in span.attributes if pair.key not in attributes]
        del span.attributes[:]
        span.attributes.extend(kept)
    add_attributes(span.attributes, attributes)
