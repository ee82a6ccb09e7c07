"""The prices in use, and the files that they are read from again when those change.

Nothing is fetched from a network: a file is put in place by whatever the operator trusts with that. A file that
cannot be used, or looks like an accident, is named in the log and counted, and what was read before stays in use.
Reading and checking happen off the loop; the change itself is one reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import pydantic

from spanledger.conventions.prices.catalogue import read_catalogue, shipped_catalogue
from spanledger.conventions.prices.engine import PriceEngine
from spanledger.conventions.prices.override_file import BadPrices, read_book
from spanledger.conventions.prices.overrides import Currency, PriceBook
from spanledger.conventions.prices.second_catalogue import SecondCatalogue, read_second, shipped_second_catalogue
from spanledger.conventions.prices.swap import moved, shrunken
from spanledger.processor.component import Host, Settings
from spanledger.processor.settings import Duration

if TYPE_CHECKING:
    from spanledger.conventions.prices.catalogue import Catalogue
    from spanledger.conventions.prices.lookup import OwnHosts

MAX_BOOK_BYTES: Final = 4 * 1024 * 1024
MAX_LIST_BYTES: Final = 64 * 1024 * 1024

Stamp: TypeAlias = "tuple[int, int, int]"
"""What tells that a file is another: time of change, size, inode (a mounted ConfigMap changes only the last)."""


class CatalogConfig(Settings):
    """Where price lists are read from, and how often these files are looked at."""

    file: str = ""
    """`prices/new_data/v2/data.json` of github.com/pydantic/genai-prices, in place of the list that comes with
    spanledger."""
    second_file: str = ""
    """`model_prices_and_context_window.json` of github.com/BerriAI/litellm, in place of the second list that comes
    with spanledger."""
    refresh_interval: Annotated[Duration, pydantic.Field(ge=0)] = 60.0
    """How often these files and override files are looked at for changes; 0 for never."""

    def files(self) -> Iterator[str]:
        """Yield the files that are named."""
        yield from filter(None, (self.file, self.second_file))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an engine is made of."""

    catalogue: Catalogue
    second: SecondCatalogue
    overrides: Mapping[str, PriceBook]
    """By path, in order of precedence."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file, as it was when it was last looked at."""

    path: str
    source: str
    """Label of the metrics."""
    stamp: Stamp | None = None
    """None where there is none, or it was not looked at yet."""
    problem: str = ""
    """Why there is none."""

    @property
    def changed_s(self) -> float:
        """When it was changed, seconds since the epoch; 0 for unknown."""
        return self.stamp[0] / 1e9 if self.stamp else 0.0


