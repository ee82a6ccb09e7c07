"""`spanledger components`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanledger.processor.component import Registration, Registry

NAME = "components"
HELP = "list what a configuration may name, with signals and stability"
EXAMPLES = """\
  spanledger components
  spanledger components --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of YAML")


def run(args: argparse.Namespace) -> int:
    """Print the components, in the form of the Collector's command of this name."""
    import yaml

    from spanledger.processor.component import REGISTRY

    listed = listing(REGISTRY.discover())
    if args.json:
        json.dump(listed, sys.stdout, indent=2)
        print()
    else:
        yaml.safe_dump(listed, sys.stdout, sort_keys=False, width=120)
    return 0


def listing(registry: Registry) -> dict[str, Any]:
    """Return everything that configurations may name."""
    from spanledger import __version__
    from spanledger.processor.component import KINDS
    from spanledger.service.confmap import SCHEMES

    build = {"command": "spanledger", "description": "OpenTelemetry sidecar for AI agents", "version": __version__}
    components = {f"{kind}s": [_describe(entry) for entry in registry.of(kind).values()] for kind in KINDS}
    return {"buildinfo": build, **components, "providers": [{"scheme": scheme} for scheme in SCHEMES]}


def _describe(registration: Registration) -> dict[str, Any]:
    stability = registration.stability.capitalize()
    if registration.kind == "extension":
        signals = ["extension"]
    elif registration.feeds:
        signals = [f"{taken}-to-{fed}" for taken in registration.signals for fed in registration.feeds]
    else:
        signals = list(registration.signals)
    return {
        "name": registration.type,
        "module": registration.factory.__module__,
        "summary": registration.summary,
        "stability": dict.fromkeys(signals, stability),
    }
