"""`spanledger price`: what a call would cost, with the arithmetic and where the price is from."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from spanledger.conventions.prices.tariff import PICO

if TYPE_CHECKING:
    from spanledger.conventions.prices.engine import Explanation, PriceEngine

NAME = "price"
HELP = "show what a model call costs, the arithmetic, and where the price is from"
EXAMPLES = """\
  spanledger price gpt-4o-mini --input 12000 --output 900
  spanledger price us.anthropic.claude-sonnet-4-5-20250929-v1:0 --provider aws.bedrock --input 20000 --cache-read 15000
  spanledger price gpt-5.4 --input 20000 --output 1000 --tier flex --at 2026-11-18T12:00:00Z --json
  spanledger price prod-chat --provider azure --prices prices.yaml --input 1000
"""


def _count(text: str) -> int:
    number = int(text.replace("_", "").replace(",", ""))
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} tokens: a count cannot be negative")
    return number


def _moment(text: str) -> int:
    """Read a time as nanoseconds; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-18 or 2026-11-18T12:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="the model as a span names it")
    parser.add_argument("--provider", metavar="P", help="who serves it, in any spelling")
    parser.add_argument("--input", type=_count, default=0, metavar="N", help="input tokens, cached ones included")
    parser.add_argument("--output", type=_count, default=0, metavar="N", help="output tokens, reasoning included")
    parser.add_argument("--cache-read", type=_count, default=0, metavar="N", help="of the input: read from a cache")
    parser.add_argument("--cache-write", type=_count, default=0, metavar="N", help="of the input: written to a cache")
    parser.add_argument("--cache-write-1h", type=_count, metavar="N", help="of the cache writes: kept for an hour")
    parser.add_argument("--reasoning", type=_count, default=0, metavar="N", help="of the output: reasoning")
    parser.add_argument("--audio-input", type=_count, default=0, metavar="N", help="of the input: audio")
    parser.add_argument("--audio-output", type=_count, default=0, metavar="N", help="of the output: audio")
    parser.add_argument("--tier", default="", help="service tier: batch, flex, priority or fast")
    parser.add_argument("--region", default="", help="region or data zone, where it changes the price")
    parser.add_argument("--server-address", metavar="HOST", help="where the call went, as in server.address")
    parser.add_argument("--at", type=_moment, metavar="TIME", help="when the call started, UTC; now if not given")
    parser.add_argument("--prices", action="append", default=[], metavar="FILE", help="override file; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the price. Returns 0 when there is one, 1 when there is none, 2 for a bad override file."""
    # Here, because prices take a third of a second to load and `spanledger --help` should not.
    from spanledger.conventions.prices.engine import PricedCall
    from spanledger.conventions.prices.override_file import BadPrices
    from spanledger.conventions.usage import Usage
    from spanledger.processor.genai_pricing import load_engine, read_file

    try:
        engine = load_engine(tuple(read_file(name) for name in args.prices))
    except BadPrices as error:
        print(error, file=sys.stderr)
        return 2
    writes = max(args.cache_write, args.cache_write_1h or 0)
    cached = args.cache_read + writes
    # Without counts the price of a thousand tokens is shown; with some, the input holds at least its parts.
    nothing = not any((args.input, args.output, cached, args.reasoning, args.audio_input, args.audio_output))
    usage = Usage(
        input=1_000 if nothing else max(args.input, cached + args.audio_input),
        output=1_000 if nothing else max(args.output, args.reasoning + args.audio_output),
        cache_read=args.cache_read,
        cache_write=writes,
        cache_write_1h=args.cache_write_1h,
        reasoning=args.reasoning,
        audio_input=args.audio_input,
        audio_output=args.audio_output,
    )
    call = PricedCall(
        usage, args.provider, args.model, server_address=args.server_address, region=args.region, tier=args.tier
    )
    at_ns = args.at if args.at is not None else int(datetime.now(UTC).timestamp()) * 10**9
    explanation = engine.explain(call, at_ns)
    if args.json:
        print(json.dumps(_document(args.model, explanation, at_ns), indent=2))
    elif explanation.cost.total is None:
        _say_why_not(args, explanation, engine)
    else:
        _say(args.model, explanation, at_ns)
    return 0 if explanation.cost.total is not None else 1


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _document(model: str, explanation: Explanation, at_ns: int) -> dict[str, Any]:
    cost = explanation.cost
    amounts = {"total": cost.total, "input": cost.input, "output": cost.output}
    return {
        "model": model,
        "at": _time(at_ns),
        "status": cost.status,
        "reason": cost.reason,
        "found": {"seller": explanation.tariff.seller, "model": explanation.tariff.name},
        "price_ref": cost.price_ref,
        "usd": {name: None if amount is None else amount / PICO for name, amount in amounts.items()},
        "lines": [
            {"bucket": line.bucket, "tokens": line.tokens, "usd_per_million": float(line.usd_per_million),
             "usd": float(line.usd)}
            for line in explanation.lines
        ],
        "factors": [{"multiply": factor.value, "why": factor.why} for factor in explanation.factors],
        "above_input": explanation.above_input,
    }  # fmt: skip


def _usd(amount: Decimal) -> str:
    """Return an exact amount without an exponent and without zeros at its end."""
    return f"${amount.normalize():f}"


def _say(model: str, explanation: Explanation, at_ns: int) -> None:
    cost = explanation.cost
    assert cost.total is not None
    print(f"{model}  at {_time(at_ns)}")
    for line in explanation.lines:
        per = "" if line.bucket == "request" else " / Mtok"
        rate = line.usd if line.bucket == "request" else line.usd_per_million
        print(f"  {line.bucket:<17}{line.tokens:>12,}  x  {_usd(rate) + per:<16}  =  {_usd(line.usd)}")
    for factor in explanation.factors:
        print(f"  {'x ' + format(factor.value, 'g'):<17}{factor.why:>12}")
    print(f"  {'total':<17}{_usd(Decimal(cost.total) / PICO):>12}")
    if explanation.above_input:
        print(f"  rule: with more than {explanation.above_input:,} input tokens the whole request costs these rates")
    print(f"  price: {cost.price_ref}" + (f"  ({cost.reason})" if cost.reason else ""))


def _say_why_not(args: argparse.Namespace, explanation: Explanation, engine: PriceEngine) -> None:
    print(f"unpriced: {explanation.cost.reason or explanation.cost.status}", file=sys.stderr)
    close = engine.catalogue.suggest(args.model, explanation.tariff.seller)
    if close:
        print(f"  close to it: {', '.join(close)}", file=sys.stderr)
    print(
        "  to price it, add to a file named in genai_pricing's `overrides`:\n"
        "    version: 1\n"
        "    prices:\n"
        f"      - {{provider: {json.dumps(args.provider or '')}, model: {json.dumps(args.model)},"
        " input: 0.00, output: 0.00}  # $ / Mtok",
        file=sys.stderr,
    )
