"""`spanledger run`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal

from spanledger.service.options import add_config_arguments

NAME = "run"
HELP = "run the sidecar until SIGTERM or Ctrl-C; SIGHUP reloads the configuration"
EXAMPLES = """\
  spanledger run
  spanledger run --config default: --config production.yaml
  spanledger run --set exporters.otlp.endpoint=tempo:4317
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the sidecar. Returns 0 when everything accepted was delivered, 1 when not, 2 on bad configuration."""
    # What is imported stays: looking for garbage in it is a tenth of the start. `young_only` switches it on again.
    gc.disable()
    # Until the reload is there, a SIGHUP must not be what it is by default: the end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from spanledger.service.process import serve

    code = asyncio.run(serve(args.config, args.set))
    # The end looks for garbage in all that is left of open runs, which may take seconds, and nobody needs it.
    gc.freeze()
    return code
