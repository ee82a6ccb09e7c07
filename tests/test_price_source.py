"""Prices that are read again while the sidecar runs: what is taken, what is refused, and how it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spanledger.conventions.prices.catalogue import read_catalogue, shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.override_file import BadPrices, read_book
from spanledger.conventions.prices.overrides import PriceBook
from spanledger.conventions.prices.second_catalogue import SecondCatalogue
from spanledger.conventions.prices.swap import moved, shrunken
from spanledger.conventions.usage import Usage
from spanledger.processor.price_source import CatalogConfig, PriceSource
from tests.fakes import Clock, Numbers, host

NOW_S = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
CALL = PricedCall(Usage(input=10**6), "acme", "m")
NOTHING = PriceBook()


class Running:
    """A source over files of a folder, with the numbers and the time of a test."""

    def __init__(self, folder: Path, *, overrides: tuple[str, ...] = (), **catalog: Any) -> None:
        self.folder = folder
        self.clock = Clock(NOW_S)
        self.numbers = Numbers()
        files = {key: str(folder / value) if key.endswith("file") else value for key, value in catalog.items()}
        self.source = PriceSource(
            CatalogConfig(**files), [str(folder / name) for name in overrides], NOTHING, "auto",
            host("genai_pricing", self.clock, self.numbers),
        )  # fmt: skip
        self._written = 0

    def write(self, name: str, text: str) -> None:
        """Write a file, each time at another moment."""
        self._written += 1
        (self.folder / name).write_text(text)
        os.utime(self.folder / name, (NOW_S - 3600 + self._written,) * 2)

    def dollars(self, call: PricedCall = CALL) -> float | None:
        """Return what a call costs at this moment."""
        return self.source.engine.price(call, self.clock.time_ns()).total_usd

    def count(self, source: str, result: str) -> float:
        """Return how often a file was taken or refused."""
        return self.numbers.values[("spanledger_price_refreshes_total", source, result)]

    def gauge(self, name: str, *labels: str) -> float:
        """Return the value of a gauge."""
        return self.numbers.values[(name, *labels)]


def book(dollars: float) -> str:
    """Return an override file with a price for the call."""
    return f"version: 1\nprices: [{{provider: acme, model: m, input: {dollars}, output: 1}}]\n"


def second(count: int = 200, price: float = 1e-6) -> str:
    """Return a map as LiteLLM has it."""
    row = {
        "litellm_provider": "deepinfra",
        "mode": "chat",
        "input_cost_per_token": price,
        "output_cost_per_token": price,
    }
    return json.dumps({f"deepinfra/m{number}": row for number in range(count)})


def first(count: int = 20, price: float = 1.0, since: str = "") -> str:
    """Return data as genai-prices has it."""
    prices: Any = {"input_mtok": price, "output_mtok": price}
    if since:
        prices = [{"prices": {"input_mtok": 1, "output_mtok": 1}},
                  {"constraint": {"start_date": since}, "prices": prices}]  # fmt: skip
    models = [{"id": f"m{number}", "match": {"equals": f"m{number}"}, "prices": prices} for number in range(count)]
    return json.dumps([{"id": "groq", "name": "Groq", "api_pattern": "https://api.groq.com", "models": models}])


async def test_a_changed_override_file_counts_without_a_restart(tmp_path: Path) -> None:
    """From the next look on; a file that has not changed is not read."""
    running = Running(tmp_path, overrides=("own.yaml",))
    running.write("own.yaml", book(2))
    running.source.open()
    engine = running.source.engine
    assert running.dollars() == 2

    await running.source.refresh()
    assert running.source.engine is engine
    running.write("own.yaml", book(30))  # an operator's own price may move as it likes
    await running.source.refresh()

    assert running.dollars() == 30
    assert running.count("overrides:own.yaml", "ok") == 1


@pytest.mark.parametrize(
    "broken", ["prices: [{provider: acme", "prices: [{provider: acme, model: m, inptu: 3}]", "- 1", "\0"]
)
async def test_a_broken_file_changes_nothing_and_is_told_once(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good one stays in use, the log says what is wrong, and the numbers say that it is."""
    running = Running(tmp_path, overrides=("own.yaml",))
    running.write("own.yaml", book(2))
    running.source.open()
    running.write("own.yaml", broken)
    with caplog.at_level(logging.ERROR):
        await running.source.refresh()
        await running.source.refresh()

    assert running.dollars() == 2
    assert running.count("overrides:own.yaml", "refused") == 1
    assert running.gauge("spanledger_price_refresh_ok", "overrides:own.yaml") == 0
    (record,) = caplog.records
    assert "own.yaml" in record.getMessage()
    assert "what was read before stays in use" in record.getMessage()

    running.write("own.yaml", book(3))
    await running.source.refresh()
    assert running.dollars() == 3
    assert running.gauge("spanledger_price_refresh_ok", "overrides:own.yaml") == 1


