"""The sidecar with something in its loop that notes how late the loop is: `python -m bench.watched FILE --config ...`.

Every millisecond it sleeps, and writes when it woke and how much too late to FILE when it ends; and to FILE.turns when
each callback of the loop ended and what CPU time it took, which others on the machine have little to do with. The times
are CLOCK_MONOTONIC, so others know which of them belong to what they did.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import time
from pathlib import Path

from spanledger.service.process import serve
from spanledger.service.sidecar import Sidecar

EVERY_S = 0.001


def lateness(path: Path, begin: float, end: float) -> list[float]:
    """Return how late the loop was, in seconds, each time it woke between two moments."""
    numbers = array.array("d", path.read_bytes())
    return [late for woke, late in zip(numbers[::2], numbers[1::2], strict=True) if begin <= woke <= end]


def turns(path: Path, begin: float, end: float) -> list[float]:
    """Return the CPU time, in seconds, of each callback that ended between two moments."""
    return lateness(path.with_suffix(".turns"), begin, end)


def note_turns(seen: array.array[float]) -> None:
    """Note the CPU time of each callback from now on."""
    plain = asyncio.Handle._run  # noqa: SLF001 - nothing public sees every callback

    def run(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        plain(handle)
        seen.extend((time.monotonic(), time.thread_time() - began))

    asyncio.Handle._run = run  # type: ignore[method-assign] # noqa: SLF001


async def watch(seen: array.array[float]) -> None:
    """Note how late the loop is until cancelled."""
    while True:
        due = time.monotonic() + EVERY_S
        await asyncio.sleep(EVERY_S)
        woke = time.monotonic()
        seen.extend((woke, woke - due))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--config", action="append", required=True)
    chosen = parser.parse_args()

    seen, taken = array.array("d"), array.array("d")
    note_turns(taken)

    async def act(_sidecar: Sidecar) -> None:
        await watch(seen)

    code = asyncio.run(serve(chosen.config, (), act))
    chosen.file.write_bytes(seen.tobytes())
    chosen.file.with_suffix(".turns").write_bytes(taken.tobytes())
    return code


if __name__ == "__main__":
    raise SystemExit(main())
