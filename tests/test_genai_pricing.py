"""The processor: costs on spans and readings, each call once, reported costs, and nothing that data can break."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import Value, attributes_of
from spanledger.processor.batch import Batch, decode, finish
from spanledger.processor.component import REGISTRY, ComponentId, PipelineView
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from tests.fakes import Clock, Numbers, host, request, span

USAGE = Usage(input=1000, output=1000)
START = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9


async def pricing(clock: Clock | None = None, numbers: Numbers | None = None, **config: Any) -> GenaiPricing:
    """Return a started processor."""
    processor = GenaiPricing(GenaiPricingConfig.model_validate(config), host("genai_pricing", clock, numbers))
    await processor.start()
    return processor


def reading(kind: Any = "llm", usage: Usage | None = USAGE, **facts: Any) -> Reading:
    """Return what the normaliser would have read: a call of gpt-4o, $0.0125."""
    known = {"operation": "chat", "provider": "openai", "response_model": "gpt-4o"} | facts
    return Reading("otel", kind, usage=usage, **known)


def batch_of(spans: Sequence[tuple[Span, Reading | None]], scope: str = "sdk", **resource: str) -> Batch:
    """Return a decoded batch with readings."""
    message = request(*(item for item, _ in spans), scope=scope, resource={"service.name": "shop", **resource})
    batch = finish(decode("traces", message.SerializeToString(), START))
    (group,) = batch.groups
    for index, (item, found) in enumerate(spans):
        group.items[index].start_time_unix_nano = START + index
        if found is not None:
            found.attributes = attributes_of(item.attributes)
        group.readings[index] = found
    return batch


def run(processor: GenaiPricing, batch: Batch) -> list[dict[str, Any]]:
    """Price a batch and return the attributes of its spans."""
    finish(processor.process(batch))
    return [attributes_of(item.attributes) for item in batch.groups[0].items]


def costs(batch: Batch) -> list[Cost | None]:
    """Return the costs of the readings."""
    return [found.cost if found is not None else None for found in batch.groups[0].readings]


async def test_a_call_is_priced_and_its_span_says_so() -> None:
    """1000 x 2.5 + 1000 x 10 dollars a million."""
    batch = batch_of([(span(1, keep="me"), reading())])
    (attributes,) = run(await pricing(), batch)

    assert attributes == {
        "keep": "me",
        "gen_ai.usage.cost": 0.0125,
        "spanledger.cost.status": "priced",
        "spanledger.cost.total_usd": 0.0125,
        "spanledger.cost.input_usd": 0.0025,
        "spanledger.cost.output_usd": 0.01,
        "spanledger.cost.price_ref": attributes["spanledger.cost.price_ref"],
    }
    assert attributes["spanledger.cost.price_ref"].startswith("genai-prices@")
    assert batch.groups[0].changed == {0}
    assert costs(batch)[0] == Cost(
        "priced", "", 12_500_000_000, 2_500_000_000, 10_000_000_000, attributes["spanledger.cost.price_ref"]
    )


async def test_what_has_no_price_gets_no_amount_and_one_log_line_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """Never 0; said once, and again an hour later."""
    clock = Clock()
    processor = await pricing(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            (attributes,) = run(processor, batch_of([(span(1), reading(response_model="gpt-\n99"))]))
        assert attributes == {"spanledger.cost.status": "unpriced", "spanledger.cost.reason": "unknown_model"}
        assert [record.getMessage() for record in caplog.records] == [
            (
                r"no price for model 'gpt-\n99' of provider 'openai' (unknown_model); "
                "`spanledger price` shows how to add one"
            )
        ]
        clock.now_s += 3601
        run(processor, batch_of([(span(2), reading(response_model="gpt-\n99"))]))
        assert len(caplog.records) == 2


async def test_calls_without_usage_are_not_free() -> None:
    """No counts, no cost; a failed call says that it failed."""
    batch = batch_of([(span(1), reading(usage=None)), (span(2), reading(usage=None, error_type="timeout"))])
    first, second = run(await pricing(), batch)
    assert first == {"spanledger.cost.status": "no_usage"}
    assert second == {"spanledger.cost.status": "no_usage", "spanledger.cost.reason": "error"}


async def test_spans_that_are_no_calls_are_left_alone() -> None:
    """Tools, plain spans and spans too large to read."""
    batch = batch_of([(span(1), None), (span(2), reading("tool", usage=None)), (span(3), None)])
    batch.groups[0].items[2] = None
    finish((await pricing()).process(batch))
    assert batch.groups[0].changed == set()
    assert costs(batch) == [None, None, None]


async def test_wrappers_and_agents_are_rollups() -> None:
    """Only the call itself gets `gen_ai.usage.cost`; what is above gets the sum of what is below."""
    batch = batch_of([
        (span(1), reading("agent", usage=None, operation="invoke_agent")),
        (span(2, parent=1), reading(usage=Usage(input=1000, output=1000), response_model="gpt-4o-2024-08-06")),
        (span(3, parent=2), None),
        (span(4, parent=3), reading()),
    ])  # fmt: skip
    agent, wrapper, plain, leaf = run(await pricing(), batch)

    assert leaf["gen_ai.usage.cost"] == 0.0125
    assert plain == {}
    assert wrapper == {
        "spanledger.cost.status": "rollup",
        "spanledger.cost.reason": "wraps_calls",
        "spanledger.cost.rollup_usd": 0.0125,
    }
    assert agent["spanledger.cost.rollup_usd"] == 0.0125
    assert [cost and cost.status for cost in costs(batch)] == ["rollup", "rollup", None, "priced"]


async def test_an_agent_that_alone_has_tokens_is_priced() -> None:
    """And says why."""
    (attributes,) = run(await pricing(), batch_of([(span(1), reading("agent", operation="invoke_agent"))]))
    assert attributes["spanledger.cost.reason"] == "rollup_only_copy"
    assert attributes["gen_ai.usage.cost"] == 0.0125


async def test_an_amount_on_the_span_is_never_overwritten() -> None:
    """An SDK's estimate stays, ours counts, and the difference is told."""
    numbers = Numbers()
    found = reading(reported_cost_usd=0.02, reported_cost_key="gen_ai.usage.cost")
    batch = batch_of([(span(1, gen_ai__usage__cost=0.02), found)])
    (attributes,) = run(await pricing(numbers=numbers), batch)

    assert attributes["gen_ai.usage.cost"] == 0.02
    assert attributes["spanledger.cost.status"] == "conflict"
    assert attributes["spanledger.cost.total_usd"] == attributes["spanledger.cost.computed_usd"] == 0.0125
    assert found.cost is not None
    assert (found.cost.status, found.cost.total) == ("conflict", 12_500_000_000)
    assert numbers.total("spanledger_cost_conflicts_total") == 1


