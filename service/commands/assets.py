"""`spanledger assets`: write dashboards, rules and runbooks where Grafana, Prometheus and people find them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

NAME = "assets"
HELP = "write dashboards, recording rules, alerts, Alertmanager routing, runbooks and presets of backends"
EXAMPLES = """\
  spanledger assets ./observability
  spanledger assets ./observability --values values.yaml    # with your own thresholds and links
  spanledger assets ./observability --runbooks https://wiki.example.org/runbooks
"""

FOLDERS: Final = ("grafana", "prometheus", "alertmanager", "runbooks", "backends")
"""What of deploy/ is written; the others are for those who deploy the sidecar itself."""
_KINDS: Final = (".json", ".yaml", ".md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("directory", metavar="DIR", help="where to; made if it is not there, files in it are replaced")
    parser.add_argument(
        "--values",
        metavar="FILE",
        help="thresholds and links that differ from the defaults; it is DIR/values.yaml then",
    )
    parser.add_argument(
        "--runbooks",
        metavar="URL",
        help="where alerts lead to, before /<Alert>.md (links::runbooks in DIR/values.yaml)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the files. Returns 0; 1 when they cannot be written; 2 for values that cannot be used."""
    from spanledger.service.assets import values, write

    source = Path(__file__).resolve().parents[2] / "deploy"
    read_last = str(source)
    try:
        text = (source / write.VALUES).read_text()
        numbers = values.read(text)
        if args.values:
            read_last = args.values
            text = Path(args.values).read_text()
            numbers = values.read(text, numbers)
        if args.runbooks:
            read_last = "--runbooks"
            text = values.with_value(text, "links", "runbooks", args.runbooks.rstrip("/"))
            numbers = values.read(text, numbers)
    except (OSError, UnicodeDecodeError, values.BadValues) as error:
        print(f"spanledger assets: {read_last}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    files = {
        str(path.relative_to(source)): path.read_text()
        for folder in FOLDERS
        for path in sorted((source / folder).rglob("*"))
        if path.suffix in _KINDS
    }
    files |= {write.README: (source / write.README).read_text(), write.VALUES: text, **write.render(numbers)}
    try:
        write.write(Path(args.directory), files)
    except OSError as error:
        print(
            f"spanledger assets: cannot write to {error.filename or args.directory}: {error.strerror}", file=sys.stderr
        )
        return 1
    counts = {folder: sum(path.startswith(f"{folder}/") for path in files) for folder in FOLDERS}
    print(f"{args.directory}: " + ", ".join(f"{folder} ({count})" for folder, count in counts.items() if count))
    print(f"alerts lead to {numbers['links.runbooks']}: --runbooks URL if yours are elsewhere")
    return 0
