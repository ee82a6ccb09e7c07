"""`spanledger demo`."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys

from spanledger.service.options import add_config_arguments

NAME = "demo"
HELP = "run the sidecar, play sample agents at it through the OpenTelemetry SDK, and show what it sees"
EXAMPLES = """\
  spanledger demo
  spanledger demo --once
  spanledger demo --set exporters.prometheus.endpoint=localhost:9999
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config_arguments(parser)
    parser.add_argument("--once", action="store_true", help="play one round, show it and end")


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0 when it ended as asked, 1 when something failed, 2 on bad configuration."""
    from spanledger.service.demo.performance import DemoFailed, perform
    from spanledger.service.process import serve

    # The sidecar's own log would bury the table; what goes wrong still shows.
    sets = ["service.telemetry.logs.level=warn", *args.set]
    try:
        return asyncio.run(serve(args.config, sets, functools.partial(perform, once=args.once)))
    except DemoFailed as error:
        print(f"spanledger demo: {error}", file=sys.stderr)
        return 1