@pytest.mark.parametrize(
    ("policy", "provider", "key", "reported", "status", "total"),
    [
        ("prefer", "openrouter", "gen_ai.usage.cost", 0.010, "conflict", 0.010),  # a bill
        ("prefer", "openai", "litellm.cost.total", 0.0124, "priced", 0.0124),
        ("prefer", "openai", "operation.cost", 0.0124, "priced", 0.0125),  # an estimate that agrees
        ("prefer", "openai", "litellm.cost.total", 0.0119, "priced", 0.0119),  # within 5 %
        ("prefer", "openai", "litellm.cost.total", 0.0118, "conflict", 0.0118),
        ("prefer", "openai", "operation.cost", 0.0, "priced", 0.0125),  # zero is no evidence
        ("prefer", "openai", "gen_ai.usage.cost", 0.0, "conflict", 0.0125),  # but backends would show it
        ("prefer", "openai", "operation.cost", float("nan"), "priced", 0.0125),
        ("prefer", "openai", "operation.cost", -1.0, "priced", 0.0125),
        ("verify", "openai", "litellm.cost.total", 0.010, "conflict", 0.0125),
        ("ignore", "openai", "litellm.cost.total", 0.010, "priced", 0.0125),
        ("prefer", "acme", "operation.cost", 0.010, "priced", 0.010),  # better than nothing
        ("verify", "acme", "operation.cost", 0.010, "unpriced", None),
    ],
)
async def test_reported_costs_follow_the_policy(
    policy: str, provider: str, key: str, reported: float, status: str, total: float | None
) -> None:
    """A bill counts, an estimate is compared."""
    model = "openai/gpt-4o" if provider == "openrouter" else "gpt-4o" if provider == "openai" else "acme-chat"
    found = reading(provider=provider, response_model=model, reported_cost_usd=reported, reported_cost_key=key)
    run(await pricing(on_reported_cost=policy), batch_of([(span(1), found)]))

    assert found.cost is not None
    assert (status, total) == (found.cost.status, found.cost.total_usd)


