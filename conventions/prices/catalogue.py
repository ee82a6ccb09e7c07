"""List prices: the data of the `genai-prices` package, matched strictly and compiled to integer rates.

Only its data and its matching clauses are used. Its `calc_price` takes 100 µs, raises on usage that real
spans have, and keeps unbounded caches (genai-prices 0.2.3, data_snapshot.py); nothing of that is called.
Importing this module loads the package, which takes a third of a second.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from genai_prices import types as source
from genai_prices.data import providers as bundled

from spanledger.conventions.prices.matching import names, whole_names
from spanledger.conventions.prices.tariff import ALWAYS, Choice, Row, Window, make_row

_BUCKET_OF: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "audio_cache_read",
    "input_image_mtok": "image_input",
    "cache_image_read_mtok": "image_cache_read",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
}
_AUDIO: Final = ("input_audio_mtok", "output_audio_mtok")
_REQUESTS: Final = "requests_kcount"

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

_TIERS: Final[dict[str, dict[str, str]]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


@dataclass(frozen=True, slots=True)
class Found:
    """A model of the catalogue. `lab` is whose entry it is: Azure sells models of OpenAI's entry."""

    seller: str
    lab: str
    model: source.ModelInfo
    form: str
    """The spelling that named it."""

    @property
    def name(self) -> str:
        """The model's id in the catalogue."""
        return self.model.id


@dataclass(frozen=True, slots=True)
class _Shelf:
    """One seller's models, arranged for look-up."""

    seller: str
    exact: dict[str, tuple[int, source.ModelInfo]]
    """By each name that the data has in full, with the position in the list: the first in it wins."""
    others: tuple[tuple[int, source.ModelInfo], ...]
    """Models that are also known by parts of their name."""
    tails: dict[str, source.ModelInfo | None]
    """By the name without the lab in front; None where two models share it."""

    @classmethod
    def of(cls, provider: source.Provider) -> _Shelf:
        """Arrange the models of `provider`."""
        exact: dict[str, tuple[int, source.ModelInfo]] = {}
        others: list[tuple[int, source.ModelInfo]] = []
        tails: dict[str, source.ModelInfo | None] = {}
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

    def find(self, form: str) -> source.ModelInfo | None:
        """Return the first model that goes by `form`."""
        position, found = self.exact.get(form, (sys.maxsize, None))
        for other, model in self.others:
            if other > position:
                break
            if names(model, form):
                return model
        return found


class Catalogue:
    """A snapshot of list prices. Immutable but for the index it makes on first use of a seller."""

    def __init__(self, providers: Iterable[source.Provider] = bundled, release: str = "") -> None:
        self.source = f"genai-prices@{release or version('genai_prices')}"
        self._providers = {provider.id: provider for provider in providers}
        self._shelves: dict[str, _Shelf] = {}

    def find(self, seller: str, forms: Iterable[str]) -> Found | None:
        """Return the first model of `seller` that one of the spellings names."""
        provider = self._providers.get(seller)
        if provider is None:
            return None
        forms = tuple(forms)
        shelves = [self._shelf(shelf) for shelf in (provider, *self._labs_behind(provider))]
        for form in forms:
            for shelf in shelves:
                if (model := shelf.find(form)) is not None:
                    return Found(seller, shelf.seller, model, form)
        for form in forms:
            if short := shelves[0].tails.get(form):
                return Found(seller, seller, short, form)
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

    def models(self) -> Iterator[tuple[str, source.ModelInfo]]:
        """Yield every (seller, model)."""
        for provider in self._providers.values():
            for model in provider.models:
                yield provider.id, model

    @property
    def closed_labs(self) -> frozenset[str]:
        """Labs whose own models nobody else can host."""
        return CLOSED_LABS

    def _labs_behind(self, provider: source.Provider) -> Iterator[source.Provider]:
        # Azure sells OpenAI's models at OpenAI's price. Open weights cost what their host says.
        for lab in provider.fallback_model_providers or ():
            if lab in CLOSED_LABS and lab in self._providers:
                yield self._providers[lab]

    def _shelf(self, provider: source.Provider) -> _Shelf:
        shelf = self._shelves.get(provider.id)
        if shelf is None:
            shelf = self._shelves[provider.id] = _Shelf.of(provider)
        return shelf

    def choices(self, found: Found, tier: str = "") -> tuple[tuple[Choice, bool], ...]:
        """Compile a model's prices, those that win first, each with whether it is `tier`'s own price."""
        model = found.model
        prices = model.prices if isinstance(model.prices, list) else [source.ConditionalPrice(prices=model.prices)]
        context = _TIERS.get(tier, {})
        made: list[tuple[Choice, bool]] = []
        for position, conditional in reversed(list(enumerate(prices))):
            constraint = conditional.constraint
            started = constraint.start_date.isoformat() if isinstance(constraint, source.StartDateConstraint) else ""
            rates = dict(conditional.prices.__dict__)
            special = _overlay(model, rates, context, _replaced_on(prices, position))
            ref = f"{self.source}#{found.seller}/{model.id}" + (f"@{started}" if started else "")
            rows = _rows(rates)
            if rows:
                ref += f"/tier={tier}" if special else ""
                # The first of several prices is the one for all times that no other claims.
                window = ALWAYS if position == 0 else _window(constraint)
                per_request = int((_base(rates.get(_REQUESTS)) or Decimal(0)) * 10**9)
                heard = any(rates.get(key) is not None for key in _AUDIO)
                made.append((Choice(rows, ref, window, per_request, prices_audio=heard), special))
        return tuple(made)


