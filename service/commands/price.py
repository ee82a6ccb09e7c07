"""`spanledger price`: what a call would cost, with the arithmetic and where the price is from."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, get_args

from spanledger.conventions.prices.tariff import INPUT_BUCKETS, OUTPUT_BUCKETS, PICO
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.prices.engine import Explanation, PricedCall, PriceEngine
    from spanledger.conventions.prices.overrides import Currency
    from spanledger.conventions.units import Unit

NAME = "price"
HELP = "show what a model call costs, the arithmetic, and where the price is from"
EXAMPLES = """\
  spanledger price gpt-4o-mini --input 12000 --output 900
  spanledger price us.anthropic.claude-sonnet-4-5-20250929-v1:0 --provider aws.bedrock --input 20000 --cache-read 15000
  spanledger price gpt-5.4 --input 20000 --output 1000 --tier flex --at 2026-11-18T12:00:00Z --json
  spanledger price claude-sonnet-4-5 --input 5000 --output 700 --unit web_search=3 --currency EUR=0.92
  spanledger price whisper-1 --unit audio_input_minute=2.5
  spanledger price prod-chat --provider azure --prices prices.yaml --input 1000
"""


BUCKETS: Final = frozenset({*INPUT_BUCKETS, *OUTPUT_BUCKETS})
ASSUMED: Final = 1_000
"""Tokens of input and of output when none are given."""


class WrongUse(Exception):  # noqa: N818 - says what happened
    """What was asked for cannot be a call; the message says why."""


def _count(text: str) -> int:
    from spanledger.conventions.tokens import MAX_COUNT

    try:
        number = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: tokens are a whole number") from None
    if not 0 <= number <= MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text[:40]} tokens: a count is between 0 and {MAX_COUNT}")
    return number


def _moment(text: str) -> int:
    """Read a time as nanoseconds; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-18 or 2026-11-18T12:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9


def _unit(text: str) -> tuple[Unit, int]:
    """Read a unit and its count; sound is given in minutes."""
    from spanledger.conventions.units import MAX_UNITS, UNITS

    name, _, number = text.partition("=")
    named = {unit.replace("_ms", "_minute"): unit for unit in UNITS}
    try:
        count = Decimal(number) * (60_000 if name.endswith("_minute") else 1)
        if name not in named or count != int(count) or not 0 < count <= MAX_UNITS:
            raise ValueError
    except (ValueError, ArithmeticError):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: not NAME=N with one of {', '.join(named)}") from None
    return named[name], int(count)


