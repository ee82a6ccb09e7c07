"""Says what each model call cost, and counts each call once.

`genai_normalizer` must come before it: it works on the readings that the normaliser leaves. Prices and
rules are in `spanledger.conventions.prices`, who counts is decided by `spanledger.conventions.ledger`;
this stage applies both. A price is that of the day a span started. A call without a price is marked
`unpriced` and gets no amount; an amount that a span came with is never overwritten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic

from spanledger.conventions.call import Call, Place
from spanledger.conventions.ledger import MONEY, Verdict, once
from spanledger.conventions.lookup import ORIGINAL
from spanledger.conventions.prices.ask import tier_of
from spanledger.conventions.prices.attributes import COST, PREFIX, Spelling, attributes_of, restored, spelled
from spanledger.conventions.prices.calls import call_of, home_of
from spanledger.conventions.prices.engine import PriceEngine
from spanledger.conventions.prices.overrides import (
    Adjustment,
    Alias,
    CacheTTL,
    Currency,
    FeeRow,
    PriceBook,
    PriceRow,
    SelfHosted,
    ServiceFacts,
    TierRule,
    as_tuple,
)
from spanledger.conventions.prices.reported import Policy, impossible, weigh
from spanledger.conventions.prices.resolve import family
from spanledger.conventions.reading import Cost
from spanledger.conventions.same_call import Knows
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import any_value
from spanledger.conventions.verdicts import FETCHED, SUM_OF_CALLS, decided
from spanledger.processor.accounts import Accounts
from spanledger.processor.batch import PAUSE_EVERY
from spanledger.processor.component import ComponentConfig, Host, Passive, PipelineView, register
from spanledger.processor.model_prices import ModelPrices
from spanledger.processor.price_source import CatalogConfig, PriceSource, misread

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.ledger import Report
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.values import Value
    from spanledger.processor.batch import Batch, Resource, ScopeGroup


@dataclass(slots=True)
class Passed:
    """What a span was told to be when it left."""

    verdict: Verdict
    same_as: bytes
    """Trace id and span id of another report of its call; b"" for none."""
    paired: Report | None = None
    """The last report that was told to be of this one's call, or that this one was told to be of."""


_CALLS: Final = frozenset({"llm", "embedding"})
_RUNS: Final = frozenset({"agent", "workflow"})
_STATUS_ERROR: Final = 2
_LOGS_A_MINUTE: Final = 10
_LOG_AGAIN_S: Final = 3600.0
_MAX_NAMES: Final = 1024
_MAX_ALIKE: Final = 16
_MAX_CHARS: Final = 256
"""Of what the ledger remembers calls by."""


