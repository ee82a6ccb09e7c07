"""List prices: the data of the `genai-prices` package, matched strictly and compiled to integer rates.

Only its data and its matching clauses are used. Its `calc_price` takes 100 µs, raises on usage that real
spans have, and keeps unbounded caches (genai-prices 0.2.3, data_snapshot.py); nothing of that is called.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.prices.archive import shipped
from spanledger.conventions.prices.genai_data import Model, Seller, model_of, seller_of
from spanledger.conventions.prices.genai_rates import choices_of
from spanledger.conventions.prices.matching import names, suggests, whole_names

if TYPE_CHECKING:
    from spanledger.conventions.prices.tariff import Choice

FILE: Final = "genai_prices.zip"

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
    model: Model

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
    exact: dict[str, tuple[int, Model]]
    """By each name that the data has in full, with the position in the list: the first in it wins."""
    others: tuple[tuple[int, Model], ...]
    """Models that are also known by parts of their name."""
    tails: dict[str, Model | None]
    """By the name without the lab in front; None where two models share it."""

    @classmethod
    def of(cls, seller: str, models: Iterable[Model]) -> _Shelf:
        """Arrange the models of `seller`."""
        exact: dict[str, tuple[int, Model]] = {}
        others: list[tuple[int, Model]] = []
        tails: dict[str, Model | None] = {}
        for position, model in enumerate(models):
            if _given_away(seller, model):
                continue
            name = model.id.lower()
            full = {name}
            if not whole_names(model.match, full):
                others.append((position, model))
            for known in full:
                exact.setdefault(known, (position, model))
            tail = name.rpartition("/")[2] if seller != "aws" else name.partition(".")[2]
            for short in {tail, _BEDROCK_REVISION.sub("", tail)} - {"", name}:
                tails[short] = model if short not in tails else None
        return cls(seller, exact, tuple(others), tails)

    def find(self, form: str) -> Model | None:
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
    from spanledger.conventions.prices.genai_cut import read

    return Catalogue(*read(data, name, release))


@functools.cache
def shipped_catalogue() -> Catalogue:
    """Return the list of the `genai-prices` that is installed.

    Of the release that spanledger was made with, that is a file; another one is imported, which takes a tenth of a
    second and 9 MiB.
    """
    kept = shipped(FILE)
    if kept.about["release"] == version("genai_prices"):
        return Catalogue(kept.about, kept)
    from spanledger.conventions.prices.genai_cut import installed

    return Catalogue(*installed())


class Catalogue:
    """A snapshot of list prices. Immutable but for the index it makes on first use of a seller."""

    def __init__(self, about: Mapping[str, Any], models: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Take what `genai_cut` made: what the list is, and the models of each seller."""
        self.source = f"genai-prices@{about['release']}"
        self._days = tuple(map(date.fromisoformat, about["days"]))
        self._sellers = {seller.id: seller for seller in map(seller_of, about["sellers"])}
        self._models = models
        self._shelves: dict[str, _Shelf] = {}

    def find(self, seller: str, forms: Iterable[str]) -> FoundModel | None:
        """Return the first model of `seller` that one of the spellings names."""
        known = self._sellers.get(seller)
        if known is None:
            return None
        forms = tuple(forms)
        shelves = [self._shelf(shop) for shop in (seller, *self._labs_behind(known))]
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
        for known in self._sellers.values():
            if known.models is not None and suggests(known.models, form):
                yield known.id

    def seller_at(self, host: str) -> str:
        """Return the seller whose API has that address, "" for none."""
        url = f"https://{host}/"
        for seller in self._sellers.values():
            if re.match(seller.address, url):
                return seller.id
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

    def models(self) -> Iterator[tuple[str, Model]]:
        """Yield every (seller, model). Reads all of them anew."""
        for seller in self._sellers:
            for row in self._models[seller]:
                yield seller, model_of(row)

    def newest_price(self, today: date) -> date | None:
        """Return the day of the last change of a price until today: the data is no older than that."""
        return max((day for day in self._days if day <= today), default=None)

    @property
    def closed_labs(self) -> frozenset[str]:
        """Labs whose own models nobody else can host."""
        return CLOSED_LABS

    def _labs_behind(self, seller: Seller) -> Iterator[str]:
        # Azure sells OpenAI's models at OpenAI's price. Open weights cost what their host says.
        for lab in seller.labs:
            if lab in CLOSED_LABS and lab in self._sellers:
                yield lab

    def _shelf(self, seller: str) -> _Shelf:
        shelf = self._shelves.get(seller)
        if shelf is None:
            shelf = self._shelves[seller] = _Shelf.of(seller, map(model_of, self._models[seller]))
        return shelf


def _given_away(lab: str, model: Model) -> bool:
    pattern = _GIVEN_AWAY.get(lab)
    return pattern is not None and pattern.match(model.id.lower()) is not None