async def test_a_priced_span_passes_a_second_sidecar_unchanged() -> None:
    """Nothing is written, the same amount is counted, and it is no reported cost."""
    batch = batch_of([(span(1), reading("agent", usage=None)), (span(2, parent=1), reading())])
    run(await pricing(), batch)
    wires = [item.SerializeToString() for item in batch.groups[0].items]
    again = batch_of([
        (Span.FromString(wires[0]), reading("agent", usage=None)),
        (Span.FromString(wires[1]), reading(reported_cost_usd=0.0125, reported_cost_key="gen_ai.usage.cost")),
    ])  # fmt: skip
    run(await pricing(adjust=[{"provider": "openai", "multiply": 9}]), again)

    assert again.groups[0].changed == set()
    assert [found.cost for found in batch.groups[0].readings if found] == [
        found.cost for found in again.groups[0].readings if found
    ]


async def test_a_request_that_comes_again_is_told_the_same() -> None:
    """It was refused, or sent twice; who counts it knows its ids."""
    processor = await pricing()

    def sent() -> Batch:
        return batch_of([(span(1), reading()), (span(2, parent=1), reading("tool", usage=None))])

    assert run(processor, sent()) == run(processor, sent())


async def test_what_has_passed_with_its_cost_is_not_told_again() -> None:
    """An agent or a wrapper that comes before its calls: backends add the costs of spans up."""
    processor = await pricing()
    (agent,) = run(processor, batch_of([(span(1), reading("agent", usage=Usage(2000, 2000)))]))
    assert (agent["spanledger.cost.status"], agent["spanledger.cost.reason"]) == ("priced", "rollup_only_copy")
    for number in (2, 3):
        (call,) = run(processor, batch_of([(span(number, parent=1), reading())]))
        assert call["spanledger.cost.reason"] == "counted_in_parent"
    (more,) = run(processor, batch_of([(span(4, parent=1), reading())]))
    assert more["gen_ai.usage.cost"] == 0.0125
    (inner,) = run(processor, batch_of([(span(5, parent=4), reading())], scope="inner"))
    assert inner["spanledger.cost.reason"] == "twin_of_counted_call"


async def test_a_wrapper_that_told_nothing_leaves_the_cost_to_its_call() -> None:
    """It came first, and had no tokens."""
    processor = await pricing()
    run(processor, batch_of([(span(1), reading(usage=None))]))
    (call,) = run(processor, batch_of([(span(2, parent=1), reading())]))
    assert call["gen_ai.usage.cost"] == 0.0125


async def test_facts_of_a_service_and_inline_prices_are_used() -> None:
    """What no span carries comes from the configuration."""
    processor = await pricing(
        services=[{"match": {"service.name": "nightly-*"}, "tier": "batch"}],
        prices=[{"provider": "acme", "model": "chat", "input": 1, "output": 1}],
        attributes=["llm.cost", "gen_ai.usage.cost.amount", "langfuse.observation.cost_details", "operation.cost"],
    )
    nightly = {"service.name": "nightly-1"}
    (batch,) = run(processor, batch_of([(span(1), reading())], **nightly))
    assert batch["gen_ai.usage.cost"] == 0.00625
    (told,) = run(processor, batch_of([(span(2), reading(service_tier="default"))], **nightly))
    assert told["gen_ai.usage.cost"] == 0.0125
    (own,) = run(processor, batch_of([(span(3), reading(provider="acme", response_model="chat"))]))
    assert own["llm.cost.total"] == own["operation.cost"] == own["gen_ai.usage.cost.amount"] == 0.002
    assert own["llm.cost.prompt"] == 0.001
    assert own["gen_ai.usage.cost.source"] == "local"
    assert own["langfuse.observation.cost_details"] == '{"input": 0.001, "output": 0.001, "total": 0.002}'


