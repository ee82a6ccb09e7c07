"""List prices: the data of the `genai-prices` package, matched strictly and compiled to integer rates.

Only its data and its matching clauses are used. Its `calc_price` takes 100 µs, raises on usage that real
spans have, and keeps unbounded caches (genai-prices 0.2.3, data_snapshot.py); nothing of that is called.
Importing this module loads the package, which takes a third of a second.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from genai_prices import types
from genai_prices.data import providers as bundled

from spanledger.conventions.prices.genai_rates import choices_of
from spanledger.conventions.prices.matching import names, whole_names
from spanledger.conventions.prices.override_file import BadPrices

if TYPE_CHECKING:
    from spanledger.conventions.prices.tariff import Choice

CLOSED_LABS: Final = frozenset({"openai", "anthropic", "google", "x-ai"})
"""Labs whose own models nobody else can host: a private address in front of them is a proxy, not a GPU."""

_GIVEN_AWAY: Final = {"openai": re.compile(r"gpt-oss"), "google": re.compile(r"gemma"), "meta": re.compile(r"llama")}
"""Open weights in the catalogue of the lab that made them but does not sell them: their price is not the lab's."""

_INFERRED: Final = (
    (re.compile(r"text-embedding-(?:3|ada)|chatgpt-|codex-mini|ft:(?:gpt|o\d|davinci|babbage)|omni-moderation"),
     "openai"),
    (re.compile(r"text-embedding-00|text-multilingual-embedding|gemini|learnlm"), "google"),
    (re.compile(r"voyage-"), "voyageai"),
    (re.compile(r"sonar(?:-|$)"), "perplexity"),
    (re.compile(r"embed-(?:v\d|english|multilingual)|command-"), "cohere"),
)  # fmt: skip

_BEDROCK_REVISION: Final = re.compile(r"-v\d+(?::\d+)?$")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of the catalogue, found."""

    seller: str
    form: str
    """The spelling that named it."""
    source: str
    """The catalogue and its version."""
    model: types.ModelInfo

    @property
    def name(self) -> str:
        """The model's id in the catalogue."""
        return self.model.id

    def choices(self, tier: str = "") -> tuple[tuple[Choice, bool], ...]:
        """Compile the prices, those that win first, each with whether it is `tier`'s own."""
        return tuple(choices_of(self.model, f"{self.source}#{self.seller}/{self.name}", tier))


@dataclass(frozen=True, slots=True)
class _Shelf:
    """One seller's models, arranged for look-up."""

    seller: str
    exact: dict[str, tuple[int, types.ModelInfo]]
    """By each name that the data has in full, with the position in the list: the first in it wins."""
    others: tuple[tuple[int, types.ModelInfo], ...]
    """Models that are also known by parts of their name."""
    tails: dict[str, types.ModelInfo | None]
    """By the name without the lab in front; None where two models share it."""

    @classmethod
    def of(cls, provider: types.Provider) -> _Shelf:
        """Arrange the models of `provider`."""
        exact: dict[str, tuple[int, types.ModelInfo]] = {}
        others: list[tuple[int, types.ModelInfo]] = []
        tails: dict[str, types.ModelInfo | None] = {}
        for position, model in enumerate(provider.models):
            if _given_away(provider.id, model):
                continue
            name = model.id.lower()
            full = {name}
            if not whole_names(model.match, full):
                others.append((position, model))
            for known in full:
                exact.setdefault(known, (position, model))
            tail = name.rpartition("/")[2] if provider.id != "aws" else name.partition(".")[2]
            for short in {tail, _BEDROCK_REVISION.sub("", tail)} - {"", name}:
                tails[short] = model if short not in tails else None
        return cls(provider.id, exact, tuple(others), tails)

    def find(self, form: str) -> types.ModelInfo | None:
        """Return the first model that goes by `form`."""
        position, found = self.exact.get(form, (sys.maxsize, None))
        for other, model in self.others:
            if other > position:
                break
            if names(model, form):
                return model
        return found


