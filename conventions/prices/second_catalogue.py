"""The second catalogue: hosts and models that the first does not know, from LiteLLM's price map.

It is asked only where the first knows neither the model nor a price for it, and for regions that have a price list of
their own (GovCloud, regions of Bedrock), which the first does not have. It has today's prices only.
"""

from __future__ import annotations

import functools
import json
import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, Final, cast

from spanledger.conventions.prices.litellm_data import cut
from spanledger.conventions.prices.override_file import BadPrices
from spanledger.conventions.prices.resolve import names_area
from spanledger.conventions.prices.tariff import Choice, Fee, make_row, pico
from spanledger.conventions.units import UNITS, Unit

FILE: Final = "litellm.json.xz"
FORMAT: Final = "spanledger.prices/1"
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
    """A price list by seller, region and name. Immutable but for the index of short names it makes of a seller."""

    def __init__(self, models: Mapping[str, Mapping[str, Mapping[str, Any]]], release: str, as_of: str = "") -> None:
        self.source = f"litellm@{release}"
        self.as_of = as_of
        """The day that the list is from, "" if that is not known."""
        self._models = models
        self._tails: dict[str, dict[str, str | None]] = {}

    def find(self, seller: str, forms: Iterable[str], region: str = "") -> _Row | None:
        """Return the first model that one of the spellings names, in the price list of that very region if given."""
        regions = self._models.get(seller)
        models = regions.get(region) if regions else None
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
            tails = self._tails[seller] = {}
            for name in models:
                short = name.rpartition("/")[2] if seller != "aws" else name.partition(".")[2]
                if short and short != name and not (seller == "aws" and names_area(name)):
                    tails[short] = name if short not in tails else None
        return tails


def read_second(data: bytes, name: str, release: str = "") -> SecondCatalogue:
    """Read the cut file, or LiteLLM's own map, which does not say its `release`. Raises `BadPrices`."""
    try:
        text = lzma.decompress(data) if data.startswith(b"\xfd7zXZ") else data
        document = json.loads(
            text, parse_float=functools.cache(Decimal), parse_int=_whole, object_pairs_hook=_Shared().object
        )
    except (ValueError, lzma.LZMAError, RecursionError) as error:
        raise BadPrices(f"{name}: not JSON: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(document, dict):
        raise BadPrices(f"{name}: not a price map: the top must be an object")
    if document.get("format") == FORMAT:
        models, told, as_of = document.get("models"), document.get("release"), document.get("as_of")
        if not isinstance(models, dict) or not isinstance(told, str) or not isinstance(as_of, str):
            raise BadPrices(f"{name}: models, release or as_of is missing")
        release = told[:64]
        problem = _first_problem(models)
        if problem:
            raise BadPrices(f"{name}: {problem}")
    else:
        models, as_of = cut(document).models, ""
    made = SecondCatalogue(models, release, as_of)
    count = sum(1 for _ in made.models())
    if count < MIN_MODELS:
        raise BadPrices(f"{name}: has {count} prices, and a price list has at least {MIN_MODELS}")
    return made


class _Shared:
    """Makes one object of equal ones: of 2,900 models 1,200 have prices of their own, which spares 2 MiB."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], dict[str, Any]] = {}

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return the object with these members."""
        made = dict(pairs)
        try:
            # Objects in it are shared already and live as long as this, so that their identity tells them apart.
            return self._made.setdefault(
                tuple((key, type(value), id(value) if isinstance(value, dict) else value) for key, value in pairs), made
            )
        except TypeError:  # a list is in it
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
    """Return the second catalogue that comes with spanledger."""
    return read_second(resources.files("spanledger.conventions.prices").joinpath(FILE).read_bytes(), FILE)