async def test_override_files_are_read_at_start(tmp_path: Path) -> None:
    """A bad one stops the start and says where."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("prices: [{model: gpt-4o, input: 1, output: 1}]")
    bad.write_text("prices:\n  - {modell: x}")
    (attributes,) = run(await pricing(overrides=[str(good)]), batch_of([(span(1), reading())]))
    assert attributes["gen_ai.usage.cost"] == 0.002
    with pytest.raises(ValueError, match=r"bad\.yaml:2: prices::0::modell: unknown key; did you mean model\?"):
        await pricing(overrides=[str(bad)])
    with pytest.raises(ValueError, match=r"nothere\.yaml: cannot be read"):
        await pricing(overrides=[str(tmp_path / "nothere.yaml")])


async def test_many_spans_leave_room_for_others() -> None:
    """The stage pauses every few dozen spans, and after each model it sees for the first time."""
    processor = await pricing()
    spans: list[tuple[Span, Reading | None]] = [(span(number), reading()) for number in range(1, 400)]
    assert sum(1 for _ in processor.process(batch_of(spans))) >= 12
    fresh: list[tuple[Span, Reading | None]] = [
        (span(number, trace=2), reading(response_model=f"model-{number}")) for number in range(1, 50)
    ]
    assert sum(1 for _ in processor.process(batch_of(fresh))) >= 49
    assert set(processor.statistics()) >= {"memo", "spans", "traces"}


@pytest.mark.parametrize("claim", [-1.0, 1e9, float("inf"), "free", True])
async def test_an_impossible_amount_makes_way_and_is_kept(claim: Value) -> None:
    """A backend that sums `gen_ai.usage.cost` must not show it."""
    (attributes,) = run(await pricing(), batch_of([(span(1, gen_ai__usage__cost=claim), reading())]))

    assert attributes["gen_ai.usage.cost"] == 0.0125
    assert attributes["spanledger.original.gen_ai.usage.cost"] == claim
    assert attributes["spanledger.cost.reason"] == "reported_impossible"


async def test_hostile_attributes_change_nothing() -> None:
    """A span that claims to be priced, in every wrong way."""
    processor = await pricing()
    for claim in ("priced", "PRICED", "", 7, ["priced"], "x" * 100_000):
        item = span(1, spanledger__cost__status=claim, spanledger__cost__total_usd="much", gen_ai__usage__cost="free")
        run(processor, batch_of([(item, reading())]))


def test_the_pipeline_must_normalise_first() -> None:
    """A configuration without genai_normalizer before it is refused with a reason."""
    registration = REGISTRY.of("processor")["genai_pricing"]
    other = REGISTRY.of("processor")["genai_pricing"]

    def view(*names: str) -> PipelineView:
        return PipelineView("traces", "traces", {}, {ComponentId.parse(name): other for name in names}, {})

    assert registration.check is not None
    assert registration.check(view("genai_normalizer", "genai_pricing/own")) is None
    assert "list genai_normalizer before it" in str(registration.check(view("genai_pricing", "genai_normalizer")))


async def test_the_region_of_the_service_counts_where_it_decides_the_price() -> None:
    """Bedrock is called where the application stands; a span that says where comes first."""
    processor = await pricing()
    call = {"provider": "aws.bedrock", "response_model": "amazon.nova-pro-v1:0"}
    home = {"cloud.provider": "aws", "cloud.region": "us-gov-west-1"}
    (there,) = run(processor, batch_of([(span(1), reading(**call))], **home))
    assert there["gen_ai.usage.cost"] == 0.0048  # 0.96 + 3.84
    (said,) = run(processor, batch_of([(span(2), reading(**call, region="us-east-1"))], **home))
    assert said["gen_ai.usage.cost"] == 0.004  # 0.8 + 3.2
    await processor.shutdown(0)


async def test_calls_that_are_sold_by_the_piece_are_priced_without_tokens() -> None:
    """A transcription by its length; the cost is on the span like any other."""
    processor = await pricing()
    sound = reading(usage=None, response_model="whisper-1", units=(("audio_input_ms", 90_000),))
    (attributes,) = run(processor, batch_of([(span(1), sound)]))
    assert attributes["gen_ai.usage.cost"] == 0.009  # 1.5 minutes x 0.006
    assert "spanledger.cost.input_usd" not in attributes
    await processor.shutdown(0)


async def test_prices_change_while_it_runs(tmp_path: Path) -> None:
    """The next span has the new price; statistics are those of the engine in use."""
    file = tmp_path / "own.yaml"
    file.write_text("prices: [{provider: acme, model: chat, input: 1, output: 1}]")
    processor = await pricing(overrides=[str(file)])
    call = {"provider": "acme", "response_model": "chat"}
    (before,) = run(processor, batch_of([(span(1), reading(**call))]))
    file.write_text("prices: [{provider: acme, model: chat, input: 2, output: 2.5}]")
    await processor.refresh()
    (after,) = run(processor, batch_of([(span(2), reading(**call))]))
    assert (before["gen_ai.usage.cost"], after["gen_ai.usage.cost"]) == (0.002, 0.0045)
    await processor.shutdown(0)