class GenaiPricingConfig(ComponentConfig):
    """Configuration of `genai_pricing`. Without any, list prices and the shipped corrections are used."""

    overrides: list[str] = pydantic.Field(default_factory=list)
    """Files with own prices, by precedence; each has the keys below and `version: 1`."""
    catalog: CatalogConfig = CatalogConfig()
    """Price lists from files, read again when they change."""
    currency: Currency = Currency()
    """The currency that people are shown, such as {code: EUR, rate: 0.92}; spans and metrics stay in US dollars."""
    on_reported_cost: Policy = "prefer"
    """A cost that a span came with: `prefer` counts a gateway's or provider's bill, and any amount where no price
    is known; `verify` only compares; `ignore` does not look."""
    cache_write_ttl: CacheTTL = "5m"
    """Lifetime of cache writes whose span does not tell it: 5m or 1h."""
    own_hosts: Literal["auto", "self_hosted"] = "auto"
    """Calls to private addresses: `auto` prices models that only their lab can run, as through a proxy, and leaves
    the rest unpriced; `self_hosted` leaves all unpriced."""
    attributes: list[Spelling] = pydantic.Field(default_factory=list)
    """More attributes to write the cost to, for backends that read no other."""
    aliases: Annotated[tuple[Alias, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Other names of models: Azure deployments, inference profiles, names of a router."""
    services: Annotated[tuple[ServiceFacts, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Facts that no span carries, such as that a service runs batches."""
    prices: Annotated[tuple[PriceRow, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Own prices, before the list's."""
    fees: Annotated[tuple[FeeRow, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Prices of what is no token: searches, images, sound, pages."""
    adjust: Annotated[tuple[Adjustment, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Multipliers on list prices: contracts, provisioned capacity."""
    tiers: Annotated[tuple[TierRule, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """What service tiers cost where the price list does not say."""
    self_hosted: Annotated[tuple[SelfHosted, ...], pydantic.BeforeValidator(as_tuple)] = ()
    """Models on own machines, by the token or by the hour of a GPU."""

    def book(self) -> PriceBook:
        """Return the blocks that stand in the configuration itself."""
        return PriceBook(
            currency=self.currency, aliases=self.aliases, services=self.services, prices=self.prices, fees=self.fees,
            adjust=self.adjust, tiers=self.tiers, self_hosted=self.self_hosted,
        )  # fmt: skip

    def files(self) -> Iterator[str]:
        """Yield the files with prices."""
        yield from self.overrides
        yield from self.catalog.files()

    def misread(self) -> Iterator[str]:
        """Yield what is wrong in the files with prices."""
        return misread(self.catalog, self.overrides)


@dataclass(slots=True)
class _Bill:
    """One span on its way through: whose it is, what it would cost, and what to write."""

    group: ScopeGroup
    index: int
    reading: Reading
    cost: Cost | None = None
    call: Call | None = None
    """What the ledger is told."""
    computed: int | None = None
    """Our own amount, where another one counts."""
    units: bool = False
    """It has something to pay for beside tokens."""
    settled: bool = False
    """The span was priced by a sidecar before: nothing is written again."""


def check(pipeline: PipelineView) -> str | None:
    """Say what is wrong with a pipeline that has this processor."""
    types = [processor.type for processor in pipeline.processors]
    if "genai_normalizer" not in types[: types.index("genai_pricing")]:
        return "genai_pricing reads what genai_normalizer found: list genai_normalizer before it"
    return None


@register("processor", "genai_pricing", config=GenaiPricingConfig, signals=("traces", "logs"), check=check)
class GenaiPricing(Passive):
    """Prices model calls, each once, and writes the cost and where the price is from."""

    def __init__(self, config: GenaiPricingConfig, host: Host) -> None:
        self._config = config
        self._host = host
        # The span of a call and its log record come through different pipelines.
        self._passed: Accounts = host.shared(Accounts)
        self._unpriced: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._minute, self._said = float("-inf"), 0
        self._conflicts = host.metrics.counter("spanledger_cost_conflicts_total")
        self._late = host.metrics.counter("spanledger_late_children_total")
        self._memo = host.metrics.gauge("spanledger_price_memo_entries")
        self._model_prices = ModelPrices(host.metrics)
        self._prices = PriceSource(config.catalog, config.overrides, config.book(), config.own_hosts, host)

    @property
    def _engine(self) -> PriceEngine:
        """The prices of this moment: another engine when a file has changed."""
        return self._prices.engine

    async def start(self) -> None:
        """Load the prices. Raises ValueError that names file and line of what is wrong in an override file."""
        self._prices.open()
        self._prices.start()
        self._late.add((), 0)
        self._memo.set((), 0)

    async def shutdown(self, deadline: float) -> int:
        """Leave the files alone; nothing is lost."""
        await self._prices.stop()
        return 0

    async def refresh(self) -> None:
        """Take what changed in the files with prices, now rather than at the next interval."""
        await self._prices.refresh()

    def statistics(self) -> Mapping[str, Any]:
        """Return the sizes of what is remembered."""
        return {"memo": self._engine.memo_entries, "memo_misses": self._engine.misses, **self._passed.statistics()}

    def process(self, batch: Batch) -> Generator[None, None, None]:
        """Price every call of the batch; pauses between spans of long batches and after each new model."""
        bills: list[tuple[_Bill, Place]] = []
        places: list[Place] = []
        misses = self._engine.misses
        for group in batch.work:
            resource = group.resource.attributes
            facts, home = self._engine.facts(resource), home_of(resource)
            for index, span in enumerate(group.items):
                if span is None:
                    continue
                reading = group.readings[index]
                bill = None if reading is None else self._read(_Bill(group, index, reading), span, facts, home)
                place = Place(
                    span.trace_id, span.span_id, span.parent_span_id,
                    span.start_time_unix_nano, span.end_time_unix_nano, None if bill is None else bill.call,
                )  # fmt: skip
                places.append(place)
                if bill is not None:
                    bills.append((bill, place))
                if len(places) % PAUSE_EVERY == 0 or self._engine.misses != misses:
                    misses = self._engine.misses
                    yield
        now_s = self._host.monotonic()
        for count, place in enumerate(places, 1):
            self._passed.add(place, now_s)
            if count % PAUSE_EVERY == 0:
                self._passed.changed()
                yield
        self._passed.changed()
        self._passed.sums()
        for count, (bill, place) in enumerate(bills, 1):
            self._conclude(bill, self._passed.of(place))
            if count % PAUSE_EVERY == 0:
                yield
        for _ in self._passed.outgrown(now_s):
            pass
        self._memo.set((), self._engine.memo_entries)

    def _read(self, bill: _Bill, span: Span, facts: ServiceFacts | None, home: str) -> _Bill:
        """Price one span by itself, and say what it reports to the ledger."""
        group, reading = bill.group, bill.reading
        if reading.usage is None and not reading.units and reading.kind not in _CALLS:
            return bill
        before = restored(reading.attributes)
        if before is not None:
            bill.cost, bill.settled = before, True
        elif reading.operation == "fetch_response":
            bill.cost = FETCHED
        elif reading.unbilled:
            bill.cost = Cost("rollup", reading.unbilled)
            bill.call = report(reading, group.scope.name, group.resource, bill.cost, failed=False)
        else:
            self._price(bill, reading, span, facts, home)
        assert bill.cost is not None
        if bill.cost.status == "rollup" or (bill.cost.status == "no_usage" and reading.kind not in _CALLS):
            return bill
        failed = reading.error_type is not None or span.status.code == _STATUS_ERROR
        bill.call = report(reading, group.scope.name, group.resource, bill.cost, failed=failed, units=bill.units)
        return bill

    def _price(self, bill: _Bill, reading: Reading, span: Span, facts: ServiceFacts | None, home: str) -> None:
        start_ns = span.start_time_unix_nano or self._host.clock_ns()
        duration_ns = span.end_time_unix_nano - span.start_time_unix_nano
        call = call_of(reading, duration_ns, facts, self._config.cache_write_ttl, home)
        bill.units = bool(call.units)
        cost = self._engine.price(call, start_ns)
        if cost.status == "priced" and reading.model:
            self._model_prices.show(self._engine, call, (reading.provider or "", reading.model), self._host.clock_ns())
        if cost.status == "no_usage" and reading.error_type is not None:
            cost = Cost("no_usage", "error")
        bill.cost, bill.computed = weigh(cost, reading, self._config.on_reported_cost)
        if bill.cost.status == "conflict":
            self._conflicts.add((reading.provider or "",))
        elif bill.cost.status == "unpriced":
            self._report_unpriced(reading, bill.cost.reason)

    def _conclude(self, bill: _Bill, report: Report | None) -> None:
        """Give the reading its cost, as far as it is known by now whether it counts, and write the span."""
        group, index, reading = bill.group, bill.index, bill.reading
        verdict: Verdict = "none"
        cost = bill.cost
        if cost is None:
            if reading.kind not in _RUNS or report is None or not report.finding.below.calls:
                return
            cost = SUM_OF_CALLS
        elif bill.call is not None and report is not None:
            passed = self._pass(report)
            verdict, reading.same_as = passed.verdict, passed.same_as
            cost = decided(cost, verdict)
            reading.call, reading.price = bill.call, bill.cost
        reading.cost = cost
        if bill.settled:
            return
        below = once(report.finding.below).pico_usd if report is not None and cost.status == "rollup" else 0
        attributes = attributes_of(cost, bill.computed, below)
        for spelling in self._config.attributes:
            attributes |= spelled(spelling, cost)
        span = group.items[index]
        told = reading.attributes.get(COST) if reading.reported_cost_usd is not None else None
        if COST in attributes and COST in reading.attributes and impossible(told):
            replaced(span, reading, attributes)
        if reading.echo_edits and verdict in MONEY and inscribe(span, reading, reading.echo_edits):
            group.changed.add(index)
        if inscribe(span, reading, attributes):
            group.changed.add(index)

    def _pass(self, report: Report) -> Passed:
        """Return what a span is told to be. It leaves now: what passed before with a cost is not told again.

        What it really is, others may find out that learn of more.
        """
        if isinstance(report.kept, Passed):
            return report.kept  # a request that comes again
        verdict: Verdict = report.verdict
        others = self._others(report)
        other = self._free_twin(report, _twin(report, others))
        if verdict in MONEY:
            passed = [one for one in others if _has_passed(one) and one.verdict == "twin"]
            if passed:
                verdict = "prices" if all(_lacks_price(one, report) for one in passed) else "twin"
            elif (above := next(filter(_passed_for_more, report.above()), None)) is not None:
                verdict, other = _part_of(above, report) or verdict, above
                self._late.add(())
        report.kept = Passed(verdict, _key(other) if other is not None else b"", other)
        if other is not None and isinstance(other.kept, Passed):
            other.kept.paired = report
        return report.kept

    def _others(self, report: Report) -> tuple[Report, ...]:
        """Return the other reports of the call that a report stands for, as far as it does."""
        return (*self._passed.twins(report), *report.finding.echoes)

    def _free_twin(self, report: Report, first: Report | None) -> Report | None:
        """Return another report of the same call; of calls that are quite alike, one that no other was told.

        With each report that comes the ledger pairs such calls anew, and what was told stays: whoever finds its twin,
        `first`, given away takes the one that is now left over by who has it.
        """
        other = first
        for _ in range(_MAX_ALIKE):
            holder = _holder(other) if other is not None else None
            left = _twin(holder, self._others(holder)) if holder is not None and holder is not report else None
            if left in (None, other):
                return other
            other = left
        return first

    def _report_unpriced(self, reading: Reading, reason: str) -> None:
        """Log a model without a price, once an hour."""
        if not reading.model:
            return  # nobody can give a price to a call that names no model
        name = (reading.provider or "", reading.model)
        now = self._host.monotonic()
        if now < self._unpriced.get(name, float("-inf")):
            return
        if now >= self._minute + 60:
            self._minute, self._said = now, 0
        self._said += 1
        if self._said > _LOGS_A_MINUTE:
            return  # somebody makes names up; spanledger_llm_unpriced_tokens_total counts them all
        self._unpriced[name] = now + _LOG_AGAIN_S
        self._unpriced.move_to_end(name)
        if len(self._unpriced) > _MAX_NAMES:
            self._unpriced.popitem(last=False)
        self._host.log.warning(
            "no price for model %.100r of provider %.60r (%s); `spanledger price` shows how to add one",
            *reversed(name), reason,
        )  # fmt: skip


def _twin(report: Report, others: Sequence[Report]) -> Report | None:
    """Return the call that a report is a twin of, or else the first of `others` that is its twin."""
    return report.twin_of or next((one for one in others if one.verdict == "twin"), None)


def _holder(report: Report) -> Report | None:
    """Return the report that was told to be of one call with this one, unless it was told another one since."""
    holder = report.kept.paired if isinstance(report.kept, Passed) else None
    kept = holder.kept if holder is not None else None
    return holder if isinstance(kept, Passed) and kept.paired is report else None


def _key(report: Report) -> bytes:
    return report.place.trace_id + report.place.span_id if report.place is not None else b""


def _has_passed(report: Report) -> bool:
    """Tell whether a span has left as one that counts, and has told tokens."""
    kept = report.kept
    return isinstance(kept, Passed) and kept.verdict in MONEY and report.call is not None and report.call.tells_tokens


def _passed_for_more(report: Report) -> bool:
    """Tell whether a span has left as one that counts, and is none."""
    return _has_passed(report) and report.verdict not in MONEY


def _lacks_price(passed: Report, report: Report) -> bool:
    """Tell whether a span left with tokens only, and this one knows what they cost: as behind a proxy's alias."""
    assert passed.call is not None
    assert report.call is not None
    return passed.call.pico_usd is None and report.call.pico_usd is not None


def _part_of(above: Report, report: Report) -> Verdict | None:
    """Return what a call is to a span above it that has left as its bill; None for what that did not tell."""
    assert above.call is not None
    assert report.call is not None
    if _lacks_price(above, report):
        return "prices"
    if above.call.inference:
        return "twin"
    return "in_parent" if report.call.tells_tokens and not above.finding.less else None


def report(reading: Reading, scope: str, resource: Resource, cost: Cost, *, failed: bool, units: bool = False) -> Call:
    """Return what a model call, or a span with the tokens of several, says to the ledger."""
    usage = reading.usage or Usage()
    kinds = (usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.reasoning, usage.audio_input)
    return Call(
        inference=reading.kind in _CALLS and not reading.aggregate,
        scope=scope[:_MAX_CHARS],
        service=resource.service_name[:_MAX_CHARS],
        response_id=(reading.response_id or "")[:_MAX_CHARS],
        family=family(reading.model),
        asked=family(reading.request_model) if reading.response_model else "",
        input=usage.input or 0,
        output=usage.output or 0,
        failed=failed,
        echo=reading.echo,
        opened=reading.opened,
        unbilled=bool(reading.unbilled),
        detail=sum(count is not None for count in kinds),
        knows=_knows(reading, cost, units=units),
        pico_usd=cost.total,
        pico_input=cost.input,
        pico_output=cost.output,
        kin=reading.dialect if reading.retold else "",
        report=reading.report,
        request_id=(reading.request_id or "")[:_MAX_CHARS],
        session=(reading.conversation_id or "")[:_MAX_CHARS] if reading.retold else "",
        reasoning=usage.reasoning or 0,
        cached=(usage.cache_read or 0) + (usage.cache_write or 0),
        written=usage.cache_write or 0,
    )


def _knows(reading: Reading, cost: Cost, *, units: bool) -> int:
    """Return what decides the price that a span tells beside its tokens."""
    usage = reading.usage
    return (
        (Knows.BILL if cost.reason == "reported" else 0)
        | (Knows.TIER if reading.service_tier else 0)
        | (Knows.SPECIAL if reading.service_tier and tier_of(reading.service_tier) else 0)
        | (Knows.LIFETIME if usage is not None and usage.cache_write and usage.cache_write_1h is not None else 0)
        | (Knows.UNITS if units else 0)
    )


def replaced(span: Span, reading: Reading, attributes: dict[str, str | float]) -> None:
    """Take an amount that no call can have cost off the span, and keep it as `spanledger.original.*`."""
    attributes[PREFIX + "reason"] = "reported_impossible"
    for pair in span.attributes:
        if pair.key == COST:
            pair.key = ORIGINAL + COST
    span.attributes.add(key=COST).value.double_value = float(attributes.pop(COST))


def inscribe(span: Span, reading: Reading, attributes: Mapping[str, Value]) -> bool:
    """Append attributes to a span; keys that are there already stay. Tell whether anything was written."""
    pairs = span.attributes
    changed = False
    for key, value in attributes.items():
        if key in reading.attributes or key in reading.edits:
            continue
        pair = pairs.add()
        pair.key = key
        added = pair.value
        if isinstance(value, str):
            added.string_value = value
        elif isinstance(value, float):
            added.double_value = value
        else:
            added.CopyFrom(any_value(value))
        changed = True
    return changed
