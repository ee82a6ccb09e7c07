"""What reading a span's attributes off the wire outside Python would save: bench/kernel.c against protobuf.

    python bench/kernel.py [FOLDER]

Needs a C compiler. Microseconds of CPU a span, the shortest of some rounds; docs/performance.md says what follows.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.normalize import CORPUS, genai_spans
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.reader import Reader
from spanledger.conventions.values import key_value

ROUNDS = 10


def compiled(folder: Path) -> ModuleType:
    """Build and load bench/kernel.c."""
    made = folder / "kernel.so"
    source, headers = Path(__file__).with_suffix(".c"), sysconfig.get_path("include")
    subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", f"-I{headers}", source, "-o", made], check=True)
    spec = importlib.util.spec_from_file_location("kernel", made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values_too(span: Span) -> None:
    """Look at keys and values, as the reader does, and text and whole numbers first."""
    pairs = list(span.attributes)
    tuple([pair.key for pair in pairs])
    [value.string_value or value.int_value for value in [pair.value for pair in pairs]]


def written(span: Span, edits: Span) -> bytes:
    """Append attributes and serialise."""
    span.MergeFrom(edits)
    return span.SerializeToString()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=CORPUS)
    found = list(genai_spans(parser.parse_args().folder))
    spans = [group.spans[0] for _, group in found]
    wires = [span.SerializeToString() for span in spans]
    reader = Reader(DIALECTS, content=False)
    edits: list[Span] = []
    for (_, group), span in zip(found, spans, strict=True):
        reading = reader.read(group.scope.name, group.scope.version, span)
        present = {pair.key for pair in span.attributes}
        told = reading.edits.items() if reading is not None else ()
        edits.append(Span(attributes=[key_value(key, value) for key, value in told if key not in present]))
    raw_edits = [edit.SerializeToString() for edit in edits]
    with tempfile.TemporaryDirectory() as folder:
        apart = compiled(Path(folder)).apart
    for wire, span in zip(wires, spans, strict=True):
        assert apart(wire)[0] == tuple([pair.key for pair in span.attributes])
    ways: dict[str, Callable[[], Iterable[object]]] = {
        "protobuf: parse": lambda: map(Span.FromString, wires),
        "protobuf: parse, keys and values": lambda: map(values_too, map(Span.FromString, wires)),
        "C: keys and values": lambda: map(apart, wires),
        "protobuf: parse, append what is written, serialise": lambda: map(written, map(Span.FromString, wires), edits),
        "bytes: append what is written": lambda: map(bytes.__add__, wires, raw_edits),
    }
    print(f"{len(wires)} spans, {sum(len(span.attributes) for span in spans) / len(spans):.1f} attributes each")
    for name, work in ways.items():
        best = min(_spent_ns(work) for _ in range(ROUNDS))
        print(f"{name:55}{best / len(wires) / 1e3:8.2f}")


def _spent_ns(work: Callable[[], Iterable[object]]) -> int:
    began = time.process_time_ns()
    deque(work(), maxlen=0)
    return time.process_time_ns() - began


if __name__ == "__main__":
    main()
