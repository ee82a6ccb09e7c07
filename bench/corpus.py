"""The recorded spans that the benchmarks send: every capture below tests/fixtures/corpus."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

CORPUS: Final = Path(__file__).parents[1] / "tests" / "fixtures" / "corpus"


def captures(folder: Path = CORPUS) -> Iterator[tuple[str, bytes]]:
    """Yield `stack/scenario` of each capture and what it sent: requests, each preceded by its length."""
    for path in sorted(folder.rglob("*.tar.xz")):
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member)
                if file is not None and member.name.endswith("traces.binpb"):
                    stack = path.name.removesuffix(".tar.xz")
                    yield f"{stack}/{member.name.partition('.')[0]}", file.read()
    for path in sorted(folder.rglob("*.traces.binpb*")):
        yield (
            f"{path.parent.name}/{path.name.partition('.')[0]}",
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes(),
        )


def requests_of(capture: bytes) -> Iterator[ExportTraceServiceRequest]:
    """Yield the requests of one capture."""
    position = 0
    while position < len(capture):
        size, position = _DecodeVarint32(capture, position)
        yield ExportTraceServiceRequest.FromString(capture[position : position + size])
        position += size
