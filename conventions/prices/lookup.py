"""From the names on a span to the prices that may apply: who was paid, for which model, by which list.

The operator's aliases rename, the operator's prices and machines come first, then what `price_lists` has; fees for
what is no token go with all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.prices.ask import PROVISIONED, Ask, same_provider, tier_of
from spanledger.conventions.prices.hosts import host_of, is_own, region_of
from spanledger.conventions.prices.overrides import FeeRow, PriceBook
from spanledger.conventions.prices.resolve import MAX_NAME, Name, family, read_model
from spanledger.conventions.prices.sellers import role_of
from spanledger.conventions.prices.tariff import ALWAYS, Choice, Fee

if TYPE_CHECKING:
    from spanledger.conventions.prices.price_lists import Listed, PriceLists
    from spanledger.conventions.units import Unit

OwnHosts = Literal["auto", "self_hosted"]
"""What a call to a private address is: `auto` takes models that only their lab can run for a proxy's."""

_OWN_BOOK: Final = "overrides"
_MAX_ALIASES: Final = 3
_SPEAKS: Final = re.compile(r"audio|realtime|-live-|-tts(?:-|$)|-transcribe")


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


class Lookup:
    """Finds tariffs. Takes a fraction of a millisecond; `PriceEngine` remembers what it found."""

    def __init__(self, lists: PriceLists, books: Sequence[PriceBook], own_hosts: OwnHosts) -> None:
        self._lists = lists
        self._books = books
        self._own_hosts = own_hosts

    def find(
        self, provider: str | None, response_model: str | None, request_model: str | None,
        server_address: str | None, region: str, tier: str, assumed_region: str = "",
    ) -> Tariff:  # fmt: skip
        """Find the prices for the names of a call; the model that answered comes before the one asked for."""
        ask = Ask(provider or "", "", host_of(server_address), region.lower(), tier_of(tier), assumed_region.lower())
        deployed = self._deployment(ask, response_model, request_model)
        first: Tariff | None = None
        for model in dict.fromkeys((response_model, request_model)):
            if model and model.strip():
                known = deployed if deployed is not None and model is response_model else ask
                found = self._of_model(replace(known, model=model))
                if _SPEAKS.search(model.lower()):
                    found = replace(found, speaks=True)
                if found.choices:
                    return found
                first = first or found
        return first or Tariff(reason="no_model")

    def _deployment(self, ask: Ask, response_model: str | None, request_model: str | None) -> Ask | None:
        """Return whose it is, where and at which tier, if the operator said so of the name that was asked for.

        That holds for the model that answered if it is the one that the alias means.
        """
        if not response_model or not request_model or response_model == request_model:
            return None
        deployed, renamed = self._rename(replace(ask, model=request_model))
        if not renamed:
            return None
        meant, answered = family(deployed.model), family(response_model)
        return deployed if meant.startswith(answered) or answered.startswith(meant) else None

    def _of_model(self, ask: Ask) -> Tariff:
        ask, renamed = self._rename(ask)
        role, seller = role_of(ask.provider)
        own = is_own(ask.host)
        generic = not renamed and (role in ("framework", "gateway") or seller == "openai")
        if (generic or not seller) and not own and ask.host and (served_by := self._lists.seller_at(ask.host)):
            generic, seller, role = served_by == "openai", served_by, "seller"
        name = read_model(ask.model, seller, firm=bool(seller) and not generic)
        ask = replace(ask, region=name.region or ask.region or region_of(ask.host) or ask.assumed_region)
        if generic and name.seller and name.seller != seller:
            generic, seller, role = False, name.seller, "seller"

        sellers = list(self._sellers(role, seller, name, generic=generic))
        spellings = dict.fromkeys((ask.model.strip().lower()[:MAX_NAME], *name.forms))
        choices = [*self._own_prices(ask, sellers, tuple(spellings)), *self._own_machines(ask, tuple(spellings))]
        found = self._lists.find(ask, sellers, name) if name.forms else None
        fees = self._fees(ask, sellers, found, tuple(spellings))
        if ask.tier == PROVISIONED or name.reason:  # capacity is paid by the hour, and nobody's price list has calls
            paid = (choice for choice in (found.choices if found else ()) if choice.is_paid_elsewhere)
            return Tariff((*choices, *paid), PROVISIONED, seller, ask.model)
        if role == "local" or (own and generic and not self._is_proxied(found)):
            return Tariff(tuple(choices), "self_hosted", name=ask.model)
        if found is not None:
            listed = (*choices, *found.choices) or self._by_unit_only(ask, fees, self._label(found))
            return Tariff(_with_fees(listed, fees), found.reason, found.seller, self._label(found))
        listed = tuple(choices) or self._by_unit_only(ask, fees, ask.model)
        if role == "unknown":
            return Tariff(_with_fees(listed, fees), "unknown_provider", name=ask.model)
        return Tariff(_with_fees(listed, fees), "unknown_model", seller, ask.model)

    def _fees(
        self, ask: Ask, sellers: Sequence[str], found: Listed | None, spellings: Sequence[str]
    ) -> Mapping[Unit, tuple[Fee, bool]]:
        """Return the fees beside a model's tokens by unit: the operator's, then the list's, then those of its seller.

        With each, whether the operator gave it for this very model.
        """
        shops = (found.seller,) if found else (ask.provider, *sellers)
        names = (*spellings, *((found.found.name.lower(),) if found and found.found else ()))

        def rows(book: PriceBook) -> Iterator[FeeRow]:
            for row in book.fees:
                about = row.covers_model(names) and row.covers_region(ask.region)
                if about and any(same_provider(row.provider, shop) for shop in shops):
                    yield row

        fees: dict[Unit, tuple[Fee, bool]] = {}
        for row in (row for book in self._books for row in rows(book)):
            for fee in row.fees():
                fees.setdefault(fee.unit, (fee, bool(row.model)))
        listed = (fee for choice in (found.choices if found else ()) for fee in choice.fees)
        for fee in (*listed, *(fee for row in rows(self._lists.corrections) for fee in row.fees())):
            fees.setdefault(fee.unit, (fee, False))
        return fees

    def _by_unit_only(self, ask: Ask, fees: Mapping[Unit, tuple[Fee, bool]], name: str) -> tuple[Choice, ...]:
        """Return the price of a model that only fees are known of, by its very name."""
        if not any(of_model for _, of_model in fees.values()):
            return ()
        return (Choice((), f"{_OWN_BOOK}#{ask.provider}/{name}"),)

    def _rename(self, ask: Ask) -> tuple[Ask, bool]:
        """Follow the operator's aliases."""
        renamed = False
        for _ in range(_MAX_ALIASES):
            alias = next(
                (
                    alias
                    for book in self._books
                    for alias in book.aliases
                    if alias.covers_model((ask.model.strip().lower(),)) and same_provider(alias.provider, ask.provider)
                ),
                None,
            )
            if alias is None:
                break
            provider, _, model = alias.use.partition("/")
            tier = tier_of(alias.tier) if alias.tier else ask.tier
            target = Ask(provider, model, "", alias.region.lower() or ask.region, tier)
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
            candidates: Iterable[str] = self._lists.catalogue.infer(name.forms[-1]) if name.forms else ()
        elif (generic or role == "unknown") and name.forms:
            # An OpenAI-compatible client talks to anyone, and some emitters write the name of the application
            # where the provider belongs; only models of closed labs tell who it was.
            candidates = (
                lab for lab in self._lists.catalogue.infer(name.forms[-1]) if lab in self._lists.catalogue.closed_labs
            )
        else:
            candidates = ()
        for candidate in candidates:
            if candidate not in seen:
                seen.add(candidate)
                yield candidate

    def _own_prices(self, ask: Ask, sellers: Sequence[str], spellings: Sequence[str]) -> Iterator[Choice]:
        """Yield the operator's prices for the model; a price for the very tier comes before the standard one."""
        standard: list[Choice] = []
        for book in self._books:
            for row in book.prices:
                if not row.covers_model(spellings) or not row.covers_region(ask.region):
                    continue
                if not any(same_provider(row.provider, name) for name in (ask.provider, *sellers)):
                    continue
                choice = row.choice(_OWN_BOOK, f"{row.provider or ask.provider}/{spellings[0]}")
                if row.tier == (ask.tier or "standard"):
                    yield choice
                elif row.tier == "standard":
                    standard.append(self._lists.at_tier(choice, ask, sellers[0] if sellers else "", spellings))
        yield from standard

    def _own_machines(self, ask: Ask, spellings: Sequence[str]) -> Iterator[Choice]:
        for book in self._books:
            for row in book.self_hosted:
                facts = {"server.address": (ask.host,), "model": spellings, "provider": (ask.provider.lower(),)}
                if all(any(fnmatchcase(fact, glob.lower()) for fact in facts[key]) for key, glob in row.match.items()):
                    yield row.choice(_OWN_BOOK)

    def _is_proxied(self, listed: Listed | None) -> bool:
        """Tell whether a model behind a private address must be some lab's own, passed on by a proxy."""
        return self._own_hosts == "auto" and listed is not None and listed.seller in self._lists.catalogue.closed_labs

    def _label(self, listed: Listed) -> str:
        return listed.found.name if listed.found else listed.forms[0]


def _with_fees(choices: Iterable[Choice], fees: Mapping[Unit, tuple[Fee, bool]]) -> tuple[Choice, ...]:
    if not fees:
        return tuple(choices)
    all_fees = tuple(fee for fee, _ in fees.values())
    return tuple(replace(choice, fees=all_fees) for choice in choices)
