"""An OTLP/gRPC server as a process of its own: it accepts and drops, or does a part of the work first.

    python -m bench.sink [drop|count|walk] --address HOST:PORT [--delay SECONDS]

`walk` is the least that a proxy in plain Python has to do to look at everything: parse, walk over all attributes,
serialise. `/bench/Counts` answers how many requests and spans it took, and, since it was last
asked, when the request that begins with which span arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from typing import Any

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.wires import SPAN_MARK, first_span

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
COUNTS = "/bench/Counts"
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0))


def walk(data: bytes) -> bytes:
    """Parse, look at every attribute, write again."""
    request = ExportTraceServiceRequest.FromString(data)
    seen = 0
    for resource in request.resource_spans:
        for group in resource.scope_spans:
            for span in group.spans:
                for pair in span.attributes:
                    value = pair.value
                    if pair.key and getattr(value, value.WhichOneof("value") or "string_value") is not None:
                        seen += 1
    return request.SerializeToString() if seen else data


class Sink(grpc.GenericRpcHandler):
    """Serves any Export method, and the counts."""

    def __init__(self, work: str, delay_s: float) -> None:
        self._work = work
        self._delay_s = delay_s
        self._requests = self._spans = 0
        self._arrived: dict[str, float] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return what handles a call."""
        return grpc.unary_unary_rpc_method_handler(self._counts if details.method == COUNTS else self._export)

    async def _export(self, data: bytes, _context: object) -> bytes:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if self._work == "walk":
            walk(data)
        if self._work == "count":
            self._requests += 1
            self._spans += data.count(SPAN_MARK)
            self._arrived.setdefault(first_span(data), time.monotonic())
        return b""

    async def _counts(self, _data: bytes, _context: object) -> bytes:
        counts = {"requests": self._requests, "spans": self._spans, "arrived": self._arrived}
        self._arrived = {}
        return json.dumps(counts).encode()


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", nargs="?", choices=("drop", "count", "walk"), default="drop")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until it answers")
    parser.add_argument("--address", required=True)
    chosen = parser.parse_args()
    server = grpc.aio.server(options=OPTIONS)
    server.add_insecure_port(chosen.address)
    server.add_generic_rpc_handlers((Sink(chosen.work, chosen.delay),))
    await server.start()
    gc.collect()
    gc.freeze()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
