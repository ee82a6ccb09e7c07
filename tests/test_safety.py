"""Safety: what spans say of it becomes findings, each step and category once."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.detail import Evaluation
from spanledger.conventions.details import Details
from spanledger.conventions.dialects import read
from spanledger.conventions.safety.concern import SEVERITIES, Category, Concern, SafetySeverity
from spanledger.conventions.safety.reading import MAX_CONCERNS, category_judged, distinct
from spanledger.conventions.safety.words import FINISH_REASONS, category_of
from spanledger.conventions.values import Value, attributes_of, key_value
from spanledger.processor.batch import Resource, Scope
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.unsafe import MAX_OF_TRACE
from tests.assembled_runs import Bench, agent, says, span_id, step, tool, trace

if TYPE_CHECKING:
    from collections.abc import Mapping

SAFETY = "spanledger_safety_findings_total"
CHAT: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "p", "gen_ai.request.model": "m"}
GUARD: dict[str, Value] = {"gen_ai.operation.name": "run_guardrail"}
DETAILS = Details("metadata", b"key")


def concerns(
    attributes: Mapping[str, Value], events: Mapping[str, Mapping[str, Value]] = {}, name: str = "s", scope: str = ""
) -> list[tuple[str, str, str]]:
    """Return what a span says of safety: source, category and severity."""
    span = Span(name=name, attributes=[key_value(key, value) for key, value in attributes.items()])
    for event, said in events.items():
        span.events.add(name=event, attributes=[key_value(key, value) for key, value in said.items()])
    reading = read(Scope(scope, ""), Resource({}, "shop"), span)
    assert reading is not None
    return [(one.source, one.category, one.severity) for one in DETAILS.read(span, reading, {}).concerns]


@pytest.mark.parametrize(
    ("reason", "category", "severity"),
    [
        ("content_filter", "unspecified", "warning"),  # OTel, OpenAI
        ("SAFETY", "unspecified", "warning"),  # Gemini
        ("PROHIBITED_CONTENT", "illicit", "warning"),
        ("FinishReason.RECITATION", "copyright", "warning"),
        ("SPII", "personal_data", "warning"),
        ("BLOCKLIST", "denied_topic", "warning"),
        ("refusal", "refusal", "info"),  # Anthropic
        ("guardrail_intervened", "unspecified", "warning"),  # Bedrock
        ("ERROR_TOXIC", "toxicity", "warning"),  # Cohere
    ],
)
def test_an_answer_that_was_filtered(reason: str, category: str, severity: str) -> None:
    """The provider's own word says what it was about, where it has one; a model that declines is no alarm."""
    assert concerns({**CHAT, "gen_ai.response.finish_reasons": [reason]}) == [("finish_reason", category, severity)]
    assert concerns({**CHAT, "gen_ai.response.finish_reasons": ["stop", reason]}) == [
        ("finish_reason", category, severity)
    ]


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "LANGUAGE", "OTHER", "error", "safety first"])
def test_an_answer_that_ended_otherwise(reason: str) -> None:
    """Nothing is said of safety, so nothing is found."""
    assert concerns({**CHAT, "gen_ai.response.finish_reasons": [reason]}) == []


def test_reasons_of_other_dialects_keep_what_they_are_about() -> None:
    """What the normaliser writes is `content_filter`; what came says recitation."""
    attributes: dict[str, Value] = {
        "openinference.span.kind": "LLM", "llm.model_name": "gemini", "llm.finish_reason": "RECITATION",
    }  # fmt: skip
    assert concerns(attributes, scope="openinference.instrumentation") == [("finish_reason", "copyright", "warning")]


