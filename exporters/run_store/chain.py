"""The hash chain over everything that is stored.

The hash of an entry is sha256 over the hash of the entry before it, a line `SEQ KIND STORED_NS`, and the
entry's body, all as they are in the file::

    0 ──> entry 1 ──> entry 2 ──> … ──> head

So an entry cannot be changed, moved or taken out without a break behind it, and the head, which is stored
beside the chain, says where it ends. Retention takes entries away at the old end only, and in the same
transaction adds an entry of the kind `pruned` that says up to where and with which hash: what is left
verifies from there.

The chain has no secret: whoever can write the file and knows this rule can write a new chain. Only a head
that was noted elsewhere proves more, for it must still be in the chain (`verify(expected=…)`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["run", "replaced", "finding", "pruned"]

GENESIS: Final = bytes(32)
"""What stands for the hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the chain: the entry with number `seq` and its hash. Number 0 is before the first."""

    seq: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored entry as it is read from the file, which may be anything."""

    seq: int
    kind: str
    stored_ns: int
    body: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain does not hold."""

    seq: int
    """The entry that is wrong, or the first that is missing."""
    problem: str


def link(previous: bytes, seq: int, kind: str, stored_ns: int, body: bytes) -> bytes:
    """Return the hash of an entry that follows the hash `previous`."""
    digest = hashlib.sha256(previous)
    digest.update(f"{seq} {kind} {stored_ns}\n".encode("utf-8", "surrogateescape"))
    digest.update(body)
    return digest.digest()


def pruned(through: Mark, entries: int) -> str:
    """Return the body of the entry that says that `entries` entries were taken away, `through` the last."""
    return json.dumps({"schema": "spanledger.pruned/1", "through": through.seq, "hash": through.hash.hex(),
                       "entries": entries}, separators=(",", ":"))  # fmt: skip


def base(body: bytes | None) -> Mark:
    """Return where the chain begins, by its last `pruned` entry (None when there is none).

    A body that says nothing usable gives the beginning of all: verification then finds what is missing.
    """
    try:
        said = json.loads(body) if body is not None else {}
        return Mark(int(said["through"]), bytes.fromhex(said["hash"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Mark()


def verify(entries: Iterable[Entry], base: Mark, head: Mark, expected: bytes | None = None) -> Iterator[Break]:
    """Yield every place where `entries`, in order of their numbers, are not the chain from `base` to `head`.

    `expected` is a hash that was noted earlier: it must be the hash of one of the entries, or of `base`.
    """
    last = base
    met = expected is None or expected == base.hash
    for entry in entries:
        if entry.seq <= last.seq:
            yield Break(entry.seq, f"entry {entry.seq} is before the beginning of the chain at {last.seq + 1}")
            continue
        if entry.seq > last.seq + 1:
            yield Break(last.seq + 1, _missing(last.seq + 1, entry.seq - 1))
        elif link(last.hash, entry.seq, entry.kind, entry.stored_ns, entry.body) != entry.hash:
            yield Break(entry.seq, f"entry {entry.seq} is not what was stored")
        # The next is judged by the hash that is there: one change is one break.
        last = Mark(entry.seq, entry.hash)
        met = met or entry.hash == expected
    if last.seq < head.seq:
        yield Break(last.seq + 1, _missing(last.seq + 1, head.seq))
    elif last != head:
        yield Break(head.seq, f"the chain does not end where its head says, at entry {head.seq}")
    if not met:
        yield Break(head.seq, "the hash that was noted is not in the chain: it was written anew, or pruned since")


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