def currency(text: str) -> Currency:
    """Read `EUR=0.92`."""
    from spanledger.conventions.prices.overrides import Currency

    code, _, rate = text.partition("=")
    try:
        return Currency.model_validate({"code": code, "rate": rate})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: not CODE=RATE, such as EUR=0.92") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="the model as a span names it")
    parser.add_argument("--provider", metavar="P", help="who serves it, in any spelling")
    parser.add_argument("--input", type=_count, metavar="N", help="input tokens, cached ones included")
    parser.add_argument("--output", type=_count, metavar="N", help="output tokens, reasoning included")
    parser.add_argument("--cache-read", type=_count, metavar="N", help="of the input: read from a cache")
    parser.add_argument("--cache-write", type=_count, metavar="N", help="of the input: written to a cache")
    parser.add_argument("--cache-write-1h", type=_count, metavar="N", help="of the cache writes: kept for an hour")
    parser.add_argument("--reasoning", type=_count, metavar="N", help="of the output: reasoning")
    parser.add_argument("--audio-input", type=_count, metavar="N", help="of the input: audio")
    parser.add_argument("--audio-output", type=_count, metavar="N", help="of the output: audio")
    parser.add_argument(
        "--unit", type=_unit, action="append", default=[], metavar="NAME=N", dest="units",
        help="what is billed beside tokens: web_search=3, image=1, audio_input_minute=2.5, ...; may be repeated",
    )  # fmt: skip
    parser.add_argument("--tier", default="", help="service tier: batch, flex, priority or fast; or standard")
    parser.add_argument("--region", default="", help="region or data zone, where it changes the price")
    parser.add_argument("--server-address", metavar="HOST", help="where the call went, as in server.address")
    parser.add_argument("--at", type=_moment, metavar="TIME", help="when the call started, UTC; now if not given")
    parser.add_argument("--prices", action="append", default=[], metavar="FILE", help="override file; may be repeated")
    parser.add_argument("--currency", type=currency, metavar="CODE=RATE", help="show the total in it too: EUR=0.92")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the price. Returns 0 when there is one, 1 when there is none, 2 for wrong use or a bad override file."""
    # Here, because prices take a third of a second to load and `spanledger --help` should not.
    from spanledger.conventions.prices.engine import PricedCall
    from spanledger.conventions.prices.override_file import BadPrices
    from spanledger.processor.price_source import load_engine, read_file

    try:
        usage, notes = _usage(args)
        books = tuple(read_file(name) for name in args.prices)
        engine = load_engine(books)
    except (BadPrices, WrongUse) as error:
        print(error, file=sys.stderr)
        return 2
    call = PricedCall(
        usage, args.provider, args.model, server_address=args.server_address, region=args.region, tier=args.tier,
        units=tuple(sorted(dict(args.units).items())),
    )  # fmt: skip
    currency = args.currency or next((book.currency for book in books if book.currency.code != "USD"), None)
    at_ns = args.at if args.at is not None else int(datetime.now(UTC).timestamp()) * 10**9
    explanation = engine.explain(call, at_ns)
    if explanation.cost.total is not None:
        notes += _assumptions(call, explanation, engine, at_ns)
    if args.json:
        print(json.dumps(_document(args.model, explanation, at_ns, notes, currency), indent=2))
    elif explanation.cost.total is None:
        _say_why_not(args, explanation, engine)
    else:
        _say(args, explanation, at_ns, notes, currency)
    return 0 if explanation.cost.total is not None else 1


def _usage(args: argparse.Namespace) -> tuple[Usage | None, list[str]]:
    """Return the tokens of the call as a span would tell them, and what was assumed. Raises `WrongUse`."""
    from spanledger.conventions.prices.overrides import Tier
    from spanledger.conventions.prices.tariff import split

    if not args.model.strip():
        raise WrongUse("the name of the model is empty: give it as a span has it, such as gpt-4o-mini")
    if args.tier.strip().lower() not in {*get_args(Tier), "default", "auto", ""}:
        raise WrongUse(f"--tier {args.tier}: not known; there are {', '.join(get_args(Tier))}")
    named = {
        "input": args.input,
        "output": args.output,
        "cache_read": args.cache_read,
        "cache_write": args.cache_write if args.cache_write is not None else args.cache_write_1h,
        "cache_write_1h": args.cache_write_1h,
        "reasoning": args.reasoning,
        "audio_input": args.audio_input,
        "audio_output": args.audio_output,
    }
    counts = {name: count for name, count in named.items() if count is not None}
    notes: list[str] = []
    if not counts and not args.units:
        counts = {"input": ASSUMED, "output": ASSUMED}
        notes.append(f"no tokens given: {ASSUMED:,} of input and {ASSUMED:,} of output are assumed")
    for whole, parts in _PARTS.items():
        together = sum(counts.get(part, 0) for part in parts)
        if whole not in counts and together:
            counts[whole] = together
            notes.append(f"--{_option(whole)} not given: {together:,}, the sum of its parts, is assumed")
        for part in parts:
            if counts.get(part, 0) > counts.get(whole, 0):
                raise WrongUse(
                    f"--{_option(part)} {counts[part]} is part of --{_option(whole)} and cannot be more than "
                    f"{counts.get(whole, 0)}"
                )
    if not counts:
        return None, notes
    usage = Usage(**counts)
    if split(usage) is None:
        raise WrongUse(
            "the parts are together more than the whole: --cache-read, --cache-write and --audio-input are parts of "
            "--input, --reasoning and --audio-output parts of --output"
        )
    return usage, notes


_PARTS: Final = {
    "cache_write": ("cache_write_1h",),
    "input": ("cache_read", "cache_write", "audio_input"),
    "output": ("reasoning", "audio_output"),
}


def _option(name: str) -> str:
    return name.replace("_", "-")


def _assumptions(call: PricedCall, explanation: Explanation, engine: PriceEngine, at_ns: int) -> list[str]:
    """Return what the price takes for granted beyond what was asked."""
    from spanledger.conventions.prices.sellers import role_of

    notes = []
    seller, ref = explanation.tariff.seller, explanation.cost.price_ref
    if seller and not ref.startswith("overrides#") and role_of(call.provider)[1] != seller:
        given = f"provider {call.provider!r} sells no models" if call.provider else "no provider given"
        if role_of(call.provider)[0] == "unknown":
            given = f"provider {call.provider!r} is not known"
        notes.append(f"{given}: {seller} is assumed, from the model's name or the address")
    if call.region and engine.explain(replace(call, region=""), at_ns).cost == explanation.cost:
        notes.append(f"region {call.region!r} has no effect: no price of this model depends on it")
    choice = explanation.tariff.at(at_ns)
    if choice is not None and choice.reason == "tier_at_list_price":
        notes.append(f"no price is known for tier {call.tier!r} of this model: the standard price is shown")
    return notes


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _document(
    model: str, explanation: Explanation, at_ns: int, notes: Sequence[str], currency: Currency | None
) -> dict[str, Any]:
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
        "notes": list(notes),
        "display": None if currency is None or cost.total is None else {
            "currency": currency.code, "rate": float(currency.rate), "total": float(_shown(cost.total, currency)),
        },
    }  # fmt: skip


def _shown(total: int, currency: Currency) -> Decimal:
    return Decimal(total) / PICO * currency.rate


def _usd(amount: Decimal) -> str:
    """Return an exact amount without an exponent and without zeros at its end."""
    return f"${amount.normalize():f}"


_LAYERS: Final = {"overrides": "your override file", "corrections": "corrections that come with spanledger"}


def _say(
    args: argparse.Namespace, explanation: Explanation, at_ns: int, notes: Sequence[str], currency: Currency | None
) -> None:
    cost = explanation.cost
    assert cost.total is not None
    print(f"{args.model}  at {_time(at_ns)}")
    for line in explanation.lines:
        per = " / Mtok" if line.bucket in BUCKETS else ""
        rate = line.usd_per_million if line.bucket in BUCKETS else line.usd / line.tokens
        print(f"  {line.bucket:<17}{line.tokens:>12,}  x  {_usd(rate) + per:<16}  =  {_usd(line.usd)}")
    for factor in explanation.factors:
        print(f"  {'x ' + format(factor.value, 'g'):<17}{factor.why:>12}")
    print(f"  {'total':<17}{_usd(Decimal(cost.total) / PICO):>12}")
    if currency is not None:
        told = f"1 USD = {currency.rate.normalize():f} {currency.code}"
        print(f"  {'':<17}{_shown(cost.total, currency).normalize():>12f} {currency.code}  ({told})")
    if explanation.above_input:
        print(f"  rule: with more than {explanation.above_input:,} input tokens the whole request costs these rates")
    source = cost.price_ref.partition("#")[0]
    layer = _LAYERS.get(source.partition("+")[0], f"price list {source}")
    print(f"  provider: {explanation.tariff.seller or args.provider}  model: {explanation.tariff.name}  from: {layer}")
    print(f"  price: {cost.price_ref}" + (f"  ({cost.reason})" if cost.reason else ""))
    for note in notes:
        print(f"note: {note}")


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