def test_a_refusal_is_one_in_the_messages_too() -> None:
    """OpenAI ends a refused answer with `stop`."""
    answer = [{"role": "assistant", "parts": [{"type": "refusal", "content": "no"}], "finish_reason": "stop"}]
    attributes = {**CHAT, "gen_ai.output.messages": json.dumps(answer)}
    assert concerns(attributes) == [("finish_reason", "refusal", "info")]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.guardrail.verdict.type": "deny"}, ("unspecified", "warning")),
        ({"gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.action.type": "block"},
         ("unspecified", "warning")),
        ({"gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.action.type": "allow"},
         ("unspecified", "critical")),
        ({"gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.action.type": "modify"}, ("unspecified", "info")),
        ({"gen_ai.guardrail.verdict.type": "modify"}, ("unspecified", "info")),
        ({"gen_ai.guardrail.verdict.type": "warn"}, ("unspecified", "critical")),
        ({"gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.security.risk.category": "excessive_agency"},
         ("excessive_agency", "warning")),
        ({"gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.component.name": "Contains PII"},
         ("personal_data", "warning")),
        ({"gen_ai.security.decision.type": "deny"}, ("unspecified", "warning")),
        ({"microsoft.security.decision.type": "audit"}, ("unspecified", "critical")),
        ({"litellm.guardrail.status": "guardrail_intervened", "litellm.guardrail.name": "jailbreak-check"},
         ("prompt_attack", "warning")),
        ({"gen_ai.guardrail.status": "FAILED", "gen_ai.guardrail.name": "toxicity"}, ("toxicity", "warning")),
        ({"gen_ai.guardrail.triggered": True}, ("unspecified", "warning")),
        ({"error.type": "guardrails.exceptions.GuardrailTripwireTriggered"}, ("unspecified", "warning")),
    ],
)  # fmt: skip
def test_a_guardrail_that_tripped(attributes: dict[str, Value], expected: tuple[str, str]) -> None:
    """What it decided, what was done about it, and what it was about: its category, or else its name."""
    assert concerns({**GUARD, **attributes}) == [("guardrail", *expected)]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"gen_ai.guardrail.verdict.type": "allow"},
        {"gen_ai.guardrail.verdict.type": "allow", "gen_ai.guardrail.triggered": True},
        {"gen_ai.guardrail.verdict.type": "haiku"},
        {"litellm.guardrail.status": "success"},
        {"litellm.guardrail.status": "guardrail_failed_to_respond"},
        {"gen_ai.guardrail.status": "PASSED", "gen_ai.guardrail.name": "pii"},
        {"gen_ai.guardrail.triggered": False},
        {"gen_ai.guardrail.security.risk.category": "pii", "gen_ai.guardrail.verdict.type": "allow"},
        {"error.type": "TimeoutError"},
    ],
)
def test_a_guardrail_that_did_not_trip(attributes: dict[str, Value]) -> None:
    """One that passed, could not say, or broke found nothing."""
    assert concerns({**GUARD, **attributes}) == []


