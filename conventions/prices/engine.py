"""From a model call to money: resolve the name, choose the price of that day, do the arithmetic.

The price of a call is the one valid at the span's *start*: that is when the seller took the request.
Finding a price takes a fraction of a millisecond and is remembered for each combination of names, hits
and misses alike; after that a call costs a dictionary look-up and a dot product.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.prices.hosts import host_of, is_own, region_of
from spanledger.conventions.prices.overrides import PriceBook, ServiceFacts, read_book
from spanledger.conventions.prices.resolve import MAX_NAME, Name, read_model
from spanledger.conventions.prices.sellers import role_of, squash
from spanledger.conventions.prices.tariff import ALWAYS, INPUT_BUCKETS, OUTPUT_BUCKETS, Choice, Factor, dot, split
from spanledger.conventions.reading import Cost

if TYPE_CHECKING:
    from spanledger.conventions.prices.catalogue import Catalogue, Found
    from spanledger.conventions.usage import Usage

MEMO_SIZE: Final = 4096

OwnHosts = Literal["auto", "self_hosted"]
"""What a call to a private address is: `auto` takes models that only their lab can run for a proxy's."""

_Names = tuple[str | None, str | None, str | None, str | None, str, str]

_STANDARD: Final = frozenset({"", "standard", "default", "auto", "on_demand", "standard_only", "none"})
_LIST_ONLY: Final = "tier_at_list_price"
_OWN_BOOK: Final = "overrides"
_MAX_ALIASES: Final = 3


@dataclass(frozen=True, slots=True)
class PricedCall:
    """What is known of one model call. Text may be anything a client sent."""

    usage: Usage | None
    provider: str | None = None
    response_model: str | None = None
    request_model: str | None = None
    server_address: str | None = None
    region: str = ""
    tier: str = ""
    """Service tier, the response's before the request's; "" and `default` are the standard one."""
    one_hour_cache: bool = False
    """Cache writes whose lifetime the span does not tell live for an hour."""
    duration_ns: int = 0
    """Only own machines paid by the hour need it."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """The prices of one model for one kind of call, those that win first; or why there are none."""

    choices: tuple[Choice, ...] = ()
    reason: str = "unknown_model"
    seller: str = ""
    name: str = ""
    """The model's id where it was found."""

    def at(self, at_ns: int) -> Choice | None:
        """Return the price valid at that moment."""
        for choice in self.choices:
            if choice.window is ALWAYS or choice.window.active(at_ns):
                return choice
        return None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an explanation: so many tokens at such a rate."""

    bucket: str
    tokens: int
    usd_per_million: Decimal
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a cost came about, for people."""

    cost: Cost
    tariff: Tariff
    lines: tuple[Line, ...] = ()
    factors: tuple[Factor, ...] = ()
    above_input: int = 0
    """The context threshold whose row was used."""


@functools.cache
def shipped_corrections() -> PriceBook:
    """Return the corrections that come with spanledger."""
    text = resources.files("spanledger.conventions.prices").joinpath("corrections.yaml").read_text("utf-8")
    return read_book(text, "corrections.yaml")


