"""Bodies in protobuf: the outline, every item, writing them again, halving and shortening them."""

from __future__ import annotations

from spanledger.exporters.shrink import shrink
from spanledger.processor.batch import SIGNALS, Delivery, decode, finish, split
from spanledger.processor.component import Rejected
from tests.fuzz.draw import Draw


def fuzz(data: bytes) -> None:
    """Check that what is taken is written with the same items, that halves have them all, and a short one is short."""
    draw = Draw(data)
    signal = draw.pick(SIGNALS)
    edit = draw.flag()
    try:
        batch = finish(decode(signal, draw.rest(), 7))
    except Rejected:
        return
    if edit:
        for group in batch.groups:
            group.changed = {index for index, item in enumerate(group.items) if item is not None}
    items = batch.items()
    delivery = Delivery(signal, finish(batch.serialize()), items, 7)
    again = finish(decode(signal, delivery.data, 7))
    assert again.items() == items
    if (halves := split(delivery)) is not None:
        first, second = halves
        assert (first.items + second.items, first.items > 0 or second.items > 0) == (items, items > 0)
    if items == 1 and (shorter := shrink(delivery, 200)) is not None:
        assert shorter.size <= 200
