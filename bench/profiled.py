"""The sidecar under full load with a profiler attached, and where its time goes by what that wrote.

    python -m bench.profiled COMMAND ...    `{pid}` is the sidecar's
    python -m bench.profiled --read FILE    stacks as `py-spy record --format raw` writes them, one and its count a line

So:

    python -m bench.profiled py-spy record --gil --rate 250 --duration 20 --format raw --output spy.txt --pid {pid}
    python -m bench.profiled perf record --freq 499 --output perf.data --pid {pid} -- sleep 20
    perf report --input perf.data --sort dso --stdio
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bench.bed import Bed
from bench.measures.throughput import MAIN
from bench.report import table
from bench.sides import spanledger

_WARM_S: Final = 6.0
"""Until what is remembered of each stack of the mix is known."""
_TURN_S: Final = 3.0
_SHOWN: Final = 12
_FRAME: Final = re.compile(r"(?P<function>.+) \((?P<file>[^()]+?)(?::(?P<line>\d+))?\)")
_OURS: Final = re.compile(r".*?((?:service|receivers|processor|exporters|extensions|conventions)/[\w/]+\.py)")


def main() -> int:
    """Profile, or read a profile."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.profiled", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--read", type=Path, metavar="FILE", help="print the tables of a profile")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the profiler; {pid} is replaced")
    chosen = parser.parse_args()
    if chosen.read:
        print(*tables(chosen.read.read_text().splitlines()), sep="\n")
        return 0
    if not chosen.command:
        parser.error("name the command of a profiler, see the examples")
    return profiled(chosen.command)


def profiled(command: list[str]) -> int:
    """Run a profiler beside the sidecar while that has all it can do; return its exit code."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Bed(Path(directory), quick=True).open() as bed,
        contextlib.ExitStack() as stack,
    ):
        running = bed.start(stack, "spanledger", spanledger())
        if running is None:
            print(f"the sidecar does not run: {bed.missing}", file=sys.stderr)
            return 1
        bed.load(running.grpc, MAIN, _WARM_S)
        over = threading.Event()

        def send() -> None:
            while not over.is_set():
                bed.load(running.grpc, MAIN, _TURN_S)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            named = [word.replace("{pid}", str(running.pid)) for word in command]
            return subprocess.run(named, check=False).returncode
        finally:
            over.set()
            sending.join()


def tables(stacks: Iterable[str]) -> Iterator[str]:
    """Yield tables of the shares of files, functions and lines: of their own, and with what they call."""
    own: dict[str, Counter[str]] = {"file": Counter(), "function": Counter(), "line": Counter()}
    within: Counter[str] = Counter()
    total = 0
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        if not count.isdigit():
            continue
        total += int(count)
        read = [names for frame in frames.split(";") if (names := _names(frame))]
        within.update({file: int(count) for file in {names["file"] for names in read}})
        if read:
            for kind, shares in own.items():
                shares[read[-1][kind]] += int(count)
    yield f"{total:,} samples"
    for kind, shares in own.items():
        rows = [
            (name, f"{count / total:.1%}", *([f"{within[name] / total:.1%}"] if kind == "file" else []))
            for name, count in shares.most_common(_SHOWN)
        ]
        yield ""
        yield from table((kind, "its own", *(["with what it calls"] if kind == "file" else [])), rows)


def _names(frame: str) -> dict[str, str] | None:
    """Return file, function and line of a frame, files of ours by their path in the project."""
    found = _FRAME.fullmatch(frame)
    if found is None:
        return None
    path = ours[1] if (ours := _OURS.fullmatch(found["file"])) else Path(found["file"]).name
    return {
        "file": path,
        "function": f"{path} {found['function']}",
        "line": f"{path}:{found['line']}" if found["line"] else path,
    }


if __name__ == "__main__":
    sys.exit(main())
