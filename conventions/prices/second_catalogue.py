"""The second catalogue: hosts and models that the first does not know, from LiteLLM's price map.

It is asked only where the first knows neither the model nor a price for it, and for regions that have a price list of
their own (GovCloud, regions of Bedrock), which the first does not have. It has today's prices only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, cast

from spanledger.conventions.nesting import loads
from spanledger.conventions.prices.archive import UNREADABLE, Archive, shipped
from spanledger.conventions.prices.litellm_data import cut
from spanledger.conventions.prices.override_file import BadPrices
from spanledger.conventions.prices.resolve import names_area
from spanledger.conventions.prices.tariff import Choice, Fee, make_row, pico
from spanledger.conventions.units import UNITS, Unit

FILE: Final = "litellm.zip"
MIN_MODELS: Final = 100
"""A file with fewer is no price list."""

_HOSTS: Final[Mapping[str, str]] = {
    "api.ai21.com": "ai21", "api.deepgram.com": "deepgram", "api.deepinfra.com": "deepinfra",
    "api.elevenlabs.io": "elevenlabs", "api.featherless.ai": "featherlessai", "api.friendli.ai": "friendliai",
    "api.gmi-serving.com": "gmi", "api.hyperbolic.xyz": "hyperbolic", "api.inceptionlabs.ai": "inception",
    "api.jina.ai": "jinaai", "api.lambda.ai": "lambdaai", "api.morphllm.com": "morph", "api.replicate.com": "replicate",
    "api.sambanova.ai": "sambanova", "api.scaleway.ai": "scaleway", "api.studio.nebius.com": "nebius",
    "api.tokenfactory.nebius.com": "nebius", "api.v0.dev": "v0", "api.inference.wandb.ai": "wandb",
    "dashscope-intl.aliyuncs.com": "dashscope", "inference.api.nscale.com": "nscale",
}  # fmt: skip
"""Addresses of sellers that only this catalogue has. China's DashScope is not among them: it has other prices."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A model of the second catalogue, found."""

    seller: str
    form: str
    name: str
    region: str
    source: str
    prices: Mapping[str, Any]

    def choices(self, tier: str = "") -> tuple[tuple[Choice, bool], ...]:
        """Compile the prices, with whether they are the tier's own."""
        own = self.prices.get(tier) if tier in ("batch", "flex", "priority") else None
        steps: Mapping[str, Mapping[str, Decimal]] = self.prices.get("", {})
        base = steps.get("0", {})
        rows = tuple(
            make_row(int(above), {**base, **steps[above], **(own or {}).get("0", {}), **(own or {}).get(above, {})})
            for above in sorted(steps, key=int)
        )
        fees = tuple(
            Fee(cast("Unit", unit), pico(price), 1000 if unit.endswith("_ms") else 1)
            for unit, price in self.prices.get("fees", {}).items()
            if unit in UNITS
        )
        place = f"{self.region}/" if self.region else ""
        ref = f"{self.source}#{self.seller}/{place}{self.name}" + (f"/tier={tier}" if own else "")
        heard = "audio_input" in base or "audio_output" in base
        return ((Choice(rows, ref, fees=fees, prices_audio=heard), own is not None),)


class SecondCatalogue:
    """A price list by seller, region and name. Immutable but for what it remembers of the sellers it was asked for."""

    def __init__(self, models: Mapping[str, Mapping[str, Mapping[str, Any]]], release: str, as_of: str = "") -> None:
        self.source = f"litellm@{release}"
        self.as_of = as_of
        """The day that the list is from, "" if that is not known."""
        self._models = models
        self._known: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._tails: dict[str, dict[str, str | None]] = {}

    def find(self, seller: str, forms: Iterable[str], region: str = "") -> _Row | None:
        """Return the first model that one of the spellings names, in the price list of that very region if given."""
        if seller not in self._known:
            if seller not in self._models:
                return None
            self._known[seller] = self._models[seller]
        models = self._known[seller].get(region)
        if models is None:
            return None
        forms = tuple(forms)
        for form in forms:
            if form in models:
                return _Row(seller, form, form, region, self.source, models[form])
        if region:
            return None
        tails = self._short_names(seller, models)
        for form in forms:
            if name := tails.get(form):
                return _Row(seller, form, name, region, self.source, models[name])
        return None

    def seller_at(self, host: str) -> str:
        """Return the seller whose API has that address, "" for none."""
        return _HOSTS.get(host, "")

    def models(self) -> Iterator[tuple[str, str, str]]:
        """Yield every seller, region and name."""
        for seller, regions in self._models.items():
            for region, models in regions.items():
                for name in models:
                    yield seller, region, name

    def _short_names(self, seller: str, models: Mapping[str, Any]) -> Mapping[str, str | None]:
        """Return the names without what stands before the last slash; None where two models share it."""
        tails = self._tails.get(seller)
        if tails is None:
            tails = {}
            for name in models:
                short = name.rpartition("/")[2] if seller != "aws" else name.partition(".")[2]
                if short and short != name and not (seller == "aws" and names_area(name)):
                    tails[short] = name if short not in tails else None
            self._tails[seller] = tails  # whole: a list may be asked in two threads
        return tails


def read_second(data: bytes, name: str, release: str = "") -> SecondCatalogue:
    """Read the cut file, or LiteLLM's own map, which does not say its `release`. Raises `BadPrices`."""
    made = _of_cut(data, name) if data.startswith(b"PK") else _of_map(data, name, release)
    count = sum(1 for _ in made.models())
    if count < MIN_MODELS:
        raise BadPrices(f"{name}: has {count} prices, and a price list has at least {MIN_MODELS}")
    return made


def _of_map(data: bytes, name: str, release: str) -> SecondCatalogue:
    try:
        document = loads(data, parse_float=functools.cache(Decimal), parse_int=_whole)
    except ValueError as error:
        raise BadPrices(f"{name}: not JSON: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(document, dict):
        raise BadPrices(f"{name}: not a price map: the top must be an object")
    return SecondCatalogue(cut(document).models, release)


def _of_cut(data: bytes, name: str) -> SecondCatalogue:
    try:
        file = Archive(data)
        models = dict(file)
        problem = _first_problem(models)
        as_of = date.fromisoformat(file.about["as_of"]).isoformat()
        made = SecondCatalogue(models, str(file.about["release"])[:64], as_of)
    except UNREADABLE as error:
        problem = f"not a cut price list: {' '.join(str(error).split())[:200]}"
    if problem:
        raise BadPrices(f"{name}: {problem}")
    return made


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number with more than 20 digits")
    return int(text)


def _first_problem(models: Mapping[str, Any]) -> str:
    """Say what is wrong with the first row that is none; "" for nothing."""
    for seller, regions in models.items():
        for region, rows in regions.items() if isinstance(regions, dict) else ((None, None),):
            if not isinstance(region, str) or not isinstance(rows, dict):
                return f"{seller}: no rows by region"
            for name, row in rows.items():
                if not _is_row(row):
                    return f"{seller}/{name}: no prices by tier and threshold"
    return ""


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not row:
        return False
    for tier, steps in row.items():
        for price in (steps,) if tier == "fees" else steps.values() if isinstance(steps, dict) else (None,):
            if not isinstance(price, dict) or not all(
                isinstance(amount, Decimal | int) and 0 <= amount < 10_000 for amount in price.values()
            ):
                return False
    return True


@functools.cache
def shipped_second_catalogue() -> SecondCatalogue:
    """Return the second catalogue that comes with spanledger. Its rows were checked when it was made."""
    kept = shipped(FILE)
    return SecondCatalogue(kept, kept.about["release"], kept.about["as_of"])