@dataclass(slots=True)
class PriceEngine:
    """Prices calls by an operator's books and a catalogue. Replaced as a whole when prices change."""

    catalogue: Catalogue
    books: Sequence[PriceBook] = ()
    """The operator's, in order of precedence."""
    own_hosts: OwnHosts = "auto"
    corrections: PriceBook = field(default_factory=shipped_corrections)
    misses: int = field(default=0, init=False)
    """How many times a price had to be looked for: the slow path."""
    _memo: dict[_Names, Tariff] = field(default_factory=dict, init=False, repr=False)

    @property
    def memo_entries(self) -> int:
        """How many combinations of names are remembered."""
        return len(self._memo)

    def price(self, call: PricedCall, at_ns: int) -> Cost:
        """Return what a call that started at `at_ns` cost; never raises because of the call."""
        usage = call.usage
        tariff = self.tariff(call)
        choice = tariff.at(at_ns)
        if usage is None or not (usage.input or usage.output):
            if choice is not None and choice.per_second:
                return _by_time(choice, call.duration_ns)
            return NO_USAGE
        if choice is None:
            return Cost("unpriced", tariff.reason if not tariff.choices else "no_price_at_that_time")
        if choice.per_second:
            return _by_time(choice, call.duration_ns)
        counts = split(usage, one_hour=call.one_hour_cache)
        if counts is None:
            return Cost("unpriced", "inconsistent")
        row = choice.row(usage.input or 0)
        spent_in = dot(row.input, counts[0])
        spent_out = dot(row.output, counts[1])
        fee = choice.per_request
        if choice.factors:
            spent_in, spent_out, fee = (choice.scale(amount, at_ns) for amount in (spent_in, spent_out, fee))
        reason = choice.reason or ("" if not usage.conflicts else "usage_conflict")
        return Cost("priced", reason, spent_in + spent_out + fee, spent_in, spent_out, choice.ref)

    def explain(self, call: PricedCall, at_ns: int) -> Explanation:
        """Price a call and show the arithmetic."""
        cost = self.price(call, at_ns)
        tariff = self.tariff(call)
        choice = tariff.at(at_ns)
        counts = split(call.usage, one_hour=call.one_hour_cache) if call.usage else None
        if choice is None or counts is None or cost.status != "priced" or call.usage is None:
            return Explanation(cost, tariff)
        row = choice.row(call.usage.input or 0)
        factors = tuple(factor for factor in choice.factors if factor.window.active(at_ns))
        return Explanation(cost, tariff, tuple(_lines(choice, counts, call.usage)), factors, row.above)

    def tariff(self, call: PricedCall) -> Tariff:
        """Return the prices of the model of a call."""
        key = (call.provider, call.response_model, call.request_model, call.server_address, call.region, call.tier)
        tariff = self._memo.get(key)
        if tariff is None:
            if any(text is not None and len(text) > MAX_NAME for text in key):
                return _UNKNOWN  # nothing that long is a name, and the memo must not keep it
            self.misses += 1
            tariff = self._compile(*key)
            if len(self._memo) >= MEMO_SIZE:
                del self._memo[next(iter(self._memo))]
            self._memo[key] = tariff
        return tariff

    def facts(self, resource: Mapping[str, object]) -> ServiceFacts | None:
        """Return what the operator said about the calls of a service, by its resource attributes."""
        for book in self.books:
            for facts in book.services:
                if all(fnmatchcase(str(resource.get(key, "")), glob) for key, glob in facts.match.items()):
                    return facts
        return None

    def _compile(
        self, provider: str | None, response_model: str | None, request_model: str | None,
        server_address: str | None, region: str, tier: str,
    ) -> Tariff:  # fmt: skip
        """Find the prices for the names of a call; the model that answered comes before the one asked for."""
        ask = _Ask(provider or "", "", host_of(server_address), region.lower(), _tier(tier))
        first: Tariff | None = None
        for model in dict.fromkeys((response_model, request_model)):
            if model and model.strip():
                found = self._of_model(replace(ask, model=model))
                if found.choices:
                    return found
                first = first or found
        return first or Tariff(reason="no_model")

    def _of_model(self, ask: _Ask) -> Tariff:
        ask, renamed = self._rename(ask)
        role, seller = role_of(ask.provider)
        own = is_own(ask.host)
        generic = not renamed and (role in ("framework", "gateway") or seller == "openai")
        if generic and not own and ask.host and (served_by := self.catalogue.seller_at(ask.host)):
            generic, seller, role = served_by == "openai", served_by, "seller"
        name = read_model(ask.model, seller, firm=bool(seller) and not generic)
        ask = replace(ask, region=ask.region or name.region or region_of(ask.host))
        if generic and name.seller and name.seller != seller:
            generic, seller, role = False, name.seller, "seller"

        sellers = list(self._sellers(role, seller, name, generic=generic))
        spellings = dict.fromkeys((ask.model.strip().lower()[:MAX_NAME], *name.forms))
        choices = [*self._own_prices(ask, sellers, tuple(spellings)), *self._own_machines(ask, tuple(spellings))]
        found = self._list_prices(ask, sellers, name) if name.forms else None
        if role == "local" or (own and generic and not self._is_proxied(found)):
            return Tariff(tuple(choices), "self_hosted", name=ask.model)
        if found is not None:
            label = self._label(found)
            return Tariff((*choices, *found.choices), found.reason, found.seller, label)
        if role == "unknown":
            return Tariff(tuple(choices), "unknown_provider", name=ask.model)
        return Tariff(tuple(choices), "unknown_model", seller, ask.model)

    def _rename(self, ask: _Ask) -> tuple[_Ask, bool]:
        """Follow the operator's aliases."""
        renamed = False
        for _ in range(_MAX_ALIASES):
            alias = next(
                (
                    alias
                    for book in self.books
                    for alias in book.aliases
                    if alias.covers_model((ask.model.strip().lower(),)) and _same_provider(alias.provider, ask.provider)
                ),
                None,
            )
            if alias is None:
                break
            provider, _, model = alias.use.partition("/")
            tier = _tier(alias.tier) if alias.tier else ask.tier
            target = _Ask(provider, model, "", alias.region.lower() or ask.region, tier)
            if (target.provider, target.model) == (ask.provider, ask.model):
                break
            ask, renamed = target, True
        return ask, renamed

    def _sellers(self, role: str, seller: str, name: Name, *, generic: bool) -> Iterator[str]:
        """Yield the sellers whose price lists may have the model, the likeliest first."""
        seen: set[str] = set()
        if seller:
            seen.add(seller)
            yield seller
        if name.seller and name.seller not in seen:
            seen.add(name.seller)
            yield name.seller
        if role in ("framework", "gateway") and not name.seller:
            candidates: Iterable[str] = self.catalogue.infer(name.forms[-1]) if name.forms else ()
        elif (generic or role == "unknown") and name.forms:
            # An OpenAI-compatible client talks to anyone, and some emitters write the name of the application
            # where the provider belongs; only models of closed labs tell who it was.
            candidates = (lab for lab in self.catalogue.infer(name.forms[-1]) if lab in self.catalogue.closed_labs)
        else:
            candidates = ()
        for candidate in candidates:
            if candidate not in seen:
                seen.add(candidate)
                yield candidate

    def _own_prices(self, ask: _Ask, sellers: Sequence[str], spellings: Sequence[str]) -> Iterator[Choice]:
        """Yield the operator's prices for the model; a price for the very tier comes before the standard one."""
        standard: list[Choice] = []
        for book in self.books:
            for row in book.prices:
                if not row.covers_model(spellings) or not row.covers_region(ask.region):
                    continue
                if not any(_same_provider(row.provider, name) for name in (ask.provider, *sellers)):
                    continue
                choice = row.choice(_OWN_BOOK, f"{row.provider or ask.provider}/{spellings[0]}")
                if row.tier == (ask.tier or "standard"):
                    yield choice
                elif row.tier == "standard":
                    standard.append(self._at_tier(choice, ask, sellers[0] if sellers else "", spellings))
        yield from standard

    def _own_machines(self, ask: _Ask, spellings: Sequence[str]) -> Iterator[Choice]:
        for book in self.books:
            for row in book.self_hosted:
                facts = {"server.address": (ask.host,), "model": spellings, "provider": (ask.provider.lower(),)}
                if all(any(fnmatchcase(fact, glob.lower()) for fact in facts[key]) for key, glob in row.match.items()):
                    yield row.choice(_OWN_BOOK)

    def _list_prices(self, ask: _Ask, sellers: Sequence[str], name: Name) -> _Listed | None:
        """Find the model in the price lists of `sellers`: corrections first, then the catalogue."""
        for position, seller in enumerate(sellers):
            spelled = name if position == 0 or name.seller == seller else read_model(ask.model, seller, firm=True)
            forms = spelled.forms or name.forms
            found = self.catalogue.find(seller, forms)
            corrected = self._corrected(ask, seller, forms, found)
            if found is None and not corrected:
                continue
            known = (found.name.lower(), found.form) if found else forms
            listed = [*corrected]
            for choice, special in self.catalogue.choices(found, ask.tier) if found else ():
                listed.append(choice if special else self._at_tier(choice, ask, seller, known))
            factors = tuple(self._factors(ask, seller, found, forms))
            return _Listed(seller, found, forms, tuple(_with_factors(choice, factors) for choice in listed))
        return None

    def _corrected(self, ask: _Ask, seller: str, forms: Sequence[str], found: Found | None) -> list[Choice]:
        # A correction is about a model of the catalogue or about one spelling of it (`…-latest`), never about
        # what is left when more is taken off a name.
        names = forms
        if found is not None:
            names = (found.name.lower(), found.form)
            if names[0] != names[1]:
                names = (*names, found.form.rpartition("/")[2])
        made = []
        for row in self.corrections.prices:
            if row.provider != seller or not row.covers_model(names) or not row.covers_region(ask.region):
                continue
            choice = row.choice(f"corrections+{self.catalogue.source}", f"{seller}/{found.name if found else forms[0]}")
            if row.tier == (ask.tier or "standard"):
                made.append(choice)
            elif row.tier == "standard" and not any(
                other.tier == ask.tier and other.model == row.model for other in self.corrections.prices
            ):
                made.append(self._at_tier(choice, ask, seller, names))
        return made

    def _at_tier(self, choice: Choice, ask: _Ask, seller: str, names: Sequence[str]) -> Choice:
        """Turn a standard price into the tier's, by the rule of the tier if there is one."""
        if not ask.tier:
            return choice
        for book in (*self.books, self.corrections):
            for rule in book.tiers:
                if rule.tier == ask.tier and rule.covers_model(names) and _same_provider(rule.provider, seller):
                    factor = _factor(rule.multiply, f"{ask.tier} tier")
                    return replace(choice, factors=(*choice.factors, factor), ref=f"{choice.ref}/tier={ask.tier}")
        return replace(choice, reason=_LIST_ONLY)

    def _factors(self, ask: _Ask, seller: str, found: Found | None, forms: Sequence[str]) -> Iterator[Factor]:
        """Yield the multipliers on the list price: contracts and regions."""
        names = (found.name.lower(), *forms) if found else tuple(forms)
        for book in (*self.books, self.corrections):
            for row in book.adjust:
                if (
                    _same_provider(row.provider, seller)
                    and row.covers_model(names)
                    and row.covers_region(ask.region)
                    and (row.tier is None or row.tier == (ask.tier or "standard"))
                ):
                    why = row.reason or row.billing or "adjusted"
                    yield replace(_factor(row.factor, why if not row.region else f"{why} {ask.region}"),
                                  window=row.window())  # fmt: skip

    def _is_proxied(self, listed: _Listed | None) -> bool:
        """Tell whether a model behind a private address must be some lab's own, passed on by a proxy."""
        return self.own_hosts == "auto" and listed is not None and listed.seller in self.catalogue.closed_labs

    def _label(self, listed: _Listed) -> str:
        return listed.found.name if listed.found else listed.forms[0]


