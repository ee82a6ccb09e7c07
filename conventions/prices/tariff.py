"""Money: rates by bucket of tokens, and the integer arithmetic.

Amounts are whole pico-dollars (1e-12 USD), so a rate of $0.003625 per million tokens is 3625 a token and
nothing is rounded on the way. Tokens are split once into buckets that do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from operator import mul
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.units import Unit, Units
    from spanledger.conventions.usage import Usage

INPUT_BUCKETS: Final = (
    "input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "audio_cache_read", "image_input",
    "image_cache_read",
)  # fmt: skip
OUTPUT_BUCKETS: Final = ("output", "reasoning", "audio_output", "image_output")

PICO: Final = 10**12
"""Pico-dollars in a dollar."""

_DAY_S: Final = 86_400
_THURSDAY: Final = 3
"""Weekday of 1970-01-01, Monday being 0."""

Counts = tuple[int, ...]
"""One number a bucket, in the order of INPUT_BUCKETS or OUTPUT_BUCKETS."""


@dataclass(frozen=True, slots=True)
class Row:
    """Pico-dollars a token. The row with the highest `above` that the input exceeds is the one that counts.

    Sellers price the whole request by its row, not only the tokens beyond the threshold.
    """

    above: int
    input: Counts
    output: Counts


@dataclass(frozen=True, slots=True)
class Window:
    """When a price is valid: from (inclusive) to (exclusive), and at which hours and days, all UTC."""

    start_ns: int | None = None
    end_ns: int | None = None
    from_s: int = 0
    to_s: int = 0
    """Seconds of the day; equal means all day, `to_s` before `from_s` goes over midnight."""
    weekdays: frozenset[int] | None = None
    """Monday is 0; None for every day."""

    def active(self, at_ns: int) -> bool:
        """Tell whether the price is valid at that moment."""
        if self.start_ns is not None and at_ns < self.start_ns:
            return False
        if self.end_ns is not None and at_ns >= self.end_ns:
            return False
        days, second = divmod(at_ns // 1_000_000_000, _DAY_S)
        if self.weekdays is not None and (days + _THURSDAY) % 7 not in self.weekdays:
            return False
        if self.from_s == self.to_s:
            return True
        if self.from_s < self.to_s:
            return self.from_s <= second < self.to_s
        return second >= self.from_s or second < self.to_s


ALWAYS: Final = Window()


@dataclass(frozen=True, slots=True)
class Factor:
    """A multiplier on a price: a contract, a region, a service tier."""

    numerator: int
    denominator: int
    why: str
    window: Window = ALWAYS
    on_fees: bool = True
    """Whether it holds for fees too: a contract's does, a region's and a service tier's are about tokens."""

    @property
    def value(self) -> float:
        """The multiplier as a number to show."""
        return self.numerator / self.denominator


@dataclass(frozen=True, slots=True)
class Fee:
    """The price of something that is not a token: a search, an image, a second of sound."""

    unit: Unit
    pico: int
    """Pico-dollars for `per` of them."""
    per: int = 1

    def of(self, count: int) -> int:
        """Return the pico-dollars of so many, rounded half up."""
        return (2 * self.pico * count + self.per) // (2 * self.per)


@dataclass(frozen=True, slots=True)
class Choice:
    """One price of one model, with the time it is valid."""

    rows: tuple[Row, ...]
    """Prices by the token; () for a model that is not sold by the token."""
    ref: str
    """Where the price is from: layer, version, model, date, tier and region."""
    window: Window = ALWAYS
    per_request: int = 0
    fees: tuple[Fee, ...] = ()
    """Beside tokens. A unit that has none is not known to be free."""
    per_second: int = 0
    """Pico-dollars a second of duration: own machines, an allocation and no bill."""
    factors: tuple[Factor, ...] = ()
    reason: str = ""
    """What to know about it: `tier_at_list_price`, `allocated`."""
    prices_audio: bool = True
    """Whether it has a price of its own for audio; a list that has none may have forgotten it."""

    @property
    def is_paid_elsewhere(self) -> bool:
        """Whether the operator said that a call costs nothing more."""
        return any(not factor.numerator for factor in self.factors)

    def charge(self, units: Units) -> tuple[int, bool]:
        """Return the pico-dollars of what is no token, and whether there is a price for all of it."""
        prices = {fee.unit: fee for fee in self.fees}
        known = [prices[unit].of(count) for unit, count in units if unit in prices]
        return sum(known), len(known) == len(units)

    def row(self, input_tokens: int) -> Row:
        """Return the row for a request with that many input tokens, cached ones included."""
        chosen = self.rows[0]
        for row in self.rows[1:]:
            if input_tokens > row.above:
                chosen = row
        return chosen

    def scale(self, amount: int, at_ns: int, *, fee: bool = False) -> int:
        """Apply the factors that are valid at that moment; `fee` says that the amount is none for tokens."""
        for factor in self.factors:
            if (factor.on_fees or not fee) and factor.window.active(at_ns):
                amount = amount * factor.numerator // factor.denominator
        return amount


