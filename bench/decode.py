"""What reading a request in two steps costs beside parsing it whole: `python bench/decode.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.processor.batch import decode, finish

SPANS, ATTRIBUTES, ROUNDS = 512, 20, 200


def request() -> bytes:
    """Return a request of 512 spans with 20 attributes each."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(1, SPANS + 1):
        span = scope.spans.add(trace_id=bytes(15) + b"\1", span_id=number.to_bytes(8, "big"), name="GET /")
        for index in range(ATTRIBUTES):
            span.attributes.add(key=f"app.attribute.{index}").value.string_value = "a value of usual length"
    return message.SerializeToString()


def best_us_per_span(work: Callable[[], object]) -> float:
    """Return the fastest of many rounds in microseconds a span."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) / SPANS * 1e6


def through(wire: bytes) -> bytes:
    """Read in two steps and write again, nothing changed."""
    return finish(finish(decode("traces", wire, 0)).serialize())


def main() -> None:
    """Print both ways and their ratio."""
    wire = request()
    whole = best_us_per_span(lambda: ExportTraceServiceRequest.FromString(wire))
    copied = best_us_per_span(lambda: ExportTraceServiceRequest.FromString(wire).SerializeToString())
    steps = best_us_per_span(lambda: finish(decode("traces", wire, 0)))
    passed = best_us_per_span(lambda: through(wire))
    print(f"{len(wire) / SPANS:.0f} bytes a span, {SPANS} spans a request, us per span:")
    print(f"  read whole           {whole:6.2f}      read and write whole      {copied:6.2f}")
    print(f"  read in two steps    {steps:6.2f}      read and pass unchanged   {passed:6.2f}")
    print(f"  ratio                {steps / whole:6.2f}                                {passed / copied:6.2f}")


if __name__ == "__main__":
    main()
