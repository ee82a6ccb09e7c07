"""The load generator, a process of its own: `python -m bench.load JOB`, the job and the answer as JSON.

Closed: each connection sends its next request when the last one was answered, so the load is what the other side
takes. Open: requests leave when they are due whatever happens to those before, and their time counts from when they
were due, not from when there was room for them: a stall is seen in full ("coordinated omission" would hide it).
What is refused is counted, waited for, and sent again in a closed load; it does not count as sent.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.sink import EXPORT, OPTIONS
from bench.wires import Wire, first_span, tag

REFUSED_PAUSE_S = 0.01
TIMEOUT_S = 60.0
HOPELESS = 500
"""Requests in a row, from the first, that are refused: nothing will ever be taken."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, where and how."""

    address: str
    """One, or several with commas: connections take turns."""
    wires: str
    """File with the pickled requests."""
    first_tag: int
    """Tags from here on were not used before."""
    connections: int = 8
    seconds: float = 3.0
    rate: float = 0.0
    """Requests a second of an open load; 0 for a closed one."""
    most_requests: int = 0
    """End after so many requests; 0 for no limit."""


@dataclass(slots=True)
class Sent:
    """What became of it."""

    spans: int = 0
    requests: int = 0
    seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    """Of an open load: from when a request was due until it was answered."""
    due: dict[str, float] = field(default_factory=dict)
    """Of an open load: when the request that begins with a span was due, by CLOCK_MONOTONIC."""
    next_tag: int = 0


class Load:
    """One job."""

    def __init__(self, job: Job, wires: Sequence[Wire]) -> None:
        self._job = job
        self._wires = wires
        self._tags = itertools.count(job.first_tag)
        self._errors: Counter[str] = Counter()
        self.sent = Sent()

    async def run(self) -> Sent:
        """Send it all."""
        # Channels with the same options would share a connection.
        own = (*OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        addresses = itertools.cycle(self._job.address.split(","))
        channels = [grpc.aio.insecure_channel(next(addresses), own) for _ in range(self._job.connections)]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        exports = [channel.unary_unary(EXPORT) for channel in channels]
        began = time.monotonic()
        if self._job.rate:
            await self._open(exports, began)
        else:
            await asyncio.gather(*(self._closed(number, export, began) for number, export in enumerate(exports)))
        self.sent.seconds = time.monotonic() - began
        self.sent.errors = dict(self._errors)
        self.sent.next_tag = next(self._tags)
        await asyncio.gather(*(channel.close() for channel in channels))
        return self.sent

    async def _closed(self, number: int, export: Callable[..., Any], began: float) -> None:
        """Go round the requests, each round with a tag of its own, beginning elsewhere than the others."""
        at = number * len(self._wires) // self._job.connections
        fresh = tag(next(self._tags))
        while time.monotonic() - began < self._job.seconds:
            if self._job.most_requests and self.sent.requests >= self._job.most_requests:
                return
            if not self.sent.requests and self._errors.total() >= HOPELESS:
                return
            if at == len(self._wires):
                at, fresh = 0, tag(next(self._tags))
            if await self._send(export, self._wires[at], self._wires[at].fresh(fresh, time.time_ns())):
                at += 1
            else:
                await asyncio.sleep(REFUSED_PAUSE_S)

    async def _open(self, exports: Sequence[Callable[..., Any]], began: float) -> None:
        """Send each request when it is due."""
        fresh = b""
        tasks: set[asyncio.Task[None]] = set()
        for number in range(int(self._job.seconds * self._job.rate)):
            due = began + number / self._job.rate
            wire = self._wires[number % len(self._wires)]
            if number % len(self._wires) == 0:
                fresh = tag(next(self._tags))
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self._due(exports[number % len(exports)], wire, fresh, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _due(self, export: Callable[..., Any], wire: Wire, fresh: bytes, due: float) -> None:
        data = wire.fresh(fresh, time.time_ns())
        if await self._send(export, wire, data):
            self.sent.latencies_s.append(time.monotonic() - due)
            self.sent.due[first_span(data)] = due

    async def _send(self, export: Callable[..., Any], wire: Wire, data: bytes) -> bool:
        try:
            await export(data, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._errors[error.code().name] += 1
            return False
        self.sent.spans += wire.spans
        self.sent.requests += 1
        return True


def main() -> None:
    """Do the job of the command line."""
    job = Job(**json.loads(sys.argv[1]))
    wires = pickle.loads(Path(job.wires).read_bytes())
    gc.collect()
    gc.freeze()
    print(json.dumps(asdict(asyncio.run(Load(job, wires).run()))))


if __name__ == "__main__":
    main()