_NO_INPUT: Final[Counts] = (0,) * len(INPUT_BUCKETS)
_NO_OUTPUT: Final[Counts] = (0,) * len(OUTPUT_BUCKETS)


def split(usage: Usage, *, one_hour: bool = False) -> tuple[Counts, Counts] | None:
    """Return the tokens of a call in disjoint buckets; None when the counts contradict each other.

    `one_hour` says to take cache writes of unknown lifetime as the one-hour kind. Where audio and cached
    tokens may overlap, they overlap no more than the total demands: cached text is the common case.
    """
    inputs = _NO_INPUT if usage.input is None else _inputs(usage, usage.input, one_hour)
    outputs = _NO_OUTPUT if usage.output is None else _outputs(usage, usage.output)
    return None if inputs is None or outputs is None else (inputs, outputs)


def _inputs(usage: Usage, total: int, one_hour: bool) -> Counts | None:
    read = usage.cache_read or 0
    long = usage.cache_write_1h
    write = usage.cache_write if usage.cache_write is not None else long or 0
    if long is None:
        long = write if one_hour else 0
    if long > write:
        return None
    if not (usage.audio_input or usage.image_input or usage.audio_cache_read):  # nearly always
        text = total - read - write
        return None if text < 0 else (text, read, write - long, long, 0, 0, 0, 0)
    audio = usage.audio_input or 0
    image = usage.image_input or 0
    heard = usage.audio_cache_read
    if heard is None:
        heard = min(read, audio, max(0, audio + read + write - total))
    seen = min(usage.image_cache_read or 0, image, read - heard)
    text = total - read - write - audio + heard - image + seen
    if text < 0 and -text <= min(image, read - heard) - seen:
        seen -= text  # that many image tokens were read from the cache
        text = 0
    inputs = (text, read - heard - seen, write - long, long, audio - heard, heard, image - seen, seen)
    return None if min(inputs) < 0 else inputs


def _outputs(usage: Usage, total: int) -> Counts | None:
    thought = usage.reasoning or 0
    spoken = usage.audio_output or 0
    drawn = usage.image_output or 0
    said = total - thought - spoken - drawn
    return None if said < 0 else (said, thought, spoken, drawn)


def dot(rates: Counts, counts: Counts) -> int:
    """Return the pico-dollars of one side of a call."""
    return sum(map(mul, rates, counts))


def pico_per_token(usd_per_million: Decimal) -> int:
    """Return a list price as pico-dollars a token, rounded half up beyond the sixth decimal."""
    return pico(usd_per_million, 1_000_000)


def pico(usd: Decimal, count: int = 1) -> int:
    """Return the pico-dollars of one where `count` cost `usd` dollars, rounded half up."""
    return int((usd * PICO / count).quantize(Decimal(1), rounding="ROUND_HALF_UP"))


def make_row(above: int, rates: dict[str, Decimal]) -> Row:
    """Complete the rates of one row, in dollars a million tokens.

    A bucket without a rate of its own costs what its kind costs: cached audio and images as cached input,
    one-hour writes as cache writes, anything else as plain input or output. Where only images have a rate of output,
    all of it is images. A side without any rate is free, as output is for embeddings.
    """
    zero = Decimal(0)
    plain_in = rates.get("input", zero)
    plain_out = rates.get("output", rates.get("image_output", zero))
    read = rates.get("cache_read", plain_in)
    write = rates.get("cache_write", plain_in)
    audio = rates.get("audio_input", plain_in)
    heard = rates.get("audio_cache_read", rates.get("cache_read", audio))
    inputs = (plain_in, read, write, rates.get("cache_write_1h", write), audio, heard,
              rates.get("image_input", plain_in), rates.get("image_cache_read", read))  # fmt: skip
    outputs = (plain_out, *(rates.get(bucket, plain_out) for bucket in OUTPUT_BUCKETS[1:]))
    return Row(above, tuple(map(pico_per_token, inputs)), tuple(map(pico_per_token, outputs)))
