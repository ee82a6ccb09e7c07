"""Spans that repeat, announce or answer without a model: none of them counts a call twice, and none gets lost."""

from __future__ import annotations

from spanledger.conventions.call import Call, Place
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.reader import Reader
from spanledger.conventions.values import Value, attributes_of
from spanledger.processor.accounts import Accounts
from spanledger.processor.batch import Batch, decode, finish
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from tests.fakes import host, request, span

READER = Reader(DIALECTS)
NOW = 1_795_164_000_000_000_000
USAGE = "{'prompt_tokens': 100, 'completion_tokens': 10, 'prompt_tokens_details': {'cached_tokens': 40}}"
ECHO = Call(inference=True, scope="litellm", response_id="r-1", input=100, output=10, echo=True)
WHOLE = Call(inference=True, scope="litellm", response_id="r-1", input=100, output=10)


def place(number: int, parent: int, call: Call | None) -> Place:
    """Return a place of one trace."""
    above = parent.to_bytes(8, "big") if parent else b""
    return Place(bytes(16), number.to_bytes(8, "big"), above, number, 1000 - number, call)


def verdicts(*requests: list[Place]) -> list[str]:
    """Return what the spans of some requests are in the end."""
    accounts = Accounts()
    for places in requests:
        for one in places:
            accounts.add(one, 0.0)
        accounts.changed()
    found = [accounts.of(one) for places in requests for one in places]
    return [report.verdict for report in found if report is not None]


def test_an_echo_gives_way_to_the_span_around_it() -> None:
    """Though that is higher up, and whichever comes first."""
    assert verdicts([place(1, 0, WHOLE), place(2, 1, ECHO)]) == ["counts", "twin"]
    assert verdicts([place(2, 1, ECHO), place(1, 0, WHOLE)]) == ["twin", "counts"]
    assert verdicts([place(1, 0, WHOLE)], [place(2, 1, ECHO)]) == ["counts", "twin"]
    assert verdicts([place(2, 1, ECHO)], [place(1, 0, WHOLE)]) == ["twin", "counts"]


def test_an_echo_counts_where_the_span_around_it_says_something_else() -> None:
    """Each call is written over the last one on the caller's span: only the last is there."""
    first = Call(inference=True, scope="litellm", response_id="r-0", input=90, output=9, echo=True)

    assert verdicts([place(2, 1, first), place(3, 1, ECHO)], [place(1, 0, WHOLE)]) == ["counts", "twin", "counts"]


async def priced(*spans: dict[str, Value], names: tuple[str, ...]) -> list[dict[str, Value]]:
    """Normalise and price spans, each but the first a child of the first; return their attributes."""
    items = [
        span(index + 1, int(index > 0), name=name, **{key.replace(".", "__"): value for key, value in said.items()})
        for index, (name, said) in enumerate(zip(names, spans, strict=True))
    ]
    pricing = GenaiPricing(GenaiPricingConfig(), host("genai_pricing"))
    await pricing.start()
    batch: Batch = finish(decode("traces", request(*items, scope="litellm").SerializeToString(), NOW))
    finish(GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer")).process(batch))
    finish(pricing.process(batch))
    return [attributes_of(item.attributes) for item in batch.groups[0].items]


RAW: dict[str, Value] = {"llm.openai.usage": USAGE, "llm.openai.id": "r-1", "llm.openai.model": "gpt-4o-2024-08-06"}
SAME: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.id": "r-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
    "litellm.call_id": "c-1",
}


async def test_an_echo_that_does_not_count_says_nothing_more() -> None:
    """A backend that adds up the usage of all spans gets each call once."""
    whole, echo = await priced(SAME, RAW, names=("litellm_request", "raw_gen_ai_request"))

    assert whole["spanledger.cost.status"] == "priced"
    assert echo["spanledger.cost.status"] == "rollup"
    assert not [key for key in echo if key.startswith("gen_ai.")]


async def test_an_echo_that_counts_says_all() -> None:
    """Below a span that is no call it is the call."""
    _, echo = await priced({"http.route": "/"}, RAW, names=("POST /", "raw_gen_ai_request"))

    assert echo["gen_ai.usage.input_tokens"] == 100
    assert echo["gen_ai.usage.cache_read.input_tokens"] == 40
    assert echo["gen_ai.response.model"] == "gpt-4o-2024-08-06"
    assert echo["spanledger.cost.status"] == "priced"


async def test_an_answer_out_of_a_cache_costs_nothing() -> None:
    """LiteLLM found it, no model was asked."""
    (cached,) = await priced(SAME | {"litellm.cache_hit": "True"}, names=("litellm_request",))

    assert cached["spanledger.cost.status"] == "rollup"
    assert "spanledger.cost.total_usd" not in cached


def test_an_announcement_is_no_step() -> None:
    """Logfire sends each span twice, whatever made it."""
    pending = span(
        2, 1, logfire__span_type="pending_span", gen_ai__operation__name="chat", gen_ai__usage__input_tokens=5
    )
    reading = READER.read("anything", "", pending)

    assert reading is not None
    assert (reading.kind, reading.operation, reading.usage) == ("other", None, None)


def test_spans_without_attributes_are_known_by_scope_and_name() -> None:
    """Google's ADK tells nothing else of some of its spans."""
    reading = READER.read("gcp.vertex.agent", "2.0.0", span(1, name="invocation"))

    assert reading is not None
    assert reading.operation == "invoke_workflow"
    assert READER.read("somebody.else", "", span(1, name="invocation")) is None


def test_a_failure_that_the_status_hides_is_seen() -> None:
    """Langfuse has a level, and leaves the status alone."""
    failed = span(1, langfuse__observation__type="generation", langfuse__observation__level="ERROR")
    reading = READER.read("langfuse-sdk", "5.0.4", failed)

    assert reading is not None
    assert reading.error_type == "_OTHER"
