"""A connected set of traces, and what its spans say about whether more will come.

Spans are sent when they have ended, children mostly before their parents. So a span that is still open
shows only in its children: they name a parent that has not come. As long as such a parent is in the
same process, it is still running or lost. A parent in another process may be one that nobody reports
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory.tree import RUNNERS
from spanledger.processor.trajectory.packing import KEY_BYTES, Kept, keys_of, pack, sizes, unpack_one
from spanledger.processor.trajectory.records import Key, Record, richer

if TYPE_CHECKING:
    from spanledger.conventions.loops import Loop
    from spanledger.conventions.run import Completeness
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.trajectory.emitted import Emitted
    from spanledger.processor.trajectory.origins import Origin, Origins

State = Literal["open", "closed", "revised", "gone"]
"""See the state machine in `store`."""

Phase = Literal["running", "remote", "waiting", "joinable", "alone", "ended"]
"""What the spans say: a parent is missing; only a parent elsewhere is; no model has read a tool's result yet; another
call may join by its conversation; it is a tool or a failure that another group may know more of; nothing is open."""

Label = tuple[str, str]
"""(service name, agent name)."""

LOOSE_KINDS: Final = frozenset({"llm", "embedding", "retrieval", "tool"})
GROUP_BYTES: Final = 1_000
JUDGEMENT_BYTES: Final = 600
HOT_BYTES: Final = 3_000
"""Of a record that is not packed, about; content comes to it."""

PIECE: Final = 128
"""Records that are packed to one piece of bytes at most."""
INDEX_BYTES: Final = 110
"""Of a key in `Group.index`."""

_MAX_PACKED: Final = 4
"""Pieces of packed records, before they are made one."""
_SMALL: Final = 256
"""Records of a group up to which that is worth it."""
_INDEXED: Final = 64
"""Packed records from which on their keys are looked up, and not searched for."""


def is_loose(record: Record) -> bool:
    """Tell whether a call has nothing above it: its instrumentation makes each call a trace."""
    return not record.parent_span_id and isinstance(record, Step) and record.kind in LOOSE_KINDS


@dataclass(slots=True, eq=False)
class Group:
    """The records of one connected set of traces. Times are `host.monotonic` seconds of arrival."""

    number: int
    opened_s: float
    touched_s: float
    traces: tuple[bytes, ...]
    state: State = "open"
    hot: dict[Key, Record] | None = None
    """The records that came lately."""
    packed: tuple[bytes, ...] = ()
    """The others, see `packing`."""
    keys: bytes = b""
    """Their keys, see `Kept`."""
    index: dict[Key, int] | None = None
    """Of many of them: key -> the place among the packed ones, `PIECE` for each piece."""
    stale: int = 0
    """How many of them are no longer what is known of their span."""
    origins: tuple[Origin, ...] = ()
    """What packed steps refer to."""
    changes: int = 0
    """How often a record was replaced by a better one."""
    missing: dict[Key, bool] | None = None
    """Parents that have not come -> whether a child of theirs in the same process was seen."""
    local_missing: int = 0
    """How many of `missing` are in the same process."""
    tops: int = 0
    """Spans without a parent."""
    loose: int = 0
    """Those of them that are calls with nothing above."""
    steps: int = 0
    work: int = 0
    """Those of them that are more than structure."""
    runners: int = 0
    """Agents and workflows among them."""
    began_ns: int = 0
    """When the first of them began, by their own clocks; 0 where none says."""
    ended_ns: int = 0
    cost_pico_usd: int = 0
    label: Label = ("", "")
    asked: set[str] | None = None
    """Loose calls: tool-call ids that a model asked for."""
    answered: set[str] | None = None
    """Loose calls: tool-call ids whose result a model has read."""
    joinable: bool = False
    """A call without an agent has a conversation but no content that would say whether it was the last."""
    alone: bool = False
    """All spans without a parent are tools, or calls that tell no id: they may be work of another group."""
    served: bool = False
    """All of them are tools, as a server reports them: the other side is in another process, and may come later."""
    size_bytes: int = GROUP_BYTES
    due_s: float = 0.0
    queued_s: float = float("inf")
    """The earliest entry in the queue of deadlines."""
    emitted: dict[str, Emitted] | None = None
    """Run id -> what was last said of it."""
    judgements: list[Judgement] | None = None
    """Evaluations that came by themselves."""
    completeness: Completeness = "open"
    """Of the runs that were reported last."""
    merged_into: Group | None = None
    leaving: int = 0
    """How often it was closed or revised and is yet to be told of."""
    shown: Label | None = None
    """The label under which its size is in the gauges."""
    told: dict[str, Loop] | None = None
    """Loops that were told of, by their fingerprints."""

    def living(self) -> Group | None:
        """Return the group that this one is part of by now; None when it was forgotten."""
        group = self
        while group.merged_into is not None:
            group = group.merged_into
        return None if group.state == "gone" else group

    def same_trace(self, trace_id: bytes) -> bytes:
        """Return an equal id, mostly the object that is kept anyway: each span comes with its own."""
        return self.traces[0] if trace_id == self.traces[0] else trace_id

    def phase(self) -> Phase:
        """Return what the spans say about what is to come."""
        if self.local_missing or not (self.tops or self.missing):
            return "running"
        if self.missing:
            return "remote"
        if self.loose and self.loose == self.tops:
            if self.asked and self.asked - (self.answered or set()):
                return "waiting"
            if self.joinable:
                return "joinable"
            if self.alone:
                return "alone"
        return "ended"

    # -- records --

    def __len__(self) -> int:
        return len(self.keys) // KEY_BYTES - self.stale + len(self.hot or ())

    def __bool__(self) -> bool:
        return True

    def __contains__(self, key: Key) -> bool:
        return (self.hot is not None and key in self.hot) or self._place(key) >= 0

    def kept(self) -> Kept:
        """Return the records as they are now."""
        return Kept({**(self.hot or {})}, self.packed, self.keys, self.origins)

    def records(self) -> dict[Key, Record]:
        """Return all records, those that came first at the beginning."""
        return self.kept().records()

    def record(self, key: Key) -> Record | None:
        """Return one record; None when it is not there."""
        if self.hot is not None and key in self.hot:
            return self.hot[key]
        place = self._place(key)
        if place < 0:
            return None
        if self.index is None:
            return unpack_one(self.packed, place, self.origins)
        return unpack_one(self.packed[place // PIECE :], place % PIECE, self.origins)

    def put(self, key: Key, record: Record) -> None:
        """Add a span that is new to the group."""
        if self.hot is None:
            self.hot = {}
        self.hot[key] = record
        self.size_bytes += _hot_bytes(record)
        was_missing = self.missing.pop(key[:24], None) if self.missing else None
        if was_missing:
            self.local_missing -= 1
        if not record.parent_span_id or record.parent_span_id == record.span_id:
            self.tops += 1
            self.loose += is_loose(record)
        else:
            self._expect(record)
        if isinstance(record, Step):
            self._note(record)

    def pack(self, origins: Origins, at_most: int = PIECE) -> None:
        """Make one piece of bytes of the records that have waited longest."""
        if self.packed[_MAX_PACKED:] and len(self) <= _SMALL:
            self._unpack()
        at_most = min(at_most, PIECE)
        hot = dict(islice((self.hot or {}).items(), at_most))
        self.hot = dict(islice((self.hot or {}).items(), at_most, None)) or None
        if not hot:
            return
        first, kept = PIECE * len(self.packed), [*self.origins]
        self.packed = (*self.packed, pack(hot.values(), origins, kept))
        self.keys += b"".join(key.ljust(KEY_BYTES, b"\0") for key in hot)
        if self.index is not None:
            self.index.update(zip(hot, range(first, first + len(hot)), strict=True))
        elif len(self.keys) > _INDEXED * KEY_BYTES:
            places = (number * PIECE + place for number, size in enumerate(sizes(self.packed)) for place in range(size))
            self.index = dict(zip(keys_of(self.keys), places, strict=True))
        self.origins = origins.together(kept)
        self.size_bytes = self._size()

    def clear(self) -> None:
        """Give up all that takes room: indexes remember a group for longer than it is of use."""
        self.hot, self.packed, self.keys, self.origins, self.index, self.stale = None, (), b"", (), None, 0
        self.missing = self.emitted = self.judgements = self.told = self.asked = self.answered = None

    def replace(self, key: Key, record: Record) -> bool:
        """Keep the better of two reports of one span; tell whether that is the new one."""
        kept = self.record(key)
        better = record if kept is None else richer(kept, record)
        if better is kept:
            return False
        self.exchange(key, better)
        return True

    def exchange(self, key: Key, better: Record) -> None:
        """Put another report of the same span in the place of the one that is there."""
        kept = self.record(key)
        assert kept is not None
        if self.hot is None:
            self.hot = {}
        if key in self.hot:
            self.size_bytes -= _hot_bytes(kept)
        else:
            self.stale += 1
        self.hot[key] = better
        self.size_bytes += _hot_bytes(better)
        if 2 * self.stale * KEY_BYTES > len(self.keys):
            self._unpack()
        self.changes += 1
        if isinstance(kept, Step):
            self.steps -= 1
            self.work -= kept.kind != "other"
            self.runners -= kept.kind in RUNNERS
            self.cost_pico_usd -= cost_of(kept)
        if isinstance(better, Step):
            self._note(better)

    def _place(self, key: Key) -> int:
        """Return the place of a record among the packed ones; -1 when it is not there."""
        if self.index is not None:
            return self.index.get(key, -1)
        filled = key.ljust(KEY_BYTES, b"\0")
        found = self.keys.rfind(filled)
        while found % KEY_BYTES > 0 and found >= 0:
            found = self.keys.rfind(filled, 0, found + KEY_BYTES - 1)
        return found // KEY_BYTES

    def _unpack(self) -> None:
        self.hot = self.records()
        self.packed, self.keys, self.origins, self.index, self.stale = (), b"", (), None, 0
        self.size_bytes = self._size()

    def _size(self) -> int:
        hot = sum(map(_hot_bytes, self.hot.values())) if self.hot else 0
        judged = JUDGEMENT_BYTES * len(self.judgements or ())
        indexed = INDEX_BYTES * len(self.index or ())
        return GROUP_BYTES + hot + sum(map(len, self.packed)) + len(self.keys) + indexed + judged

    def absorb(self, other: Group) -> None:
        """Take everything of a group that turned out to be connected with this one."""
        self.opened_s = min(self.opened_s, other.opened_s)
        self.touched_s = max(self.touched_s, other.touched_s)
        self.traces += other.traces
        if other.packed:
            other._unpack()
        self.hot = self.hot if self.hot is not None else {}
        self.hot.update(other.hot or {})
        self.size_bytes += other.size_bytes - GROUP_BYTES
        # Keys begin with trace ids and no trace is in two groups: no parent that one misses is in the other.
        if other.missing:
            self.missing = {**(self.missing or {}), **other.missing}
        self.local_missing += other.local_missing
        self.tops += other.tops
        self.loose += other.loose
        self.steps += other.steps
        self.work += other.work
        self.runners += other.runners
        self._extend(other.began_ns, other.ended_ns)
        self.cost_pico_usd += other.cost_pico_usd
        self.joinable = self.joinable or other.joinable
        self.alone = self.alone and other.alone
        self.served = self.served and other.served
        if other.asked or other.answered:
            self.asked = (self.asked or set()) | (other.asked or set())
            self.answered = (self.answered or set()) | (other.answered or set())
        if other.told:
            self.told = {**(self.told or {}), **other.told}
        if other.emitted:
            self.emitted = {**(self.emitted or {}), **other.emitted}
        if other.judgements:
            self.judgements = [*(self.judgements or ()), *other.judgements]
        if not self.label[1]:
            self.label = other.label
        other.merged_into = self
        other.clear()

    def _expect(self, record: Record) -> None:
        parent = record.trace_id + record.parent_span_id
        if parent in self:
            return
        if self.missing is None:
            self.missing = {}
        local = not record.remote_parent
        known = self.missing.get(parent)
        if local and not known:
            self.local_missing += 1
        self.missing[parent] = local or bool(known)

    def _extend(self, began_ns: int, ended_ns: int) -> None:
        if began_ns > 0:
            self.began_ns = min(self.began_ns or began_ns, began_ns)
            self.ended_ns = max(self.ended_ns, ended_ns)

    def _note(self, step: Step) -> None:
        self.steps += 1
        self.work += step.kind != "other"
        self.runners += step.kind in RUNNERS
        self._extend(step.start_ns, step.end_ns)
        self.cost_pico_usd += cost_of(step)
        top = step.kind in RUNNERS and not step.parent_span_id
        if step.agent_name and (top or not self.label[1]):
            self.label = _label(step.service_name, step.agent_name)
        elif not self.label[0]:
            self.label = _label(step.service_name, "")
        if not is_loose(step):
            return
        self.alone = self.tops == 1 and (step.kind == "tool" or not step.response_id)
        self.served = self.tops == 1 and step.kind == "tool"
        detail = step.detail
        self.joinable = self.joinable or (bool(step.conversation_id) and (detail is None or detail.after is None))
        if detail is not None and (detail.requests or detail.answered):
            self.asked = {*(self.asked or ()), *(request.id for request in detail.requests)}
            self.answered = {*(self.answered or ()), *detail.answered}


@lru_cache(maxsize=1_024)
def _label(service_name: str, agent_name: str) -> Label:
    """Return both, the same object again: most groups have one of a few."""
    return service_name, agent_name


def _hot_bytes(record: Record) -> int:
    if isinstance(record, Bridge) or record.detail is None:
        return HOT_BYTES
    return HOT_BYTES + len(record.detail.input or "") + len(record.detail.said or "")


def cost_of(step: Step) -> int:
    """Return the money that a step counts for, in pico-dollars; 0 for what is counted elsewhere or unknown."""
    cost = step.cost
    if cost is None or cost.total is None or cost.status not in ("priced", "conflict"):
        return 0
    return cost.total
