"""How long the normaliser takes per GenAI span, on the captures below a folder.

    python bench/normalize.py FOLDER [--profile]

FOLDER holds `*.traces.binpb[.gz]`: varint-delimited ExportTraceServiceRequests. Where the time goes:
`--profile`.
"""

from __future__ import annotations

import cProfile
import gzip
import pstats
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.reader import Reader
from spanledger.processor.genai_normalizer import apply

ROUNDS = 5
Found = tuple[str, str, Span]


def spans_of(path: Path) -> Iterator[Found]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    position = 0
    while position < len(data):
        size, position = _DecodeVarint32(data, position)
        for resource in TracesData.FromString(data[position : position + size]).resource_spans:
            for group in resource.scope_spans:
                for span in group.spans:
                    yield group.scope.name, group.scope.version, span
        position += size


def best_of(work: Callable[[list[Found]], None], spans: list[Found]) -> float:
    """Return the shortest time of some rounds in microseconds per span; each round has fresh spans."""
    best = float("inf")
    for _ in range(ROUNDS):
        fresh = [(scope, version, Span.FromString(span.SerializeToString())) for scope, version, span in spans]
        started = time.process_time()
        work(fresh)
        best = min(best, time.process_time() - started)
    return best / len(spans) * 1e6


def normalizing(reader: Reader, *, write: bool) -> Callable[[list[Found]], None]:
    def work(spans: list[Found]) -> None:
        for scope, version, span in spans:
            reading = reader.read(scope, version, span)
            if write and reading is not None:
                apply(span, reading)

    return work


def main() -> None:
    folder = Path(sys.argv[1])
    every = [found for path in sorted(folder.rglob("*.traces.binpb*")) for found in spans_of(path)]
    with_content, without = Reader(DIALECTS), Reader(DIALECTS, content=False)
    genai = [found for found in every if without.read(*found) is not None]
    others = [found for found in every if without.read(*found) is None]
    attributes = sum(len(span.attributes) for _, _, span in genai) / max(1, len(genai))
    print(f"{len(genai)} GenAI spans with {attributes:.1f} attributes each, {len(others)} others")
    for label, reader in (("without content", without), ("with content", with_content)):
        for part, write in (("read", False), ("read and write", True)):
            print(f"{label}, {part}: {best_of(normalizing(reader, write=write), genai):.1f} us per GenAI span")
    if others:
        print(f"no GenAI span: {best_of(normalizing(with_content, write=True), others):.1f} us")
    if "--profile" in sys.argv:
        with cProfile.Profile() as profile:
            normalizing(without, write=True)(genai)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
