"""The operator's own prices: the schema of an override file, and the same blocks inside `genai_pricing`.

Also the schema of `corrections.yaml`. Prices are US dollars per million tokens; `from` is inclusive and
`until` exclusive, at 00:00 UTC unless a time is given; names may hold `*`, `?` and `[...]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, Self

import pydantic

from spanledger.conventions.prices.tariff import Choice, Fee, Window, make_row, pico
from spanledger.conventions.units import UNITS

MAX_USD: Final = Decimal(1_000_000)
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _dollars(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("a price is a number of US dollars")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is not a number of US dollars") from None
    if not amount.is_finite() or not 0 <= amount <= MAX_USD:
        raise ValueError(f"{amount} is not a price: it must be between 0 and {MAX_USD} US dollars")
    return amount


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value[:40]!r} is not a date such as 2026-10-01 or 2026-10-01T12:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value


def as_tuple(value: Any) -> Any:
    """Take one value or a list of them as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _hours(value: str) -> str:
    if not _HOURS.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is not a span of hours in UTC such as 01:00-04:00")
    return value


Dollars = Annotated[Decimal, pydantic.BeforeValidator(_dollars)]
Moment = Annotated[datetime, pydantic.BeforeValidator(_moment)]
Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(as_tuple)]
Hours = Annotated[str, pydantic.AfterValidator(_hours)]
Tier = Literal["standard", "batch", "flex", "priority", "fast"]
CacheTTL = Literal["5m", "1h"]


_UNIT_KEYS: Final = tuple((unit, unit.replace("_ms", "_minute"), unit.endswith("_ms")) for unit in UNITS)
"""Unit -> key of `FeeRow`, and whether its price is by the minute."""


class Block(pydantic.BaseModel):
    """Base of every block: unknown keys are errors, and so are keys left blank; values are frozen."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _no_blanks(cls, value: Any) -> Any:
        blank = [str(key) for key, said in value.items() if said is None] if isinstance(value, dict) else []
        if blank:  # a price that was forgotten must not be a price of nothing
            raise ValueError(f"{', '.join(blank)} left blank: give a value, or leave the key out")
        return value


class Currency(Block):
    """The currency that amounts are shown in to people; they are kept, exported and counted in US dollars."""

    code: Annotated[str, pydantic.StringConstraints(pattern="^[A-Z]{3}$")] = "USD"
    """ISO 4217, such as EUR."""
    rate: Annotated[Dollars, pydantic.Field(gt=0)] = Decimal(1)
    """How much of it one US dollar is."""
    as_of: Annotated[Moment | None, pydantic.Field()] = None
    """The day of the rate."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _dollars_need_no_rate(cls, value: Any) -> Any:
        if value == "USD":
            return {}
        if isinstance(value, str):
            raise ValueError(f"give the rate too: {{code: {value[:3]}, rate: 0.92}}, which is one US dollar's worth")
        return value

    @pydantic.model_validator(mode="after")
    def _rate_fits(self) -> Self:
        if self.code == "USD" and self.rate != 1:
            raise ValueError("one US dollar is one US dollar: give the code that the rate is of")
        if self.code != "USD" and "rate" not in self.model_fields_set:
            raise ValueError("give the rate too: what one US dollar is in it")
        return self


class Rates(Block):
    """Prices in US dollars per million tokens; a bucket left out costs what its kind costs."""

    input: Dollars | None = None
    output: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write_5m: Dollars | None = None
    cache_write_1h: Dollars | None = None
    reasoning: Dollars | None = None
    """Left out, reasoning costs what output costs."""
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    audio_cache_read: Dollars | None = None
    image_input: Dollars | None = None
    image_cache_read: Dollars | None = None
    image_output: Dollars | None = None

    def by_bucket(self) -> dict[str, Decimal]:
        """Return what is given, by the names that `tariff` uses."""
        given = {name: getattr(self, name) for name in Rates.model_fields}
        given["cache_write"] = given.pop("cache_write_5m")
        return {bucket: rate for bucket, rate in given.items() if rate is not None}


class ContextTier(Rates):
    """Prices of requests with a long input; what is left out costs as in the row above."""

    above_input: Annotated[int, pydantic.Field(gt=0)]
    """Input tokens, cached ones included, beyond which the whole request costs this."""


