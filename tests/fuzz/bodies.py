"""Whole requests of real instrumentations, which targets change: the inputs of the golden files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from spanledger.processor.batch import Signal
from spanledger.receivers.otlp.json_codec import to_protobuf

GOLDEN: Final = Path(__file__).parents[1] / "golden"
MAX_BYTES: Final = 8_000
"""A larger one would make a slow target."""


@functools.cache
def requests(signal: Signal) -> tuple[bytes, ...]:
    """Return the requests of one signal in protobuf, always in the same order."""
    mark = b'"resourceLogs"' if signal == "logs" else b'"resourceSpans"'
    found = (path.read_bytes() for path in sorted(GOLDEN.glob("*/*/input.json")))
    return tuple(to_protobuf(signal, body)[0] for body in found if mark in body and len(body) <= MAX_BYTES)
