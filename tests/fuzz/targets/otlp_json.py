"""Bodies in OTLP/JSON, and what the file and debug exporters write of them."""

from __future__ import annotations

import json

from spanledger.exporters.debug import render
from spanledger.exporters.otlp_json import to_json
from spanledger.processor.batch import SIGNALS, Delivery, decode, finish
from spanledger.processor.component import Rejected
from spanledger.receivers.otlp.json_codec import to_protobuf
from tests.fuzz.draw import Draw


def fuzz(data: bytes) -> None:
    """Check that what is taken decodes as protobuf, and has the same items when it is said in JSON again."""
    draw = Draw(data)
    signal = draw.pick(SIGNALS)
    try:
        wire, _left_out = to_protobuf(signal, draw.rest(), 1_000_000)
        batch = finish(decode(signal, wire, 7))
    except Rejected:
        return
    text, unread = to_json(signal, batch.wire)
    json.loads(text)
    again, left_out = to_protobuf(signal, text.encode(), 10_000_000)
    if not unread and not batch.rejected:
        assert not left_out
        assert finish(decode(signal, again, 7)).items() == batch.items()
    for verbosity in ("normal", "detailed"):
        lines = render(Delivery(signal, batch.wire, batch.items(), 7), verbosity)
        assert all(line.isprintable() for text in lines for line in text.splitlines())
