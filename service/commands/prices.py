"""`spanledger prices`: what has no price, whether a file with prices is right, and which lists are in use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanledger.service.options import add_action

if TYPE_CHECKING:
    from spanledger.exporters.run_store.reader import RunReader
    from spanledger.service.unpriced import Unpriced

NAME = "prices"
HELP = "look at prices: unpriced, check, sources"
EXAMPLES = """\
  spanledger prices unpriced > prices.yaml     # then fill in the blanks
  spanledger prices check prices.yaml
  spanledger prices sources
"""

URL: Final = "http://127.0.0.1:9464/metrics"
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 256 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    one = add_action(actions, "unpriced", _unpriced, "print what has no price, as a file to fill in", """\
  spanledger prices unpriced > prices.yaml
  spanledger prices unpriced --url http://sidecar:9464/metrics
  spanledger prices unpriced --store ./spanledger-data --json
""")  # fmt: skip
    where = one.add_mutually_exclusive_group()
    where.add_argument("--url", default=URL, help=f"metrics of a running sidecar (default: {URL})")
    where.add_argument(
        "--store",
        nargs="?",
        const="",
        metavar="PATH",
        help="read the run store instead (without PATH: $SPANLEDGER_DATA_DIR or ./spanledger-data); prices that are "
        "known by now are left out",
    )
    one.add_argument("--prices", action="append", default=[], metavar="FILE", help="with --store: your override files")
    one.add_argument("--json", action="store_true", help="print a JSON list")
    one = add_action(actions, "check", _check, "check files with prices, as the sidecar would", """\
  spanledger prices check prices.yaml
""")  # fmt: skip
    one.add_argument("files", nargs="+", metavar="FILE", help="an override file")
    add_action(actions, "sources", _sources, "list the price lists that come with spanledger", """\
  spanledger prices sources
""")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do what is asked. Returns 0; 1 when what is asked for cannot be read; 2 for files that are wrong, or no store."""
    action: Callable[[argparse.Namespace], int] = args.action
    return action(args)


def _unpriced(args: argparse.Namespace) -> int:
    from spanledger.conventions.prices.override_file import BadPrices
    from spanledger.exporters.run_store.filter import StoreError
    from spanledger.exporters.run_store.reader import RunReader
    from spanledger.service.unpriced import as_json, as_yaml, of_metrics, together

    try:
        if args.store is None:
            origin = args.url
            found = together(of_metrics(_scraped(args.url)))
        else:
            path = Path(args.store or os.environ.get("SPANLEDGER_DATA_DIR") or "./spanledger-data")
            try:
                reader = RunReader(path)
            except StoreError as error:
                print(f"spanledger prices: {error}", file=sys.stderr)
                return 2
            with reader:
                origin = str(reader.path)
                found = together(_calls(reader, args.prices))
    except BadPrices as error:
        print(error, file=sys.stderr)
        return 2
    except (StoreError, OSError, ValueError) as error:
        print(f"spanledger prices: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(as_json(found))
    elif found:
        print(as_yaml(found, origin), end="")
    else:
        print(f"everything has a price, according to {origin}", file=sys.stderr)
    return 0


def _scraped(url: str) -> str:
    """Return what /metrics answers. Raises OSError and ValueError with what to do."""
    from urllib.error import URLError
    from urllib.request import ProxyHandler, Request, build_opener

    if not url.startswith(("http://", "https://")):
        raise ValueError(f"--url {url}: not an address such as {URL}")
    request = Request(url, headers={"Accept": "text/plain; version=0.0.4"})  # noqa: S310 - http and https only
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            body: bytes = answer.read(_MAX_BYTES)
    except URLError as error:
        why = getattr(error.reason, "strerror", None) or error.reason
        raise OSError(
            f"{url}: {why}; is the sidecar running? --url says where, --store reads the run store instead"
        ) from error
    if b"\nspanledger_" not in body:
        raise ValueError(f"--url {url}: does not answer with the metrics of a sidecar; they are at one such as {URL}")
    return body.decode("utf-8", "replace")


def _calls(reader: RunReader, files: list[str]) -> Iterator[Unpriced]:
    """Yield the calls of stored runs that have no price even now, each with the reason of now, or one for a part."""
    from spanledger.conventions.prices.engine import PricedCall
    from spanledger.conventions.usage import Usage
    from spanledger.exporters.run_store.filter import Filter
    from spanledger.processor.price_source import load_engine, read_file
    from spanledger.service.unpriced import Unpriced, partly_priced_steps, unpriced_steps

    engine = load_engine(tuple(map(read_file, files)))
    now_ns = int(datetime.now(UTC).timestamp()) * 10**9
    for listed in reader.runs(Filter()):
        run = reader.document(listed.seq)
        yield from partly_priced_steps(run)
        for provider, model, service, tokens, asked, said in unpriced_steps(run):
            call = PricedCall(Usage(input=asked, output=said), provider or None, model or None)
            cost = engine.price(call, now_ns)
            if cost.status != "priced":
                services = (service,) if service else ()
                yield Unpriced(provider, model, cost.reason or "unknown_model", tokens, services, 1)


def _check(args: argparse.Namespace) -> int:
    from spanledger.conventions.prices.override_file import BadPrices
    from spanledger.conventions.prices.overrides import PriceBook
    from spanledger.processor.price_source import read_file

    code = 0
    for name in args.files:
        try:
            book = read_file(name)
        except BadPrices as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        counts = ((key, getattr(book, key)) for key in PriceBook.model_fields)
        rows = ", ".join(f"{len(value)} {key}" for key, value in counts if isinstance(value, tuple) and value)
        print(f"{name}: right; {rows or 'nothing in it'}")
    return code


def _sources(_: argparse.Namespace) -> int:
    from spanledger.conventions.prices.catalogue import shipped_catalogue
    from spanledger.conventions.prices.price_lists import shipped_corrections
    from spanledger.conventions.prices.second_catalogue import shipped_second_catalogue

    first, second, corrections = shipped_catalogue(), shipped_second_catalogue(), shipped_corrections()
    models = sum(1 for _ in first.models())
    newest = first.newest_price(datetime.now(UTC).date())
    print(f"1  corrections          {len(corrections.prices)} prices, {len(corrections.adjust)} multipliers")
    print(f"2  {first.source:<21}{models:,} models, last change of a price {newest}")
    print(f"3  {second.source:<21}{sum(1 for _ in second.models()):,} models, as of {second.as_of}")
    return 0