def read_catalogue(data: bytes, name: str, release: str) -> Catalogue:
    """Read `data.json` of the genai-prices project (its `prices/new_data/v2/`). Raises `BadPrices`."""
    try:
        # The one way in that the package has; it is what its own updates go through.
        from genai_prices.types import _providers_from_raw

        return Catalogue(_providers_from_raw(json.loads(data)), release)
    except ImportError as error:
        raise BadPrices(f"{name}: this release of genai-prices cannot read its data from a file") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadPrices(f"{name}: not the data of genai-prices: {' '.join(str(error).split())[:200]}") from error


class Catalogue:
    """A snapshot of list prices. Immutable but for the index it makes on first use of a seller."""

    def __init__(self, providers: Iterable[types.Provider] = bundled, release: str = "") -> None:
        self.source = f"genai-prices@{release or version('genai_prices')}"
        self._providers = {provider.id: provider for provider in providers}
        self._shelves: dict[str, _Shelf] = {}

    def find(self, seller: str, forms: Iterable[str]) -> FoundModel | None:
        """Return the first model of `seller` that one of the spellings names."""
        provider = self._providers.get(seller)
        if provider is None:
            return None
        forms = tuple(forms)
        shelves = [self._shelf(shelf) for shelf in (provider, *self._labs_behind(provider))]
        for form in forms:
            for shelf in shelves:
                if (model := shelf.find(form)) is not None:
                    return FoundModel(seller, form, self.source, model)
        for form in forms:
            if short := shelves[0].tails.get(form):
                return FoundModel(seller, form, self.source, short)
        return None

    def infer(self, form: str) -> Iterator[str]:
        """Yield the sellers that a model name suggests when nobody said who sells it, the likeliest first."""
        for pattern, seller in _INFERRED:
            if pattern.match(form):
                yield seller
        for provider in self._providers.values():
            if provider.model_match is not None and provider.model_match.is_match(form):
                yield provider.id

    def seller_at(self, host: str) -> str:
        """Return the seller whose API has that address, "" for none."""
        url = f"https://{host}/"
        for provider in self._providers.values():
            if re.match(provider.api_pattern, url):
                return provider.id
        return ""

    def suggest(self, model: str, seller: str = "", count: int = 5) -> list[str]:
        """Return `seller/model` names that look like `model`, for a person who mistyped it."""
        known: dict[str, str] = {}
        # Of several who sell it, the lab that made it: that is the name people know.
        for shop, found in sorted(self.models(), key=lambda entry: entry[0] not in CLOSED_LABS):
            if seller in ("", shop):
                known.setdefault(found.id.lower(), f"{shop}/{found.id}")
        tail = model.strip().lower().rpartition("/")[2]
        return [known[name] for name in difflib.get_close_matches(tail, known, count, 0.6)]

    def models(self) -> Iterator[tuple[str, types.ModelInfo]]:
        """Yield every (seller, model)."""
        for provider in self._providers.values():
            for model in provider.models:
                yield provider.id, model

    def newest_price(self, today: date) -> date | None:
        """Return the day of the last change of a price until today: the data is no older than that."""
        days = (
            item.constraint.start_date
            for _, model in self.models()
            for item in (*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ()))
            if isinstance(item.constraint, types.StartDateConstraint) and item.constraint.start_date <= today
        )
        return max(days, default=None)

    @property
    def closed_labs(self) -> frozenset[str]:
        """Labs whose own models nobody else can host."""
        return CLOSED_LABS

    def _labs_behind(self, provider: types.Provider) -> Iterator[types.Provider]:
        # Azure sells OpenAI's models at OpenAI's price. Open weights cost what their host says.
        for lab in provider.fallback_model_providers or ():
            if lab in CLOSED_LABS and lab in self._providers:
                yield self._providers[lab]

    def _shelf(self, provider: types.Provider) -> _Shelf:
        shelf = self._shelves.get(provider.id)
        if shelf is None:
            shelf = self._shelves[provider.id] = _Shelf.of(provider)
        return shelf


def _given_away(lab: str, model: types.ModelInfo) -> bool:
    pattern = _GIVEN_AWAY.get(lab)
    return pattern is not None and pattern.match(model.id.lower()) is not None