async def test_a_file_that_is_gone_is_told_once_and_taken_when_it_is_back(tmp_path: Path) -> None:
    """As a mounted ConfigMap is for a moment."""
    running = Running(tmp_path, overrides=("own.yaml",))
    running.write("own.yaml", book(2))
    running.source.open()
    (tmp_path / "own.yaml").unlink()
    for _ in range(3):
        await running.source.refresh()
    assert (running.dollars(), running.count("overrides:own.yaml", "refused")) == (2, 1)
    running.write("own.yaml", book(4))
    await running.source.refresh()
    assert running.dollars() == 4


async def test_one_bad_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Each is judged by itself, and precedence stays."""
    running = Running(tmp_path, overrides=("a.yaml", "b.yaml"))
    running.write("a.yaml", "version: 1\n")
    running.write("b.yaml", book(2))
    running.source.open()
    running.write("a.yaml", "nonsense: 1")
    running.write("b.yaml", book(3))
    await running.source.refresh()
    assert running.dollars() == 3
    running.write("a.yaml", book(7))
    await running.source.refresh()
    assert running.dollars() == 7


async def test_lists_are_read_from_files_and_say_version_and_age(tmp_path: Path) -> None:
    """The file's day is the version, for neither says one; the age is counted from when it was put there."""
    running = Running(tmp_path, file="data.json", second_file="map.json")
    running.write("data.json", first())
    running.write("map.json", second())
    running.source.open()
    usage = Usage(input=10**6)
    assert running.dollars(PricedCall(usage, "groq", "m1")) == 1
    assert running.dollars(PricedCall(usage, "deepinfra", "m1")) == 1
    assert running.gauge("spanledger_price_data_info", "genai-prices", "2026-11-19") == 1
    assert running.gauge("spanledger_price_data_info", "litellm", "2026-11-19") == 1
    assert running.gauge("spanledger_price_data_age_seconds", "genai-prices") == 3599
    running.clock.now_s += 100
    await running.source.refresh()
    assert running.gauge("spanledger_price_data_age_seconds", "litellm") == 3698

    running.write("map.json", "no map")
    await running.source.refresh()
    assert running.gauge("spanledger_price_data_age_seconds", "litellm") == 3698, "what is in use got no younger"
    (tmp_path / "map.json").unlink()
    running.clock.now_s += 2
    await running.source.refresh()
    assert running.gauge("spanledger_price_data_age_seconds", "litellm") == 3700
    running.write("map.json", second())
    await running.source.refresh()
    assert running.gauge("spanledger_price_data_age_seconds", "litellm") == 3698

    running.write("data.json", first(20, 2.0))
    os.utime(tmp_path / "data.json", (NOW_S,) * 2)
    await running.source.refresh()
    assert running.dollars(PricedCall(usage, "groq", "m1")) == 2
    assert ("spanledger_price_data_info", "genai-prices", "2026-11-19") not in running.numbers.values
    assert running.gauge("spanledger_price_data_info", "genai-prices", "2026-11-20") == 1


