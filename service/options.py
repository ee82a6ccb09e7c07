"""What several commands declare alike: the configuration, and actions below a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_action(
    actions: Any, name: str, action: Callable[..., int], help_: str, examples: str
) -> argparse.ArgumentParser:
    """Declare an action of a command; what it is called with finds it as `args.action`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(action=action)
    return parser


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