class PriceSource:
    """Keeps a `PriceEngine`, and makes another when a file changes."""

    def __init__(
        self, catalog: CatalogConfig, overrides: Sequence[str], book: PriceBook, own_hosts: OwnHosts, host: Host
    ) -> None:
        self._host = host
        self._book = book
        self._own_hosts = own_hosts
        self._catalog = catalog
        self._files = list(_files(catalog, overrides))
        self._since: dict[str, float] = {}
        """Source -> when the file that is in use was changed, which one that was refused is not."""
        self._rate = host.metrics.gauge("spanledger_display_currency_rate")
        self._currency = book.currency
        self._shown: list[tuple[str, ...]] = []
        self._task: asyncio.Task[None] | None = None
        self._info = host.metrics.gauge("spanledger_price_data_info")
        self._age = host.metrics.gauge("spanledger_price_data_age_seconds")
        self._refreshes = host.metrics.counter("spanledger_price_refreshes_total")
        self._ok = host.metrics.gauge("spanledger_price_refresh_ok")
        self._parts: _Parts
        self.engine: PriceEngine

    def open(self) -> None:
        """Read everything. Raises `BadPrices` with what is wrong: at the start nothing is made up for."""
        parts = _Parts(shipped_catalogue(), shipped_second_catalogue(), {})
        for at, file in enumerate(self._files):
            self._files[at] = looked = _looked_at(file)
            parts = _with(parts, looked)
            self._since[file.source] = looked.changed_s
            for result in ("ok", "refused"):
                self._refreshes.add((file.source, result), 0)
            self._ok.set((file.source,), 1)
        self._take(parts, self._engine(parts))

    def start(self) -> None:
        """Begin to watch the files."""
        if self._catalog.refresh_interval:
            self._task = asyncio.create_task(self._watch(), name=f"{self._host.id} prices")

    async def stop(self) -> None:
        """End watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._catalog.refresh_interval)
            await self.refresh()

    async def refresh(self) -> None:
        """Look at the files, and take what changed."""
        for at, file in enumerate(self._files):
            looked = await asyncio.to_thread(_looked_at, file)
            if looked.stamp == file.stamp:
                continue
            self._files[at] = looked  # whether it can be used or not: once is enough to say that it cannot
            try:
                parts, engine = await asyncio.to_thread(self._read, looked)
            except BadPrices as error:
                self._refuse(file, str(error))
                continue
            # Requests were served meanwhile, by the old engine; from here on it is the new one.
            self._since[file.source] = looked.changed_s
            self._take(parts, engine)
            self._refreshes.add((file.source, "ok"))
            self._ok.set((file.source,), 1)
            self._host.log.info("prices: %s read anew", file.path)
        self._tell_age()

    def _read(self, file: _File) -> tuple[_Parts, PriceEngine]:
        """Read one file and make an engine with it; off the loop. Raises `BadPrices`."""
        old, new = self._parts, _with(self._parts, file)
        engine = self._engine(new)
        problem = ""
        if new.catalogue is not old.catalogue:
            problem = shrunken(_models(old.catalogue), _models(new.catalogue))
        elif new.second is not old.second:
            problem = shrunken([*old.second.models()], [*new.second.models()])
        if not problem and new.overrides is old.overrides:
            problem = moved(self.engine, engine, self._host.clock_ns())
        if problem:
            raise BadPrices(f"{file.path}: {problem}")
        return new, engine

    def _engine(self, parts: _Parts) -> PriceEngine:
        books = (*parts.overrides.values(), self._book)
        return PriceEngine(parts.catalogue, books, self._own_hosts, second=parts.second)

    def _take(self, parts: _Parts, engine: PriceEngine) -> None:
        self._parts, self.engine = parts, engine
        versions = [tuple(name.split("@", 1)) for name in (parts.catalogue.source, parts.second.source)]
        versions += [(f"overrides:{Path(path).name}", "") for path in parts.overrides]
        for labels in self._shown:
            self._info.remove(labels)
        for labels in versions:
            self._info.set(labels, 1)
        self._shown = versions
        currency = next((book.currency for book in engine.books if book.currency.code != "USD"), Currency())
        if self._currency != currency:
            self._rate.remove((self._currency.code,))
            self._currency = currency
        self._rate.set((currency.code,), float(currency.rate))
        self._tell_age()

    def _refuse(self, file: _File, why: str) -> None:
        self._refreshes.add((file.source, "refused"))
        self._ok.set((file.source,), 0)
        self._host.log.error("prices: not taken, what was read before stays in use: %s", why)

    def _tell_age(self) -> None:
        now_s = self._host.clock_ns() / 1e9
        today = datetime.fromtimestamp(now_s, UTC).date()
        since = dict(self._since)
        since.setdefault("genai-prices", _seconds(self._parts.catalogue.newest_price(today)))
        as_of = self._parts.second.as_of
        since.setdefault("litellm", _seconds(date.fromisoformat(as_of) if as_of else None))
        for source, then_s in since.items():
            if then_s:
                self._age.set((source,), max(0.0, now_s - then_s))


def misread(catalog: CatalogConfig, overrides: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong inside of files with prices, where they can be read."""
    parts = _Parts(shipped_catalogue(), shipped_second_catalogue(), {})
    for file in map(_looked_at, _files(catalog, overrides)):
        if not file.problem:
            try:
                _with(parts, file)
            except BadPrices as error:
                yield str(error)


def _files(catalog: CatalogConfig, overrides: Sequence[str]) -> Iterator[_File]:
    for path in overrides:
        yield _File(path, f"overrides:{Path(path).name}")
    if catalog.file:
        yield _File(catalog.file, "genai-prices")
    if catalog.second_file:
        yield _File(catalog.second_file, "litellm")


def _with(parts: _Parts, file: _File) -> _Parts:
    """Return the parts with what is in `file`. Raises `BadPrices`."""
    if file.problem:
        raise BadPrices(f"{file.path}: {file.problem}")
    if file.source == "litellm":
        return replace(parts, second=read_second(_bytes(file.path, MAX_LIST_BYTES), file.path, _day(file)))
    if file.source == "genai-prices":
        return replace(parts, catalogue=read_catalogue(_bytes(file.path, MAX_LIST_BYTES), file.path, _day(file)))
    return replace(parts, overrides={**parts.overrides, file.path: read_file(file.path)})


def load_engine(books: tuple[PriceBook, ...] = (), own_hosts: OwnHosts = "auto") -> PriceEngine:
    """Return an engine with the price lists that come with spanledger."""
    return PriceEngine(shipped_catalogue(), books, own_hosts)


def read_file(name: str) -> PriceBook:
    """Read an override file. Raises `BadPrices` with what is wrong."""
    try:
        return read_book(_bytes(name, MAX_BOOK_BYTES).decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise BadPrices(f"{name}: is not UTF-8 text") from error


def _bytes(name: str, limit: int) -> bytes:
    try:
        if Path(name).stat().st_size > limit:
            raise BadPrices(f"{name}: larger than {limit} bytes, which no price list is")
        return Path(name).read_bytes()
    except OSError as error:
        raise BadPrices(f"{name}: cannot be read: {error.strerror}") from error


def _looked_at(file: _File) -> _File:
    try:
        found = Path(file.path).stat()
    except OSError as error:
        return replace(file, stamp=None, problem=f"cannot be read: {error.strerror}")
    return replace(file, stamp=(found.st_mtime_ns, found.st_size, found.st_ino), problem="")


def _models(catalogue: Catalogue) -> list[tuple[str, str]]:
    return [(seller, model.id) for seller, model in catalogue.models()]


def _day(file: _File) -> str:
    return datetime.fromtimestamp(file.changed_s, UTC).date().isoformat()


def _seconds(day: date | None) -> float:
    return 0.0 if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
