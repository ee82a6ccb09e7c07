"""`spanledger validate`."""

from __future__ import annotations

import argparse
import os
import sys

from spanledger.service.options import add_config_arguments

NAME = "validate"
HELP = "check a configuration without running it"
EXAMPLES = """\
  spanledger validate --config otel-config.yaml
  spanledger validate --config base.yaml --config production.yaml --set service.telemetry.logs.level=debug
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check the configuration. Returns 0 when it is valid; raises `InvalidConfig` when it is not.

    Files and directories that are not there are warnings: the configuration may be another machine's. Prices that are
    there and wrong are errors, as they are at the start.
    """
    from spanledger.service.config import load
    from spanledger.service.premises import lacking, misread

    config = load(args.config, args.set, os.environ)
    for warning in (*config.warnings, *lacking(config)):
        print(f"warning: {warning}", file=sys.stderr)
    if wrong := misread(config):
        print("\n".join(wrong), file=sys.stderr)
        return 2
    print(f"valid: {', '.join(map(str, config.pipelines))}")
    return 0