class Scope(Block):
    """Which calls a row is about; whatever is left out matches every call."""

    provider: str = ""
    """A provider's name in any spelling: `azure`, `azure.ai.openai`, `x_ai`."""
    model: Names = ()
    """A model's name or names, `*` allowed."""
    region: str = ""
    """`us`, `eu-*`; `!global` is every region but global ones."""
    source: str = ""
    """Where it is written: a contract, a page, a date."""

    def covers_region(self, region: str) -> bool:
        """Tell whether the row is about calls to `region`."""
        if not self.region:
            return True
        if self.region.startswith("!"):
            return bool(region) and not fnmatchcase(region, self.region[1:].lower())
        return bool(region) and fnmatchcase(region, self.region.lower())

    def covers_model(self, names: Sequence[str]) -> bool:
        """Tell whether the row is about a model that goes by `names` (lower case)."""
        return not self.model or any(fnmatchcase(name, glob.strip().lower()) for glob in self.model for name in names)


class Dated(Scope):
    """A row that is valid for some time."""

    from_: Annotated[Moment | None, pydantic.Field(alias="from")] = None
    until: Moment | None = None

    def window(self) -> Window:
        """Return when the row is valid."""
        return Window(_ns(self.from_), _ns(self.until))


class PriceRow(Rates, Dated):
    """The price of a model, or of many."""

    model: Names
    """A model's name or names, `*` allowed."""
    tier: Tier = "standard"
    """The service tier that the row is the price of."""
    hours: Hours | None = None
    """Hours of the day, UTC, such as 01:00-04:00; left out for all day."""
    weekdays: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] | None = None
    """Days on which a call starts, UTC: of hours over midnight, those after it are of the next day."""
    per_request: Dollars = Decimal(0)
    """US dollars for each call, whatever its tokens."""
    tiers: Annotated[tuple[ContextTier, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Prices of long inputs."""

    @pydantic.field_validator("weekdays", mode="before")
    @classmethod
    def _days(cls, value: Any) -> Any:
        return as_tuple(value)

    @pydantic.model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.by_bucket() and not self.per_request:
            raise ValueError("the row has no price: give input and output, or per_request")
        return self

    def window(self) -> Window:
        """Return when the row is valid."""
        first, last = 0, 0
        if self.hours and (match := _HOURS.fullmatch(self.hours)):
            hour, minute, end_hour, end_minute = map(int, match.groups())
            first, last = hour * 3600 + minute * 60, end_hour * 3600 + end_minute * 60
        days = None if self.weekdays is None else frozenset(map(_WEEKDAYS.index, self.weekdays))
        return Window(_ns(self.from_), _ns(self.until), first, last, days)

    def choice(self, layer: str, name: str) -> Choice:
        """Compile the row. `name` is the seller and model it is used for."""
        base = self.by_bucket()
        tiers = sorted(self.tiers, key=lambda tier: tier.above_input)
        rows = (make_row(0, base), *(make_row(tier.above_input, {**base, **tier.by_bucket()}) for tier in tiers))
        since = f"@{self.from_.date()}" if self.from_ else ""
        special = f"/tier={self.tier}" if self.tier != "standard" else ""
        return Choice(rows, f"{layer}#{name}{since}{special}", self.window(), int(self.per_request * 10**12))


class FeeRow(Scope):
    """What is billed beside tokens, or instead of them, in US dollars for each."""

    model: Names = ()
    """A model's name or names, `*` allowed; left out, the row is about all models of the provider."""
    web_search: Dollars | None = None
    file_search: Dollars | None = None
    map_search: Dollars | None = None
    social_search: Dollars | None = None
    code_execution: Dollars | None = None
    rerank_search: Dollars | None = None
    image: Dollars | None = None
    """An image that was made."""
    page: Dollars | None = None
    """A page of a document that was read."""
    character: Dollars | None = None
    """A character of text that was spoken."""
    audio_input_minute: Dollars | None = None
    """A minute of sound that was transcribed."""
    audio_output_minute: Dollars | None = None
    """A minute of sound that was made."""

    @pydantic.model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.fees():
            raise ValueError("the row has no fee: give one of web_search, image, audio_input_minute, ...")
        return self

    def fees(self) -> tuple[Fee, ...]:
        """Compile the row."""
        return tuple(
            Fee(unit, pico(price), 60_000 if minute else 1)
            for unit, name, minute in _UNIT_KEYS
            if (price := getattr(self, name)) is not None
        )


class Alias(Scope):
    """Another name of a model: an Azure deployment, an application inference profile, a router's name."""

    model: Names
    use: str
    """`provider/model` that it stands for, such as azure/gpt-4.1."""
    region: str = ""
    """The region the calls go to, for its price."""
    tier: Tier | None = None

    @pydantic.field_validator("use")
    @classmethod
    def _names_both(cls, value: str) -> str:
        if not all(part.strip() for part in value.partition("/")):
            raise ValueError(f"{value[:80]!r} is not provider/model, such as azure/gpt-4.1")
        return value


class ServiceFacts(Block):
    """Facts about the calls of a service that no span carries."""

    match: dict[str, str]
    """Resource attributes and what they look like, `*` allowed: {service.name: "nightly-*"}."""
    tier: Tier | None = None
    region: str | None = None
    speed: Literal["standard", "fast"] | None = None
    """Anthropic's fast mode, OpenAI's fast tier."""
    cache_write_ttl: CacheTTL | None = None
    """Lifetime of cache writes whose span does not tell it."""


class Adjustment(Dated):
    """A multiplier on list prices: a contract's discount, a region's surcharge."""

    tier: Tier | None = None
    multiply: Dollars | None = None
    billing: Literal["provisioned"] | None = None
    """`provisioned`: capacity is paid for elsewhere, so a call costs 0 and its tokens are still counted."""
    reason: str = ""

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.multiply is None) == (self.billing is None):
            raise ValueError("give either multiply or billing: provisioned")
        return self

    @property
    def factor(self) -> Decimal:
        """The multiplier."""
        return Decimal(0) if self.multiply is None else self.multiply


class TierRule(Scope):
    """What a service tier costs relative to the list price, for models whose own tier price is not known."""

    tier: Literal["batch", "flex", "priority", "fast"]
    multiply: Dollars


class SelfHosted(Rates):
    """Models on own machines, by the token or by the hour of a GPU."""

    match: dict[Literal["server.address", "provider", "model"], str]
    """What the calls look like, `*` allowed: {server.address: "10.*", model: "llama-3.3-70b*"}."""
    gpu_hour_usd: Dollars | None = None
    gpus: Annotated[int, pydantic.Field(gt=0)] = 1
    concurrency: Annotated[int, pydantic.Field(gt=0)] = 1
    """Calls that share the GPUs: a call is given dollars * gpus * seconds / 3600 / concurrency."""

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.by_bucket()) == (self.gpu_hour_usd is not None):
            raise ValueError("give either prices per million tokens or gpu_hour_usd")
        return self

    def choice(self, layer: str) -> Choice:
        """Compile the row."""
        if self.gpu_hour_usd is None:
            return Choice((make_row(0, self.by_bucket()),), f"{layer}#self_hosted")
        per_second = int(self.gpu_hour_usd * 10**12) * self.gpus // (3600 * self.concurrency)
        return Choice((make_row(0, {}),), f"{layer}#self_hosted", per_second=per_second, reason="allocated")