def test_guardrails_of_the_openai_agents_sdk() -> None:
    """Logfire writes the SDK's own names."""
    said: dict[str, Value] = {
        "name": "pii",
        "triggered": True,
        "logfire.msg_template": "Guardrail {name!r} {triggered=}",
    }
    for triggered, expected in ((True, [("guardrail", "personal_data", "warning")]), (False, [])):
        attributes = {**said, "triggered": triggered}
        assert concerns(attributes, name="Guardrail {name!r} {triggered=}", scope="logfire.openai_agents") == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"gen_ai.security.risk.category": "prompt_injection"}, [("guardrail", "prompt_attack", "critical")]),
        ({"microsoft.security.risk.category": "pii", "microsoft.security.risk.severity": "low"},
         [("guardrail", "personal_data", "info")]),
        ({"gen_ai.guardrail.security.risk.category": "hate_speech", "gen_ai.guardrail.verdict.type": "deny"},
         [("guardrail", "hate", "warning")]),
        ({"gen_ai.guardrail.security.risk.category": "hate_speech", "gen_ai.guardrail.verdict.type": "allow"}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_events_of_guardrails(said: dict[str, Value], expected: list[tuple[str, str, str]]) -> None:
    """A guardrail's finding counts on whichever span it is, and as a log record that belongs to one."""
    event = "gen_ai.security.finding"
    assert concerns(CHAT, {event: said}) == expected
    record = LogRecord(
        event_name=event, trace_id=b"t" * 16, span_id=b"s" * 8, attributes=[key_value(*one) for one in said.items()]
    )
    found = DETAILS.detail_of_log(record)
    assert [(one.source, one.category, one.severity) for one in (found[2].concerns if found else ())] == expected


_SAFE = {"filtered": False, "severity": "safe"}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"hate": _SAFE, "violence": {"filtered": False, "severity": "low"}}, []),
        ({"hate": {"filtered": True, "severity": "high"}, "violence": _SAFE}, [("hate", "warning")]),
        ({"jailbreak": {"filtered": False, "detected": True}}, [("prompt_attack", "critical")]),
        ({"sexual": {"filtered": False, "severity": "medium"}}, [("sexual", "critical")]),
        ({"custom_blocklists": {"filtered": True, "details": [{"filtered": True, "id": "x"}]}},
         [("denied_topic", "warning")]),
        ([{"prompt_index": 0, "content_filter_results": {"self_harm": {"filtered": True}}}],
         [("self_harm", "warning")]),
        ([{"blocked": True, "content_filter_results": {"hate": _SAFE}}], [("unspecified", "warning")]),
        ([{"blocked": False, "content_filter_results": {"purview": {"filtered": False, "detected": False}}}], []),
        ("not json", []), ("[" * 5000, []), ({}, []), (None, []), (5, []),
    ],
)  # fmt: skip
def test_results_of_content_filters(results: Any, expected: list[tuple[str, str]]) -> None:
    """What was filtered was held back; what was detected and not filtered went through; what is safe is nothing."""
    text = results if isinstance(results, str) else json.dumps(results)
    for key in ("gen_ai.prompt.prompt_filter_results", "microsoft.foundry.content_filter.results"):
        assert concerns({**CHAT, key: text}) == [("content_filter", *one) for one in expected]


def test_a_call_that_the_filter_ended() -> None:
    """The error of the provider says it."""
    for name in ("content_filter", "litellm.ContentPolicyViolationError", "ContentFilterFinishReasonError"):
        assert concerns({**CHAT, "error.type": name}) == [("content_filter", "unspecified", "warning")]


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("violence", "fail", "violence"),
        ("builtin.self_harm", "High", "self_harm"),
        ("HateUnfairness", "Medium", "hate"),
        ("Toxicity", "yes", "toxicity"),
        ("violence", "Very low", None),
        ("violence", None, None),
        ("toxicity", "true", None),
        ("non_violence", "fail", None),
        ("relevance", "fail", None),
    ],
)
def test_evaluations_of_safety(name: str, label: str | None, expected: str | None) -> None:
    """Only by their names, and only by labels that can mean nothing else."""
    assert category_judged(name, label) == expected


def test_every_word_leads_to_a_category_of_the_list() -> None:
    """The label of the metric is a closed set."""
    assert set(FINISH_REASONS.values()) <= set(get_args(Category))
    assert get_args(SafetySeverity) == SEVERITIES
    assert category_of("LLM06: Excessive Agency") == "excessive_agency"
    assert category_of("HARM_CATEGORY_HATE_SPEECH") == "hate"
    assert category_of("weather") == "unspecified"


_CONCERNS = st.builds(
    Concern,
    st.sampled_from(["guardrail", "finish_reason", "content_filter", "evaluation"]),
    st.sampled_from(get_args(Category)),
    st.sampled_from(SEVERITIES),
)


@settings(deadline=None)
@given(st.lists(_CONCERNS, max_size=60), st.randoms())
def test_the_order_of_what_is_said_does_not_matter(said: list[Concern], random: Any) -> None:
    """The worst of each source and category stays, whoever came first, however often."""
    shuffled = random.sample(said, len(said))
    assert distinct(said) == distinct(shuffled) == distinct([*said, *shuffled]) == distinct(distinct(said))
    assert len(distinct(said)) <= MAX_CONCERNS


_VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=8)
    | st.sampled_from(["deny", "filtered", "hate"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["filtered", "detected", "severity", "blocked", "hate", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "gen_ai.guardrail.verdict.type", "gen_ai.guardrail.action.type", "triggered", "error.type",
        "gen_ai.response.finish_reasons", "gen_ai.prompt.prompt_filter_results", "gen_ai.security.risk.category",
        "gen_ai.completion.0.content_filter_results", "gen_ai.security.risk.severity", "gen_ai.guardrail.name",
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=6), st.sampled_from(["chat", "run_guardrail", "invoke_agent"]))
def test_no_attribute_breaks_it(attributes: dict[str, Any], operation: str) -> None:
    """Whatever is said, what is found is in the closed sets."""
    found = concerns(
        {**CHAT, **attributes, "gen_ai.operation.name": operation}, {"gen_ai.guardrail.result": attributes}
    )
    assert all(category in get_args(Category) and severity in SEVERITIES for _, category, severity in found)


# -- runs --

FILTERED = Concern("finish_reason", "unspecified", "warning")
TRIPPED = Concern("guardrail", "personal_data", "critical")


def bench() -> Bench:
    """Return an assembly that looks for nothing else."""
    return Bench(TrajectoryConfig.model_validate({"loops": {"enabled": False}}))


def counted(made: Bench) -> dict[tuple[str, ...], float]:
    """Return the series that are not 0, by category, severity and agent."""
    cells = made.table.counter(SAFETY)._cells.items()
    return {(*labels[2:], labels[1]): cell.value for labels, cell in cells if cell.value}


def events(made: Bench) -> list[dict[str, Value]]:
    """Return what the events of safety say."""
    return [attributes_of(one.attributes) for one in made.told.records if one.event_name == "spanledger.safety.finding"]


def guarded() -> list[Any]:
    """Return the spans of a run in which a guardrail tripped and an answer was filtered."""
    return [
        says(step(2, 1), concerns=(FILTERED,)),
        says(step(3, 1, kind="guardrail", operation=None, cost=None, usage=None), concerns=(TRIPPED,)),
        tool(4, 1),
        agent(1),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::3])
def test_each_step_counts_once_whichever_order_spans_arrive(order: tuple[int, ...]) -> None:
    """Metric, events and document agree, duplicates included; the agent is the one above."""
    made, spans = bench(), guarded()
    for index in (*order, order[0]):
        made.take(spans[index])
    made.wait(60)
    made.take(spans[0], spans[1])
    made.wait(60)
    assert counted(made) == {("unspecified", "warning", "planner"): 1, ("personal_data", "critical", "planner"): 1}
    assert sorted(str(one["spanledger.safety.category"]) for one in events(made)) == ["personal_data", "unspecified"]
    found = {one["rule"]: one for one in made.documents[-1]["findings"]}
    assert {rule: (one["kind"], one["severity"], len(one["steps"])) for rule, one in found.items()} == {
        "unspecified": ("safety", "warning", 1), "personal_data": ("safety", "critical", 1),
    }  # fmt: skip
    assert found["personal_data"]["detail"] == {"agent_name": "planner", "sources": ["guardrail"]}


def test_what_went_through_is_counted_while_the_run_is_open() -> None:
    """Where the step names its agent, once, and not again when the run is closed; what was held back can wait."""
    made = bench()
    hate = Concern("content_filter", "hate", "warning")

    def guard(number: int, *concerns: Concern) -> Any:
        kind = step(number, 1, agent_name="planner", kind="guardrail", operation=None, cost=None, usage=None)
        return says(kind, concerns=concerns)

    made.take(guard(3, TRIPPED, hate), guard(3, TRIPPED, hate))
    made.wait(0.1)
    assert counted(made) == {("personal_data", "critical", "planner"): 1}
    made.take(guard(4, TRIPPED), says(agent(1), concerns=(TRIPPED,)))
    made.wait(60)
    assert counted(made) == {("personal_data", "critical", "planner"): 2, ("hate", "warning", "planner"): 1}
    made.take(guard(5, TRIPPED))
    made.wait(60)
    assert counted(made) == {("personal_data", "critical", "planner"): 3, ("hate", "warning", "planner"): 1}


