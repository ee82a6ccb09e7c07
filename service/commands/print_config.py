"""`spanledger print-config`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from spanledger.service.options import add_config_arguments

NAME = "print-config"
HELP = "print the configuration as it will run: merged, references followed, defaults filled in, secrets masked"
EXAMPLES = """\
  spanledger print-config
  spanledger print-config --config otel-config.yaml --set exporters.debug.verbosity=detailed
  spanledger print-config --format json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config_arguments(parser)
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml", help="how to print it (default: yaml)")


def run(args: argparse.Namespace) -> int:
    """Print the configuration. Raises `InvalidConfig` when it cannot run: nothing is printed then."""
    import yaml

    from spanledger.service.config import load
    from spanledger.service.masking import masked

    config = load(args.config, args.set, os.environ)
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    shown = _escaped(masked(config.as_dict()))
    if args.format == "json":
        json.dump(shown, sys.stdout, indent=2)
        print()
    else:
        yaml.safe_dump(shown, sys.stdout, sort_keys=False, allow_unicode=True, width=120)
    return 0


def _escaped(value: Any) -> Any:
    """Double the dollar signs, so that what is printed reads back as the same configuration."""
    if isinstance(value, dict):
        return {name: _escaped(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_escaped(child) for child in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
