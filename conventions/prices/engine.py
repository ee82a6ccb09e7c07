"""From a model call to money: resolve the name, choose the price of that day, do the arithmetic.

The price of a call is the one valid at the span's *start*: that is when the seller took the request.
Finding a price takes a fraction of a millisecond and is remembered for each combination of names, hits
and misses alike; after that a call costs a dictionary look-up and a dot product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, TypeAlias

from spanledger.conventions.prices.lookup import Lookup, OwnHosts, Tariff
from spanledger.conventions.prices.overrides import PriceBook, ServiceFacts
from spanledger.conventions.prices.price_lists import PriceLists, shipped_corrections
from spanledger.conventions.prices.reported import MAX_USD
from spanledger.conventions.prices.resolve import MAX_NAME
from spanledger.conventions.prices.second_catalogue import SecondCatalogue, shipped_second_catalogue
from spanledger.conventions.prices.tariff import INPUT_BUCKETS, OUTPUT_BUCKETS, PICO, Choice, Factor, Row, dot, split
from spanledger.conventions.reading import Cost
from spanledger.conventions.record import record

if TYPE_CHECKING:
    from spanledger.conventions.prices.catalogue import Catalogue
    from spanledger.conventions.units import Units
    from spanledger.conventions.usage import Usage

MEMO_SIZE: Final = 4096
_MAX_TOTAL: Final = int(MAX_USD) * PICO
_CACHED: Final = tuple(
    (INPUT_BUCKETS.index(cached), INPUT_BUCKETS.index(full))
    for cached, full in (
        ("cache_read", "input"), ("audio_cache_read", "audio_input"), ("image_cache_read", "image_input"),
    )
)  # fmt: skip
_DRAWN: Final = OUTPUT_BUCKETS.index("image_output")
_NO_AUDIO_PRICE: Final = "no_audio_price"
_FEE_UNKNOWN: Final = "fee_unknown"

NO_USAGE: Final = Cost("no_usage")
BAD_USAGE: Final = Cost("no_usage", "bad_usage")
"""There were counts, and none of them can be one, or no call can cost what they would."""

CallNames: TypeAlias = "tuple[str | None, str | None, str | None, str | None, str, str, str]"
"""Provider, model that answered, model asked for, address, region, tier, assumed region."""
_UNKNOWN: Final = Tariff()


@record(frozen=True, slots=True)
class PricedCall:
    """What is known of one model call. Text may be anything a client sent."""

    usage: Usage | None
    provider: str | None = None
    response_model: str | None = None
    request_model: str | None = None
    server_address: str | None = None
    region: str = ""
    """What the span says of it."""
    tier: str = ""
    """Service tier, the response's before the request's; "" and `default` are the standard one."""
    one_hour_cache: bool = False
    """Cache writes whose lifetime the span does not tell live for an hour."""
    duration_ns: int = 0
    """Only own machines paid by the hour need it."""
    assumed_region: str = ""
    """Where the call goes if neither names nor addresses tell: what is known of the service."""
    units: Units = ()
    """What is billed beside tokens."""


@record(frozen=True, slots=True)
class Line:
    """One line of an explanation: so many tokens, or units beside them, at such a rate."""

    bucket: str
    """A bucket of tokens, `request`, or a unit."""
    tokens: int
    usd_per_million: Decimal
    usd: Decimal


@record(frozen=True, slots=True)
class Explanation:
    """How a cost came about, for people."""

    cost: Cost
    tariff: Tariff
    lines: tuple[Line, ...] = ()
    factors: tuple[Factor, ...] = ()
    above_input: int = 0
    """The context threshold whose row was used."""


@dataclass(slots=True)
class PriceEngine:
    """Prices calls by an operator's books and a catalogue. Replaced as a whole when prices change."""

    catalogue: Catalogue
    books: Sequence[PriceBook] = ()
    """The operator's, in order of precedence."""
    own_hosts: OwnHosts = "auto"
    corrections: PriceBook = field(default_factory=shipped_corrections)
    second: SecondCatalogue = field(default_factory=shipped_second_catalogue)
    misses: int = field(default=0, init=False)
    """How many times a price had to be looked for: the slow path."""
    _memo: dict[CallNames, Tariff] = field(default_factory=dict, init=False, repr=False)
    _lookup: Lookup = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lists = PriceLists(self.catalogue, self.second, self.books, self.corrections)
        self._lookup = Lookup(lists, self.books, self.own_hosts)

    @property
    def memo_entries(self) -> int:
        """How many combinations of names are remembered."""
        return len(self._memo)

    def price(self, call: PricedCall, at_ns: int) -> Cost:
        """Return what a call that started at `at_ns` cost; never raises because of the call."""
        usage = call.usage
        tariff = self.tariff(call)
        choice = tariff.at(at_ns)
        counted = usage is not None and (usage.input or usage.output)
        if choice is None:
            if counted or call.units:
                return Cost("unpriced", tariff.reason if not tariff.choices else "no_price_at_that_time")
            return _nothing_told(usage)
        if choice.per_second:
            return _by_time(choice, call.duration_ns)
        if not counted or not choice.rows:
            return _by_units(choice, call, at_ns)
        assert usage is not None
        unsure = _unsure_of_audio(usage, choice, tariff) if tariff.speaks or not choice.prices_audio else ""
        if unsure == _NO_AUDIO_PRICE:
            return Cost("unpriced", unsure)
        counts = split(usage, one_hour=call.one_hour_cache)
        if counts is None:
            return Cost("unpriced", "inconsistent")
        row = choice.row(usage.input or 0)
        unsure = unsure or _unsure_of_images(usage, row)
        spent_in = dot(row.input, counts[0])
        spent_out = dot(row.output, counts[1])
        beside, known = choice.charge(call.units) if call.units else (0, True)
        fee = choice.per_request + beside
        if choice.factors:
            spent_in, spent_out = choice.scale(spent_in, at_ns), choice.scale(spent_out, at_ns)
            fee = choice.scale(fee, at_ns, fee=True)
        total = spent_in + spent_out + fee
        if total > _MAX_TOTAL:
            return BAD_USAGE
        if not usage.input:  # every call has an input: this is the part that is known
            return Cost("priced", "input_unknown", total, None, spent_out, choice.ref)
        told_out = None if usage.output is None else spent_out
        # That a part of the cost is missing comes before what else there is to say of the rest.
        if told_out is None and any(row.output):
            reason = "output_unknown"
        elif not known:
            reason = _FEE_UNKNOWN
        else:
            reason = choice.reason or ("usage_conflict" if usage.conflicts else unsure)
        saved = choice.scale(_saved(row, counts[0]), at_ns) if usage.cache_read else None
        return Cost("priced", reason, total, spent_in, told_out, choice.ref, saved)

    def explain(self, call: PricedCall, at_ns: int) -> Explanation:
        """Price a call and show the arithmetic."""
        cost = self.price(call, at_ns)
        tariff = self.tariff(call)
        choice = tariff.at(at_ns)
        counts = split(call.usage, one_hour=call.one_hour_cache) if call.usage else None
        if choice is None or cost.status != "priced" or choice.per_second:
            return Explanation(cost, tariff)
        lines = (*_fee_lines(choice, call.units),)
        factors = tuple(factor for factor in choice.factors if factor.window.active(at_ns))
        if counts is None or call.usage is None or not choice.rows:
            return Explanation(cost, tariff, lines, factors)
        row = choice.row(call.usage.input or 0)
        return Explanation(cost, tariff, (*_token_lines(row, counts), *lines), factors, row.above)

    def tariff(self, call: PricedCall) -> Tariff:
        """Return the prices of the model of a call."""
        key = (
            call.provider, call.response_model, call.request_model, call.server_address, call.region, call.tier,
            call.assumed_region,
        )  # fmt: skip
        return self._memo.get(key) or self.tariff_of(key)

    def tariff_of(self, names: CallNames) -> Tariff:
        """Return the prices for the names of a call."""
        tariff = self._memo.get(names)
        if tariff is None:
            if any(text is not None and len(text) > MAX_NAME for text in names):
                return _UNKNOWN  # nothing that long is a name, and the memo must not keep it
            self.misses += 1
            tariff = self._lookup.find(*names)
            if len(self._memo) >= MEMO_SIZE:
                del self._memo[next(iter(self._memo))]
            self._memo[names] = tariff
        return tariff

    def names_in_use(self) -> list[CallNames]:
        """Return the names of the calls that were priced, the latest last."""
        return [*self._memo]

    def facts(self, resource: Mapping[str, object]) -> ServiceFacts | None:
        """Return what the operator said about the calls of a service, by its resource attributes."""
        for book in self.books:
            for facts in book.services:
                if all(fnmatchcase(str(resource.get(key, "")), glob) for key, glob in facts.match.items()):
                    return facts
        return None