def _given_away(lab: str, model: source.ModelInfo) -> bool:
    pattern = _GIVEN_AWAY.get(lab)
    return pattern is not None and pattern.match(model.id.lower()) is not None


def _replaced_on(prices: list[source.ConditionalPrice], position: int) -> datetime | None:
    """Return when the next dated price took the place of `prices[position]`, None if none did."""
    for later in prices[position + 1 :]:
        if isinstance(later.constraint, source.StartDateConstraint):
            start = later.constraint.start_date
            return datetime(start.year, start.month, start.day, tzinfo=UTC)
    return None


def _overlay(
    model: source.ModelInfo, rates: dict[str, object], context: dict[str, str], replaced: datetime | None
) -> bool:
    """Put the tier's prices over the standard ones; tell whether there are any.

    The data dates a tier from the day somebody checked it. It holds before that day too, as long as the
    standard price it belongs to was the same then.
    """
    taken: dict[str, object] = {}
    special = False
    for variant in model.price_variants or ():
        if not all(context.get(key) == value for key, value in variant.when.items()):
            continue
        if isinstance(variant.constraint, source.StartDateConstraint) and replaced is not None:
            start = variant.constraint.start_date
            if datetime(start.year, start.month, start.day, tzinfo=UTC) >= replaced:
                continue
        special = True
        for key, price in variant.prices.__dict__.items():
            if price is not None:
                taken.setdefault(key, price)
    rates.update(taken)
    return special


def _base(price: object) -> Decimal | None:
    if isinstance(price, source.TieredPrices):
        return price.base
    return price if isinstance(price, Decimal) else None


def _rows(rates: dict[str, object]) -> tuple[Row, ...]:
    """Compile prices to one row a context threshold; () when nothing is priced by the token."""
    known = {bucket: rates[key] for key, bucket in _BUCKET_OF.items() if rates.get(key) is not None}
    if "input" not in known and "output" not in known:
        return ()
    starts = {tier.start for price in known.values() if isinstance(price, source.TieredPrices) for tier in price.tiers}
    starts.add(0)
    return tuple(
        make_row(start, {bucket: _at(price, start) for bucket, price in known.items()}) for start in sorted(starts)
    )


def _at(price: object, start: int) -> Decimal:
    """Return the price of a request whose input exceeds `start` but no higher threshold."""
    if isinstance(price, source.TieredPrices):
        return next((tier.price for tier in reversed(price.tiers) if start >= tier.start), price.base)
    assert isinstance(price, Decimal)
    return price


def _window(constraint: object) -> Window:
    if isinstance(constraint, source.StartDateConstraint):
        start = constraint.start_date
        at = datetime(start.year, start.month, start.day, tzinfo=UTC)
        return Window(start_ns=int(at.timestamp()) * 10**9)
    if isinstance(constraint, source.TimeOfDateConstraint):
        first, last = constraint.start_time, constraint.end_time
        return Window(from_s=_seconds(first), to_s=_seconds(last))
    return ALWAYS


def _seconds(value: object) -> int:
    """Return a time of day as seconds, UTC; a time without a zone is UTC."""
    from_midnight = datetime.combine(datetime(2000, 1, 2), value)  # type: ignore[arg-type]  # noqa: DTZ001
    if from_midnight.tzinfo is not None:
        from_midnight = from_midnight.astimezone(UTC)
    return from_midnight.hour * 3600 + from_midnight.minute * 60 + from_midnight.second
