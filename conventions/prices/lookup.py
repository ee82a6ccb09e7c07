"""From the names on a span to the prices that may apply: who was paid, for which model, by which list.

The layers in order: the operator's aliases rename, the operator's prices and machines come first, then
the shipped corrections, then the catalogue; multipliers for contracts, regions and tiers go on top.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.prices.hosts import host_of, is_own, region_of
from spanledger.conventions.prices.override_file import read_book
from spanledger.conventions.prices.overrides import PriceBook
from spanledger.conventions.prices.resolve import MAX_NAME, Name, read_model
from spanledger.conventions.prices.sellers import role_of, squash
from spanledger.conventions.prices.tariff import ALWAYS, Choice, Factor

if TYPE_CHECKING:
    from spanledger.conventions.prices.catalogue import Catalogue, Found

OwnHosts = Literal["auto", "self_hosted"]
"""What a call to a private address is: `auto` takes models that only their lab can run for a proxy's."""

_STANDARD: Final = frozenset({"", "standard", "default", "auto", "on_demand", "standard_only", "none"})
_LIST_ONLY: Final = "tier_at_list_price"
_OWN_BOOK: Final = "overrides"
_MAX_ALIASES: Final = 3
_SPEAKS: Final = re.compile(r"audio|realtime|-live-|-tts(?:-|$)")


@dataclass(frozen=True, slots=True)
class Tariff:
    """The prices of one model for one kind of call, those that win first; or why there are none."""

    choices: tuple[Choice, ...] = ()
    reason: str = "unknown_model"
    seller: str = ""
    name: str = ""
    """The model's id where it was found."""
    speaks: bool = False
    """The model's id says that it is made for audio."""

    def at(self, at_ns: int) -> Choice | None:
        """Return the price valid at that moment."""
        for choice in self.choices:
            if choice.window is ALWAYS or choice.window.active(at_ns):
                return choice
        return None


@functools.cache
def shipped_corrections() -> PriceBook:
    """Return the corrections that come with spanledger."""
    text = resources.files("spanledger.conventions.prices").joinpath("corrections.yaml").read_text("utf-8")
    return read_book(text, "corrections.yaml")


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


class Lookup:
    """Finds tariffs. Takes a fraction of a millisecond; `PriceEngine` remembers what it found."""

    def __init__(
        self, catalogue: Catalogue, books: Sequence[PriceBook], corrections: PriceBook, own_hosts: OwnHosts
    ) -> None:
        self._catalogue = catalogue
        self._books = books
        self._corrections = corrections
        self._own_hosts = own_hosts

    def find(
        self, provider: str | None, response_model: str | None, request_model: str | None,
        server_address: str | None, region: str, tier: str,
    ) -> Tariff:  # fmt: skip
        """Find the prices for the names of a call; the model that answered comes before the one asked for."""
        ask = _Ask(provider or "", "", host_of(server_address), region.lower(), _tier(tier))
        first: Tariff | None = None
        for model in dict.fromkeys((response_model, request_model)):
            if model and model.strip():
                found = self._of_model(replace(ask, model=model))
                if _SPEAKS.search(model.lower()):
                    found = replace(found, speaks=True)
                if found.choices:
                    return found
                first = first or found
        return first or Tariff(reason="no_model")

    def _of_model(self, ask: _Ask) -> Tariff:
        ask, renamed = self._rename(ask)
        role, seller = role_of(ask.provider)
        own = is_own(ask.host)
        generic = not renamed and (role in ("framework", "gateway") or seller == "openai")
        if generic and not own and ask.host and (served_by := self._catalogue.seller_at(ask.host)):
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
                    for book in self._books
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
            candidates: Iterable[str] = self._catalogue.infer(name.forms[-1]) if name.forms else ()
        elif (generic or role == "unknown") and name.forms:
            # An OpenAI-compatible client talks to anyone, and some emitters write the name of the application
            # where the provider belongs; only models of closed labs tell who it was.
            candidates = (lab for lab in self._catalogue.infer(name.forms[-1]) if lab in self._catalogue.closed_labs)
        else:
            candidates = ()
        for candidate in candidates:
            if candidate not in seen:
                seen.add(candidate)
                yield candidate

    def _own_prices(self, ask: _Ask, sellers: Sequence[str], spellings: Sequence[str]) -> Iterator[Choice]:
        """Yield the operator's prices for the model; a price for the very tier comes before the standard one."""
        standard: list[Choice] = []
        for book in self._books:
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
        for book in self._books:
            for row in book.self_hosted:
                facts = {"server.address": (ask.host,), "model": spellings, "provider": (ask.provider.lower(),)}
                if all(any(fnmatchcase(fact, glob.lower()) for fact in facts[key]) for key, glob in row.match.items()):
                    yield row.choice(_OWN_BOOK)

    def _list_prices(self, ask: _Ask, sellers: Sequence[str], name: Name) -> _Listed | None:
        """Find the model in the price lists of `sellers`: corrections first, then the catalogue."""
        for position, seller in enumerate(sellers):
            spelled = name if position == 0 or name.seller == seller else read_model(ask.model, seller, firm=True)
            forms = spelled.forms or name.forms
            found = self._catalogue.find(seller, forms)
            corrected = self._corrected(ask, seller, forms, found)
            if found is None and not corrected:
                continue
            known = (found.name.lower(), found.form) if found else forms
            listed = [*corrected]
            for choice, special in self._catalogue.choices(found, ask.tier) if found else ():
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
        for row in self._corrections.prices:
            if row.provider != seller or not row.covers_model(names) or not row.covers_region(ask.region):
                continue
            choice = row.choice(
                f"corrections+{self._catalogue.source}", f"{seller}/{found.name if found else forms[0]}"
            )
            if row.tier == (ask.tier or "standard"):
                made.append(choice)
            elif row.tier == "standard" and not any(
                other.tier == ask.tier and other.model == row.model for other in self._corrections.prices
            ):
                made.append(self._at_tier(choice, ask, seller, names))
        return made

    def _at_tier(self, choice: Choice, ask: _Ask, seller: str, names: Sequence[str]) -> Choice:
        """Turn a standard price into the tier's, by the rule of the tier if there is one."""
        if not ask.tier:
            return choice
        for book in (*self._books, self._corrections):
            for rule in book.tiers:
                if rule.tier == ask.tier and rule.covers_model(names) and _same_provider(rule.provider, seller):
                    factor = _factor(rule.multiply, f"{ask.tier} tier")
                    return replace(choice, factors=(*choice.factors, factor), ref=f"{choice.ref}/tier={ask.tier}")
        return replace(choice, reason=_LIST_ONLY)

    def _factors(self, ask: _Ask, seller: str, found: Found | None, forms: Sequence[str]) -> Iterator[Factor]:
        """Yield the multipliers on the list price: contracts and regions."""
        names = (found.name.lower(), *forms) if found else tuple(forms)
        for book in (*self._books, self._corrections):
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
        return self._own_hosts == "auto" and listed is not None and listed.seller in self._catalogue.closed_labs

    def _label(self, listed: _Listed) -> str:
        return listed.found.name if listed.found else listed.forms[0]


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