def _saved(row: Row, counts: Sequence[int]) -> int:
    """Return what tokens out of a cache would have cost beyond what they did; less than 0 for an odd price list."""
    return sum(counts[cached] * (row.input[full] - row.input[cached]) for cached, full in _CACHED)


def _unsure_of_audio(usage: Usage, choice: Choice, tariff: Tariff) -> str:
    """Say what is not known of the audio of a call; "" where the price holds for it.

    Some models take sound at the price of text. Of one that is made for sound, a price without sound is half a price.
    """
    if usage.audio_input or usage.audio_output:
        if choice.prices_audio:
            return ""
        return _NO_AUDIO_PRICE if tariff.speaks else "audio_at_text_price"
    told = usage.audio_input is not None or usage.audio_output is not None
    return "audio_not_told" if tariff.speaks and not told else ""


def _unsure_of_images(usage: Usage, row: Row) -> str:
    """Say that nobody told how much of an output was images, which cost many times what text does; "" elsewhere."""
    if row.output[_DRAWN] == row.output[0] or not usage.output or usage.image_output is not None:
        return ""
    return "image_not_told"


def _nothing_told(usage: Usage | None) -> Cost:
    return BAD_USAGE if usage is not None and usage.conflicts else NO_USAGE


def _by_units(choice: Choice, call: PricedCall, at_ns: int) -> Cost:
    """Price a call that tells no tokens, or whose model is not sold by the token."""
    usage = call.usage
    counted = usage is not None and (usage.input or usage.output)
    if not call.units:
        return Cost("unpriced", "not_priced_by_token") if counted else _nothing_told(usage)
    if not any(fee.unit == unit for fee in choice.fees for unit, _ in call.units):
        return Cost("unpriced", "not_priced_by_unit")
    spent, known = choice.charge(call.units)
    total = choice.scale(spent + choice.per_request, at_ns, fee=bool(choice.rows))
    if total > _MAX_TOTAL:
        return BAD_USAGE
    reason = ("tokens_unknown" if choice.rows else "" if known else _FEE_UNKNOWN) or choice.reason
    return Cost("priced", reason, total, price_ref=choice.ref)


def _by_time(choice: Choice, duration_ns: int) -> Cost:
    spent = choice.per_second * max(duration_ns, 0) // 1_000_000_000
    if spent > _MAX_TOTAL:
        return BAD_USAGE
    return Cost("priced", choice.reason, spent, price_ref=choice.ref)


def _token_lines(row: Row, counts: tuple[Sequence[int], Sequence[int]]) -> Iterator[Line]:
    sides = ((INPUT_BUCKETS, row.input, counts[0]), (OUTPUT_BUCKETS, row.output, counts[1]))
    for buckets, rates, tokens in sides:
        for bucket, rate, count in zip(buckets, rates, tokens, strict=True):
            if count:
                yield Line(bucket, count, Decimal(rate) / 10**6, Decimal(rate * count) / 10**12)


def _fee_lines(choice: Choice, units: Units) -> Iterator[Line]:
    if choice.per_request:
        fee = Decimal(choice.per_request) / 10**12
        yield Line("request", 1, fee * 10**6, fee)
    for unit, count in units:
        for priced in choice.fees:
            if priced.unit == unit:
                yield Line(unit, count, Decimal(priced.of(10**6)) / 10**12, Decimal(priced.of(count)) / 10**12)
