"""What LangChain, LangGraph and LlamaIndex say in their own words, whoever passes it on."""

from __future__ import annotations

import json

import pytest

from spanledger.conventions.langchain import is_from_cache, is_signal, named_node
from spanledger.conventions.reading import Reading
from spanledger.conventions.step import make_step
from spanledger.conventions.tool_results import is_failed_result
from tests.dialects.rows import Row, reading_of
from tests.fakes import span

_COUNTS = '"input_tokens": 9, "output_tokens": 4, "input_token_details": {"cache_read": 0}'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f'{{"usage_metadata": {{{_COUNTS}, "total_cost": 0}}}}', True),
        (f'{{"usage_metadata":{{{_COUNTS},"total_cost":0}}}}', True),
        (f'{{"usage_metadata": {{{_COUNTS}}}}}', False),
        (f'{{"usage_metadata": {{{_COUNTS}, "total_cost": 0.5}}}}', False),
        (f'{{"usage_metadata": {{{_COUNTS}}}, "tool_calls": [{{"args": {{"total_cost": 0}}}}]}}', False),
        (f'{{"usage_metadata": {{{_COUNTS}, "input_cost": 0, "output_cost": 0, "total_cost": 0}}}}', False),
        ('{"content": "\\"usage_metadata\\": {\\"total_cost\\": 0}"}', False),
        (None, False),
    ],
)
def test_what_came_out_of_its_own_cache_says_so(answer: str | None, expected: bool) -> None:
    """Among the tokens of the message, and nowhere else."""
    assert is_from_cache(answer) is expected


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({"total_cost": 0}, "cache_hit"),
        ({"total_cost": 0.0}, ""),
        ({"input_cost": 0, "output_cost": 0, "total_cost": 0}, ""),
    ],
)
def test_a_model_that_costs_nothing_is_no_cache(costs: dict[str, float], expected: str) -> None:
    """LangSmith takes costs that the application says, too: those of its own models."""
    usage = json.dumps({"input_tokens": 9, "output_tokens": 4} | costs)
    row = Row("langsmith", {"langsmith.span.kind": "llm", "langsmith.metadata.usage_metadata": usage}, {})

    reading = reading_of(row)

    assert reading is not None
    assert reading.unbilled == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('{"content": "no", "tool_call_id": "c1", "artifact": null, "status": "error"}', True),
        ('{"output":{"content":"no","type":"tool","tool_call_id":"c1","status":"error"}}', True),
        ('{"kwargs": {"tool_call_id": "c1", "status": "error"}}, "kwargs": {"color": "green"}}', True),
        ('{"content": "yes", "tool_call_id": "c1", "artifact": null, "status": "success"}', False),
        ('[{"tool_call_id": "c1", "status": "error"}, {"tool_call_id": "c2", "status": "success"}]', False),
        ('{"content": "{\\"tool_call_id\\": \\"c1\\", \\"status\\": \\"error\\"}", "status": "success"}', False),
        ('{"tool_output": {"raw_output": "no", "is_error": true}, "return_direct": false}', True),
        ('{"raw_output":{"content":[],"is_error":true},"is_error":false}', True),
        ('{"raw_output":{"content":[],"is_error":false},"is_error":false}', False),
        ('{"is_error": true}, {"what was asked": 1}', False),
        ("is_error", False),
        (3, False),
    ],
)
def test_a_result_tells_that_its_tool_failed(result: str | int, expected: bool) -> None:
    """What was raised went to the model, and the span ended well."""
    assert is_failed_result(result) is expected


def test_stopping_for_a_person_or_handing_over_is_no_failure() -> None:
    """LangGraph raises to leave a graph; instrumentations tell that as an error."""
    handed, stopped, failed = (
        make_step(span(), "shop", Reading("otel", "agent", error_type=error_type))
        for error_type in ("langgraph.errors.ParentCommand", "GraphInterrupt", "langgraph.errors.GraphRecursionError")
    )

    assert [(one.status, one.error_type) for one in (handed, stopped)] == [("ok", ""), ("ok", "")]
    assert (failed.status, failed.error_type) == ("error", "langgraph.errors.GraphRecursionError")
    assert not is_signal("")


def test_a_part_of_a_ready_made_agent_names_nobody() -> None:
    """Nor does what is longer than a name."""
    assert named_node("researcher:1|agent:2", 128) == "researcher"
    assert named_node("agent:1|tools:2", 128) is None
    assert named_node("researcher:1", 4) is None
