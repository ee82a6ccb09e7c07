"""Bodies with a content encoding: damaged ones, bombs, and what is in them, through the receiver's whole intake."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib

import grpc
import zstandard

from spanledger.processor.batch import SIGNALS, Batch
from spanledger.processor.component import Rejected
from spanledger.receivers.otlp.admission import Admission
from spanledger.receivers.otlp.compression import HTTP_ENCODINGS, inflate
from spanledger.receivers.otlp.intake import Body, Intake
from tests.fakes import Numbers, host
from tests.fuzz.draw import Draw

LIMIT = 64 * 1024
_TAKEN = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
_PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "zlib": zlib.compress, "zstd": zstandard.compress}


def fuzz(data: bytes) -> None:
    """Never more than the limit comes out, and nobody is told of an error of ours."""
    draw = Draw(data)
    encoding = draw.pick(HTTP_ENCODINGS)
    sniff, as_json, packed, repeats = draw.flag(), draw.flag(), draw.flag(), draw.number(64)
    signal = draw.pick((*SIGNALS, None))
    body = draw.rest()
    if packed and encoding in _PACK:
        body = _PACK[encoding](body * (1 + repeats**2))
    with contextlib.suppress(Rejected):
        assert len(inflate(encoding, body, LIMIT)) <= LIMIT
    made = Body(body, "sniff" if sniff else encoding, as_json)
    asyncio.run(_take(signal, made))


async def _take(signal: object, body: Body) -> None:
    admission = Admission(4 * LIMIT)
    admission.open()
    intake = Intake(host("otlp", numbers=Numbers()), admission)

    async def consume(_batch: Batch) -> None:
        return

    async def read(_permit: object) -> Body:
        return body

    intake.consumers = dict.fromkeys(SIGNALS, consume)
    _, answer = await intake.take(signal, "http", LIMIT, read)  # type: ignore[arg-type]
    await intake.close()
    assert answer.code in _TAKEN, answer
    assert (admission.requests, admission.bytes) == (0, 0)