@dataclass(frozen=True, slots=True)
class _Ask:
    """A call as it is looked up."""

    provider: str
    model: str
    host: str
    region: str
    tier: str


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the price lists have for a model."""

    seller: str
    found: Found | None
    forms: Sequence[str]
    choices: tuple[Choice, ...]

    @property
    def reason(self) -> str:
        """Why nothing is priced although the model is known: it is not sold by the token."""
        return "" if self.choices else "not_priced_by_token"


NO_USAGE: Final = Cost("no_usage")
_UNKNOWN: Final = Tariff()


def _tier(text: str) -> str:
    """Return the tier by our names; "" for the standard one."""
    tier = text.strip().lower().removeprefix("service_tier_")
    return "" if tier in _STANDARD else tier[:32]


def _same_provider(wanted: str, provider: str) -> bool:
    """Tell whether a row for provider `wanted` ("" for any) is about `provider`, in any spelling."""
    if not wanted or squash(wanted) == squash(provider):
        return True
    seller = role_of(wanted)[1]
    return bool(seller) and seller in (provider, role_of(provider)[1])


def _factor(multiply: Decimal, why: str) -> Factor:
    return Factor(*multiply.as_integer_ratio(), why)


def _with_factors(choice: Choice, factors: tuple[Factor, ...]) -> Choice:
    if not factors:
        return choice
    said = "".join(f"/x{factor.value:g}" for factor in factors)
    return replace(choice, factors=(*choice.factors, *factors), ref=choice.ref + said)


def _by_time(choice: Choice, duration_ns: int) -> Cost:
    spent = choice.per_second * max(duration_ns, 0) // 1_000_000_000
    return Cost("priced", choice.reason, spent, price_ref=choice.ref)


def _lines(choice: Choice, counts: tuple[Sequence[int], Sequence[int]], usage: Usage) -> Iterator[Line]:
    row = choice.row(usage.input or 0)
    sides = ((INPUT_BUCKETS, row.input, counts[0]), (OUTPUT_BUCKETS, row.output, counts[1]))
    for buckets, rates, tokens in sides:
        for bucket, rate, count in zip(buckets, rates, tokens, strict=True):
            if count:
                yield Line(bucket, count, Decimal(rate) / 10**6, Decimal(rate * count) / 10**12)
    if choice.per_request:
        fee = Decimal(choice.per_request) / 10**12
        yield Line("request", 1, fee * 10**6, fee)
