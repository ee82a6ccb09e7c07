"""`spanledger demo`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from spanledger.service.options import add_config_arguments

NAME = "demo"
HELP = "run the sidecar, play sample agents at it through the OpenTelemetry SDK, and show what it sees"
EXAMPLES = """\
  spanledger demo
  spanledger demo --once
  spanledger demo --endpoint localhost:4317  # play at a sidecar that runs already
  spanledger demo --set exporters.prometheus.endpoint=localhost:9999
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config_arguments(parser)
    parser.add_argument("--once", action="store_true", help="play one round, show it and end")
    parser.add_argument(
        "--endpoint", metavar="HOST:PORT", help="play over OTLP/gRPC, without TLS, at what runs there; start no sidecar"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0 when it ended as asked, 1 when something failed, 2 on bad configuration."""
    from spanledger.service.demo.performance import DemoFailed, perform, play_at
    from spanledger.service.process import serve

    # The sidecar's own log would bury the table; what goes wrong still shows.
    sets = ["service.telemetry.logs.level=warn", *args.set]
    try:
        if args.endpoint:
            return asyncio.run(_until_stopped(play_at(args.endpoint, once=args.once)))
        return asyncio.run(serve(args.config, sets, functools.partial(perform, once=args.once)))
    except DemoFailed as error:
        print(f"spanledger demo: {error}", file=sys.stderr)
        return 1


async def _until_stopped(playing: Coroutine[Any, Any, None]) -> int:
    """Play until it ends or is told to: the first process of a container gets no signal that it does not ask for."""
    task = asyncio.ensure_future(playing)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 0
