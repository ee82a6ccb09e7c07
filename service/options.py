"""The arguments that every command with a configuration has."""

from __future__ import annotations

import argparse


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--config` and `--set`; `config.load` takes both lists, `args.config` and `args.set`."""
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="a configuration: path, file:path, env:NAME, yaml:text, default: for the packaged otel-config.yaml, or "
        "preset:NAME for a backend (docs/backends.md); later ones are merged over earlier ones (without any, or with "
        "presets only, over default:)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value, such as exporters.debug.verbosity=detailed; a name with dots in it takes :: "
        "between the levels",
    )
