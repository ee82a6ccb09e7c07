"""What OpenInference says only in the provider's answer, which it keeps as text in `output.value`."""

from __future__ import annotations

import json

import pytest

from spanledger.conventions.dialects import DIALECTS, read
from spanledger.conventions.profile import LATEST
from spanledger.conventions.reader import Reader
from spanledger.conventions.reading import Reading
from spanledger.conventions.values import Value, key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

CALL: dict[str, Value] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-5.4-mini",
    "llm.token_count.prompt": 1600,
    "llm.token_count.completion": 14,
}


def reading(attributes: dict[str, Value]) -> Reading:
    """Return the reading of a span with these attributes."""
    made = span()
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())
    found = read(Scope("openinference.instrumentation.langchain", ""), Resource({}, "shop"), made, LATEST)
    assert found is not None
    return found


@pytest.mark.parametrize("key", ["model", "model_name"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_model_that_answered_is_found_in_the_answer(key: str, separators: tuple[str, str]) -> None:
    """LangChain names it in the metadata of the response, Python and JavaScript alike."""
    answer = json.dumps({"message": {"response_metadata": {key: "gpt-5.4-mini-2026-03-17"}}}, separators=separators)

    found = reading({**CALL, "output.value": answer})

    assert (found.request_model, found.response_model) == ("gpt-5.4-mini", "gpt-5.4-mini-2026-03-17")


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"tool_calls": [{"name": "order_car", "args": {"model": "roadster"}}]}),
        json.dumps({"text": 'say {"model": "gpt-5.4-mini-turbo"}'}),
        "gpt-5.4-mini-2026-03-17 said hello",
    ],
)
def test_other_models_in_the_answer_are_not_taken_for_it(answer: str) -> None:
    """Neither arguments of tools nor texts that speak of models."""
    assert reading({**CALL, "output.value": answer}).response_model is None


def test_cache_writes_are_found_in_the_answer() -> None:
    """LangChain.js has no attribute for them; without them the call is priced too low."""
    details = {"input_token_details": {"cache_read": 1024, "cache_creation": 512}}

    found = reading({**CALL, "output.value": json.dumps({"usage_metadata": details})})

    assert found.usage is not None
    assert (found.usage.input, found.usage.cache_write) == (1600, 512)


def test_an_agent_that_sums_up_its_calls_names_their_model() -> None:
    """The Claude Agent SDK has no spans for model calls: the sum is priced by the model on the agent's span."""
    found = reading({**CALL, "openinference.span.kind": "AGENT"})

    assert (found.kind, found.request_model, found.aggregate) == ("agent", "gpt-5.4-mini", True)


@pytest.mark.parametrize("field", ["id", "previous_response_id"])
def test_ids_of_responses_among_the_parameters_do_not_stand_in_the_way(field: str) -> None:
    """OpenAI's Agents SDK leaves the whole response there: one decision holds for all calls, each with its own id."""
    reader = Reader(DIALECTS)
    for number in range(5):
        said = {field: f"resp_{number:016}", "created_at": number, "model": "gpt-5.4", "temperature": 0.5}
        made = span(**{**CALL, "llm.model_name": "gpt-5.4", "llm.invocation_parameters": json.dumps(said)})
        found = reader.read("openinference.instrumentation.openai_agents", "", made)
        assert found is not None
        assert found.edits["gen_ai.request.temperature"] == 0.5
        named = found.response_id if field == "id" else found.edits["gen_ai.request.previous_response.id"]
        assert named == said[field]
    assert reader.statistics()["decisions"] == 1