class Defaults(Block):
    """What holds where nothing else says it."""

    unknown: Literal["unpriced"] = "unpriced"
    """Models without a price are shown as unpriced; calling them free would hide them."""
    cache_write_ttl: CacheTTL = "5m"


class PriceBook(Block):
    """A whole override file."""

    version: Literal[1] = 1
    currency: Currency = Currency()
    """The currency that people are shown, such as {code: EUR, rate: 0.92}. Prices here are US dollars all the same."""
    defaults: Defaults = Defaults()
    aliases: Annotated[tuple[Alias, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Other names of models; the first that matches counts."""
    services: Annotated[tuple[ServiceFacts, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Facts that no span carries, by resource; the first that matches counts."""
    prices: Annotated[tuple[PriceRow, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Own prices; the first row that matches and is valid at that time counts."""
    fees: Annotated[tuple[FeeRow, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Prices of what is no token: searches, images, sound, pages; for each, the first row that matches counts."""
    adjust: Annotated[tuple[Adjustment, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Multipliers on list prices; all that match are applied."""
    tiers: Annotated[tuple[TierRule, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """What service tiers cost where the price list does not say; the first that matches counts."""
    self_hosted: Annotated[tuple[SelfHosted, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Models on own machines; the first row that matches counts."""


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000) * 1_000_000
