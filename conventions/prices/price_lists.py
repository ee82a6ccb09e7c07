"""The price lists that come with spanledger: corrections, the catalogue, the second one, multipliers on top."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from spanledger.conventions.prices.ask import Ask, same_provider
from spanledger.conventions.prices.override_file import read_book
from spanledger.conventions.prices.overrides import PriceBook
from spanledger.conventions.prices.resolve import Name, names_area, read_model
from spanledger.conventions.prices.tariff import Choice, Factor

if TYPE_CHECKING:
    from spanledger.conventions.prices.catalogue import Catalogue
    from spanledger.conventions.prices.second_catalogue import SecondCatalogue

Rates: TypeAlias = tuple[int, int]
"""Pico-dollars a token of input and of output."""

_LIST_ONLY: Final = "tier_at_list_price"
_GOVERNMENT: Final = "us-gov"
"""How regions of GovCloud begin: they have price lists of their own, and no other holds there."""
_IN_CHINA: Final = frozenset({"aws", "azure", "dashscope"})
"""Sellers with another price list for China, in its currency."""


@functools.cache
def shipped_corrections() -> PriceBook:
    """Return the corrections that come with spanledger."""
    text = resources.files("spanledger.conventions.prices").joinpath("corrections.yaml").read_text("utf-8")
    return read_book(text, "corrections.yaml")


class Found(Protocol):
    """A model of a price list, found under one of its spellings."""

    @property
    def name(self) -> str:
        """Its id in that list."""
        ...

    @property
    def form(self) -> str:
        """The spelling that named it."""
        ...

    def choices(self, tier: str = "") -> Sequence[tuple[Choice, bool]]:
        """Return its prices, those that win first, each with whether it is the tier's own price."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """What the price lists have for a model."""

    seller: str
    found: Found | None
    forms: Sequence[str]
    choices: tuple[Choice, ...]
    reason: str = "not_priced_by_token"
    """Why nothing is priced although the model is known, if nothing is."""


