"""The hash chain: whatever is done to the stored entries shows."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spanledger.exporters.run_store.chain import GENESIS, Entry, Mark, base, link, pruned, verify


def chain(bodies: list[bytes], start: Mark | None = None) -> tuple[list[Entry], Mark]:
    """Return entries as a store makes them, and the head."""
    start = start or Mark()
    entries: list[Entry] = []
    last = start
    for seq, body in enumerate(bodies, start.seq + 1):
        last = Mark(seq, link(last.hash, seq, "run", seq * 10, body))
        entries.append(Entry(seq, "run", seq * 10, body, last.hash))
    return entries, last


bodies = st.lists(st.binary(max_size=8), min_size=1, max_size=8)


def test_rule_can_be_followed_with_a_pencil() -> None:
    """sha256 over the previous hash, a line, and the body: nothing else is needed to check a file."""
    assert link(GENESIS, 1, "run", 5, b"{}") == hashlib.sha256(bytes(32) + b"1 run 5\n{}").digest()


@given(bodies, st.integers(0, 1000), st.binary(min_size=32, max_size=32))
def test_untouched_chain_holds(bodies: list[bytes], seq: int, start: bytes) -> None:
    """From the beginning, or from where retention left off."""
    entries, head = chain(bodies, Mark(seq, start))
    assert list(verify(entries, Mark(seq, start), head)) == []
    assert list(verify(entries, Mark(seq, start), head, expected=entries[0].hash)) == []


@given(bodies, st.data())
def test_any_change_of_an_entry_is_found(bodies: list[bytes], data: st.DataObject) -> None:
    """Its body, its kind, its time or its hash; and the break is said to be there."""
    entries, head = chain(bodies)
    at = data.draw(st.integers(0, len(entries) - 1))
    old = entries[at]
    entries[at] = data.draw(
        st.one_of(
            st.binary(max_size=9).map(lambda body: replace(old, body=body)),
            st.sampled_from(["finding", "pruned", ""]).map(lambda kind: replace(old, kind=kind)),
            st.integers(0, 99).map(lambda at_ns: replace(old, stored_ns=at_ns)),
            st.binary(min_size=32, max_size=32).map(lambda new: replace(old, hash=new)),
        ).filter(lambda new: new != old)
    )
    breaks = list(verify(entries, Mark(), head))
    assert breaks
    assert breaks[0].seq == old.seq


@given(bodies, st.data())
def test_any_deletion_is_found(bodies: list[bytes], data: st.DataObject) -> None:
    """At the beginning, in the middle, at the end, all of it."""
    entries, head = chain(bodies)
    gone = data.draw(st.sets(st.integers(0, len(entries) - 1), min_size=1))
    breaks = list(verify([entry for i, entry in enumerate(entries) if i not in gone], Mark(), head))
    assert breaks
    assert breaks[0].seq == min(gone) + 1
    assert "missing" in breaks[0].problem


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=8, unique=True), st.data())
def test_any_other_order_is_found(bodies: list[bytes], data: st.DataObject) -> None:
    """Documents that change places, with or without their hashes."""
    entries, head = chain(bodies)
    order = data.draw(st.permutations(range(len(entries))).filter(lambda order: order != sorted(order)))
    bodies_only = [replace(entry, body=entries[i].body) for entry, i in zip(entries, order, strict=True)]
    with_hashes = [replace(entries[i], seq=entry.seq) for entry, i in zip(entries, order, strict=True)]
    assert list(verify(bodies_only, Mark(), head))
    assert list(verify(with_hashes, Mark(), head))


@given(bodies, st.binary(max_size=8))
def test_additions_behind_the_head_are_found(bodies: list[bytes], more: bytes) -> None:
    """Even with a hash that fits."""
    entries, _ = chain([*bodies, more])
    head = Mark(len(bodies), entries[len(bodies) - 1].hash)
    assert list(verify(entries, Mark(), head))


@given(bodies, bodies)
def test_chain_written_anew_is_found_by_a_hash_noted_earlier(bodies: list[bytes], others: list[bytes]) -> None:
    """The rule is no secret: against whoever follows it only what was noted elsewhere helps."""
    _, noted = chain(bodies)
    entries, head = chain(others)
    breaks = list(verify(entries, Mark(), head, expected=noted.hash))
    assert bool(breaks) == (noted.hash not in {entry.hash for entry in entries})


def test_one_change_is_one_break() -> None:
    """What comes after is judged by what is there."""
    entries, head = chain([b"a", b"b", b"c", b"d"])
    entries[1] = replace(entries[1], body=b"B")
    entries[3] = replace(entries[3], body=b"D")
    assert [one.seq for one in verify(entries, Mark(), head)] == [2, 4]


def test_beginning_is_what_the_last_pruning_said() -> None:
    """And nonsense in its place is the very beginning."""
    mark = Mark(7, b"\x01" * 32)
    assert base(pruned(mark, 7).encode()) == mark
    assert base(None) == Mark()
    for nonsense in (b"", b"[]", b"null", b'{"through": "x", "hash": "zz"}', b"\xff", b"[" * 10_000):
        assert base(nonsense) == Mark()