async def test_lists_that_come_with_spanledger_have_an_age_too(tmp_path: Path) -> None:
    """Since the last price that they date: 2026-11-09, and 2026-11-12 for the second."""
    running = Running(tmp_path)
    running.source.open()
    assert running.gauge("spanledger_price_data_age_seconds", "genai-prices") <= 11 * 86_400
    assert running.gauge("spanledger_price_data_age_seconds", "litellm") == 8 * 86_400


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("data.json", first(17), "17 of the 20 models"),
        ("data.json", "[]", "0 of the 20 models"),
        ("data.json", first(20, 6.0), "changes the input price of 'm1'"),
        ("data.json", "{}", "not the data of genai-prices"),
        ("data.json", '[{"id": 1}]', "not the data of genai-prices"),
        ("map.json", second(150), "150 of the 200 models"),
        ("map.json", second(200, 9e-6), "changes the input price of 'm1'"),
        ("map.json", second()[:500], "not JSON"),
    ],
)
async def test_a_list_that_looks_like_an_accident_is_refused(
    tmp_path: Path, name: str, text: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut short, another unit, not a list at all: prices of models in use may not jump without a date."""
    running = Running(tmp_path, file="data.json", second_file="map.json")
    running.write("data.json", first())
    running.write("map.json", second())
    running.source.open()
    for seller in ("groq", "deepinfra"):
        running.dollars(PricedCall(Usage(input=1), seller, "m1"))
    running.write(name, text)
    with caplog.at_level(logging.ERROR):
        await running.source.refresh()

    assert why in caplog.text
    for seller in ("groq", "deepinfra"):
        assert running.dollars(PricedCall(Usage(input=10**6), seller, "m1")) == 1
    assert running.count("genai-prices" if name == "data.json" else "litellm", "refused") == 1


async def test_a_price_may_jump_if_the_list_dates_it_or_nobody_uses_it(tmp_path: Path) -> None:
    """Then it is meant."""
    running = Running(tmp_path, file="data.json")
    running.write("data.json", first())
    running.source.open()
    running.dollars(PricedCall(Usage(input=1), "groq", "m1"))
    running.write("data.json", first(20, 9.0, since="2026-11-01"))
    await running.source.refresh()
    assert running.dollars(PricedCall(Usage(input=10**6), "groq", "m1")) == 9

    unused = Running(tmp_path, file="data.json")
    unused.write("data.json", first())
    unused.source.open()
    unused.write("data.json", first(20, 9.0))
    await unused.source.refresh()
    assert unused.dollars(PricedCall(Usage(input=10**6), "groq", "m1")) == 9


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"overrides": ("own.yaml",)}, "own.yaml: cannot be read"),
        ({"file": "data.json"}, "data.json: cannot be read"),
        ({"second_file": "map.json"}, "map.json: cannot be read"),
    ],
)
def test_at_start_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, files: Mapping[str, Any], complaint: str
) -> None:
    """There is no last good one yet."""
    with pytest.raises(BadPrices, match=complaint):
        Running(tmp_path, **files).source.open()


async def test_watching_ends_with_the_component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks at the files while it lasts."""
    running = Running(tmp_path, overrides=("own.yaml",), refresh_interval="1ms")
    running.write("own.yaml", book(2))
    running.source.open()
    running.source.start()
    looked = asyncio.Event()
    refresh = running.source.refresh

    async def look() -> None:
        await refresh()
        looked.set()

    monkeypatch.setattr(running.source, "refresh", look)
    running.write("own.yaml", book(3))
    async with asyncio.timeout(5):
        await looked.wait()
    await running.source.stop()
    assert running.dollars() == 3
    assert [task.get_name() for task in asyncio.all_tasks() if "prices" in task.get_name()] == []


async def test_the_display_currency_is_a_number_that_dashboards_can_use(tmp_path: Path) -> None:
    """Amounts stay dollars; what one dollar is worth stands beside them, and follows the file."""
    running = Running(tmp_path, overrides=("own.yaml",))
    running.write("own.yaml", "currency: {code: EUR, rate: 0.92}\n")
    running.source.open()
    assert running.gauge("spanledger_display_currency_rate", "EUR") == 0.92
    running.write("own.yaml", "currency: {code: CHF, rate: 0.8}\n")
    await running.source.refresh()
    assert running.gauge("spanledger_display_currency_rate", "CHF") == 0.8
    assert ("spanledger_display_currency_rate", "EUR") not in running.numbers.values


@pytest.mark.parametrize(
    "currency", ["EUR", "{code: EUR}", "{rate: 0.9}", "{code: eur, rate: 1}", "{code: EUR, rate: 0}"]
)
def test_a_currency_needs_a_code_and_a_rate(currency: str) -> None:
    """One without the other cannot be shown."""
    with pytest.raises(BadPrices, match="currency"):
        read_book(f"currency: {currency}", "own.yaml")


def test_dollars_need_no_rate() -> None:
    """As before there was any other currency."""
    assert read_book("currency: USD", "own.yaml").currency.rate == Decimal(1)


def test_the_rules_of_a_swap() -> None:
    """Nine in ten models stay; what has no price in one of the two is no move."""
    assert shrunken([], [1]) == ""
    assert shrunken(range(10), range(9)) == ""
    assert shrunken(range(10), range(8)) != ""
    catalogue = read_catalogue(first().encode(), "x", "1")
    old, new = (PriceEngine(catalogue, second=SecondCatalogue({}, "1")) for _ in range(2))
    old.price(PricedCall(Usage(input=1), "groq", "unknown"), 0)
    assert moved(old, new, 0) == ""
    assert old.names_in_use() == new.names_in_use()  # what was in use is known to the new one already


@pytest.mark.parametrize(
    "part",
    [
        {"prices": {"input_mtok": -1}},
        {"prices": {"input_mtok": "1e400"}},
        {"prices": {"input_mtok": {"base": 1, "tiers": [{"start": 10, "price": -2}]}}},
        {"match": {"regex": "("}},
        {"match": {"or": [{"starts_with": ""}]}},
    ],
    ids=["negative", "huge", "negative above a threshold", "no expression", "no characters"],
)
def test_a_list_that_nobody_can_price_by_is_refused(part: dict[str, object]) -> None:
    """The package takes it; it would be found out by the first call, and not when the file was read."""
    model = {"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 1}}
    sellers = [{"id": "groq", "name": "Groq", "api_pattern": "https://api.groq.com", "models": [model]}]
    assert read_catalogue(json.dumps(sellers).encode(), "list.json", "1").find("groq", ("m",)) is not None
    model.update(part)
    with pytest.raises(BadPrices, match=r"list\.json"):
        read_catalogue(json.dumps(sellers).encode(), "list.json", "1")


def test_the_newest_price_is_not_from_the_future() -> None:
    """Lists date price changes that are announced."""
    catalogue = shipped_catalogue()
    newest = catalogue.newest_price(datetime(2026, 11, 20, tzinfo=UTC).date())
    assert newest is not None
    assert newest.isoformat() == "2026-11-09"
    assert catalogue.newest_price(datetime(2000, 1, 1, tzinfo=UTC).date()) is None