class PriceLists:
    """Everything that says what sellers ask for; what an operator says comes before it, and on top."""

    def __init__(
        self, catalogue: Catalogue, second: SecondCatalogue, books: Sequence[PriceBook], corrections: PriceBook
    ) -> None:
        self.catalogue = catalogue
        self.corrections = corrections
        self._second = second
        self._books = books

    def find(self, ask: Ask, sellers: Sequence[str], name: Name) -> Listed | None:
        """Find the model in the price lists of `sellers`.

        Prices of the very region come first, then corrections, then the catalogue, then the second one for what the
        catalogue does not know or has no price for.
        """
        for position, seller in enumerate(sellers):
            spelled = name if position == 0 or name.seller == seller else read_model(ask.model, seller, firm=True)
            forms = spelled.forms or name.forms
            found: Found | None = self.catalogue.find(seller, forms)
            corrected = self._corrected(ask, seller, forms, found)
            regional = self._in_region(ask.region, seller, forms) or self._in_area(seller, forms, found)
            listed = [*self._compiled(ask, seller, regional, forms), *corrected]
            listed += self._compiled(ask, seller, found, forms)
            if not listed and (second := self._second.find(seller, forms)) is not None:
                found = found or second
                listed = self._compiled(ask, seller, second, forms)
            if found is None and not listed:
                continue
            if regional is None and _is_apart(seller, ask.region):
                return Listed(seller, found, forms, (), "no_price_for_region")
            factors = tuple(self._factors(ask, seller, found, forms))
            priced = tuple(_with_factors(choice, factors) for choice in listed)
            return Listed(seller, regional or found, forms, priced)
        return None

    def _compiled(self, ask: Ask, seller: str, found: Found | None, forms: Sequence[str]) -> list[Choice]:
        """Return the prices of a model, those that win first."""
        if found is None:
            return []
        names = (found.name.lower(), found.form, *forms)
        tiers = self._tier_prices(ask.tier, seller, forms)
        made = []
        for choice, special in found.choices(ask.tier):
            if special:
                made.append(choice)
            elif (own := tiers.get(_rates(choice))) is not None:
                made.append(replace(own, window=choice.window))
            else:
                made.append(self.at_tier(choice, ask, seller, names))
        return made

    def _tier_prices(self, tier: str, seller: str, forms: Sequence[str]) -> Mapping[Rates | None, Choice]:
        """Return the second list's price of a tier by its standard rates: it counts where the other has the same."""
        second = self._second.find(seller, forms) if tier else None
        if second is None:
            return {}
        return {_base(second): choice for choice, special in second.choices(tier) if special}

    def _in_region(self, region: str, seller: str, forms: Sequence[str]) -> Found | None:
        """Find the model in a price list of that very region. GovCloud's is for all of it where it has no other."""
        wider = {_GOVERNMENT: (_GOVERNMENT + "-west-1",)}.get(region, (_GOVERNMENT,))
        areas = (region, *wider) if region.startswith(_GOVERNMENT) else (region,) if region else ()
        return next((found for area in areas if (found := self._second.find(seller, forms, area))), None)

    def _in_area(self, seller: str, forms: Sequence[str], found: Found | None) -> Found | None:
        """Find an inference profile (`apac.…`) that the catalogue only knows without its area, at another price."""
        if seller != "aws" or found is None or names_area(found.name):
            return None
        profile = self._second.find(seller, filter(names_area, forms))
        return None if profile is None or _base(profile) == _base(found) else profile

    def seller_at(self, host: str) -> str:
        """Return the seller whose API has that address, "" for none."""
        return self.catalogue.seller_at(host) or self._second.seller_at(host)

    def _corrected(self, ask: Ask, seller: str, forms: Sequence[str], found: Found | None) -> list[Choice]:
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
            choice = replace(choice, prices_audio=row.audio_input is not None or row.audio_output is not None)
            if row.tier == (ask.tier or "standard"):
                made.append(choice)
            elif row.tier == "standard" and not any(
                other.tier == ask.tier and other.model == row.model for other in self.corrections.prices
            ):
                made.append(self.at_tier(choice, ask, seller, names))
        return made

    def at_tier(self, choice: Choice, ask: Ask, seller: str, names: Sequence[str]) -> Choice:
        """Turn a standard price into the tier's, by the rule of the tier if there is one."""
        if not ask.tier:
            return choice
        for book in (*self._books, self.corrections):
            for rule in book.tiers:
                if rule.tier == ask.tier and rule.covers_model(names) and same_provider(rule.provider, seller):
                    factor = replace(_factor(rule.multiply, f"{ask.tier} tier"), on_fees=False)
                    return replace(choice, factors=(*choice.factors, factor), ref=f"{choice.ref}/tier={ask.tier}")
        return replace(choice, reason=_LIST_ONLY)

    def _factors(self, ask: Ask, seller: str, found: Found | None, forms: Sequence[str]) -> Iterator[Factor]:
        """Yield the multipliers on the list price: contracts and regions."""
        names = (found.name.lower(), *forms) if found else tuple(forms)
        for book in (*self._books, self.corrections):
            for row in book.adjust:
                if (
                    same_provider(row.provider, seller)
                    and row.covers_model(names)
                    and row.covers_region(ask.region)
                    and (row.tier is None or row.tier == (ask.tier or "standard"))
                ):
                    why = row.reason or row.billing or "adjusted"
                    yield replace(_factor(row.factor, why if not row.region else f"{why} {ask.region}"),
                                  window=row.window(), on_fees=not row.region)  # fmt: skip


def _is_apart(seller: str, region: str) -> bool:
    """Tell whether prices of elsewhere say nothing about a region: GovCloud's, and China's of who sells there."""
    return region.startswith(_GOVERNMENT) or (seller in _IN_CHINA and region.startswith("cn-"))


def _base(found: Found) -> Rates | None:
    """Return the standard rates of a model."""
    return next((_rates(choice) for choice, _ in found.choices()), None)


def _rates(choice: Choice) -> Rates | None:
    """Return the rates of input and output; None where there are none."""
    return (choice.rows[0].input[0], choice.rows[0].output[0]) if choice.rows else None


def _factor(multiply: Decimal, why: str) -> Factor:
    return Factor(*multiply.as_integer_ratio(), why)


def _with_factors(choice: Choice, factors: tuple[Factor, ...]) -> Choice:
    if not factors:
        return choice
    said = "".join(f"/x{factor.value:g}" for factor in factors)
    return replace(choice, factors=(*choice.factors, *factors), ref=choice.ref + said)