def test_who_chooses_names_is_remembered_within_bounds() -> None:
    """Beyond them a finding is counted when its run is closed, and once like the others."""
    made = bench()
    for number in range(3, 3 + 2 * MAX_OF_TRACE):
        made.take(says(step(number, 1, agent_name=f"agent {number}"), concerns=(TRIPPED,)))
    made.wait(0.1)
    assert sum(counted(made).values()) == MAX_OF_TRACE
    made.take(agent(1))
    made.wait(60)
    assert set(counted(made).values()) == {1}
    assert sum(counted(made).values()) == 2 * MAX_OF_TRACE


def test_what_was_counted_before_a_reload_is_not_counted_after_it() -> None:
    """The run goes on elsewhere, and is closed there."""
    made = bench()
    made.take(says(step(3, 1, agent_name="planner"), concerns=(TRIPPED,)))
    made.wait(0.1)
    assert counted(made) == {("personal_data", "critical", "planner"): 1}
    made.reload()
    assert counted(made) == {("personal_data", "critical", "planner"): 1}
    made.take(agent(1))
    made.wait(60)
    assert counted(made) == {("personal_data", "critical", "planner"): 1}
    made.reload()
    made.take(says(step(4, 1, agent_name="planner"), concerns=(TRIPPED,)))
    made.wait(60)
    assert counted(made) == {("personal_data", "critical", "planner"): 2}, "what comes late is new"


def test_a_late_span_adds_what_it_says_and_no_more() -> None:
    """The run is revised: the new finding is told and counted, the known one is not told again."""
    made = bench()
    spans = guarded()
    made.take(spans[0], spans[3])
    made.wait(60)
    made.take(spans[1])
    made.wait(60)
    assert [one["spanledger.safety.category"] for one in events(made)] == ["unspecified", "personal_data"]
    assert sum(counted(made).values()) == 2
    assert made.documents[-1]["revision"] == 2


def test_the_event_is_on_the_step() -> None:
    """It leads to the span that says it."""
    made = bench()
    made.take(*guarded())
    made.wait(60)
    (event,) = [one for one in made.told.records if one.severity_text == "ERROR"]
    assert (event.trace_id, event.span_id) == (trace(1), span_id(3))
    assert attributes_of(event.attributes) == {
        "spanledger.run.id": made.documents[0]["run_id"], "spanledger.safety.category": "personal_data",
        "spanledger.safety.severity": "critical", "spanledger.safety.source": "guardrail",
        "gen_ai.agent.name": "planner",
    }  # fmt: skip


def test_what_an_agent_says_of_what_is_below_it_counts_there() -> None:
    """An agent that ended because its guardrail tripped is no second finding."""
    made = bench()
    tripped = Concern("guardrail", "unspecified", "warning")
    guard = says(step(2, 1, kind="guardrail", operation=None, cost=None, usage=None), concerns=(TRIPPED,))
    made.take(guard, says(agent(1), concerns=(tripped,)))
    made.wait(60)
    assert counted(made) == {("personal_data", "critical", "planner"): 1}


def test_an_evaluation_of_safety_that_failed_is_a_finding() -> None:
    """It was judged after it was said, so it went through."""
    made = bench()
    made.take(says(step(2, 1), evaluations=(Evaluation("violence", 5.0, "fail"),)), agent(1))
    made.wait(60)
    assert counted(made) == {("violence", "critical", "planner"): 1}
    assert events(made)[0]["spanledger.safety.source"] == "evaluation"


def test_a_run_without_any_says_nothing() -> None:
    """No series, no finding, no event."""
    made = bench()
    made.take(step(2, 1), agent(1))
    made.wait(60)
    assert (counted(made), events(made), made.documents[0]["findings"]) == ({}, [], [])
