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

    Files and directories that are not there are warnings: the configuration may be another machine's. What is there and
    wrong is an error, as it is at the start: prices, and files and directories in the place of each other.
    """
    from spanledger.service.config import load
    from spanledger.service.nodes import ConfigError, InvalidConfig, Place
    from spanledger.service.premises import lacking, misread

    config = load(args.config, args.set, os.environ)
    warnings, errors = list(config.warnings), []
    for lack in lacking(config):
        trouble = config.root.trouble(lack.path, lack.message)
        if lack.is_wrong:
            errors.append(trouble)
        else:
            warnings.append(str(trouble))
    # They name the file and the line themselves.
    errors += [ConfigError((), Place(""), line) for line in misread(config)]
    if errors:
        raise InvalidConfig(errors, warnings)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"valid: {', '.join(map(str, config.pipelines))}")
    return 0
