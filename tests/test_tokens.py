"""What a span's token counts mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.emitters import EMITTERS, Emitter, emitter_of
from spanledger.conventions.tokens import BASES, COUNTS, MAX_COUNT, is_count, usage_of
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import Value

EXCLUSIVE = Emitter("x", "exclusive")
INCLUSIVE = Emitter("x", "inclusive")
REASONING_OUT = Emitter("x", "inclusive", "out")


@pytest.mark.parametrize(
    ("raw", "emitter", "expected"),
    [
        # the conventions, where nothing else is known
        ({"input": 100, "output": 20}, None, Usage(100, 20, basis="spec")),
        ({"input": 100, "output": 20, "cache_read": 60}, None, Usage(100, 20, 60, basis="spec")),
        ({"input": 60, "output": 20, "cache_read": 60}, None, Usage(60, 20, 60, basis="spec")),
        # more cached than there is input: 100 + 8000
        ({"input": 100, "output": 20, "cache_read": 8000}, None, Usage(8100, 20, 8000, basis="cache_exceeds_input")),
        # arithmetic beats what is known of the emitter
        (
            {"input": 100, "output": 20, "cache_read": 8000},
            INCLUSIVE,
            Usage(8100, 20, 8000, basis="cache_exceeds_input"),
        ),
        # 800 + 20 + 60 + 5 = 885: the total counts the cache beside the input
        (
            {"input": 800, "output": 20, "cache_read": 60, "cache_write": 5, "total": 885},
            None,
            Usage(865, 20, 60, 5, basis="total"),
        ),
        # 800 + 20 = 820 proves nothing: some totals leave the cache out
        (
            {"input": 800, "output": 20, "cache_read": 60, "total": 820},
            EXCLUSIVE,
            Usage(860, 20, 60, basis="emitter_exclusive"),
        ),
        ({"input": 800, "output": 20, "cache_read": 60}, INCLUSIVE, Usage(800, 20, 60, basis="emitter_inclusive")),
        # cache writes by how long they last: 5 + 7
        (
            {"input": 90, "output": 1, "cache_write_5m": 5, "cache_write_1h": 7},
            None,
            Usage(90, 1, cache_write=12, cache_write_1h=7, basis="spec"),
        ),
        # nothing is known about the input
        ({"output": 20}, None, Usage(output=20, basis="spec")),
        ({"cache_read": 20}, None, Usage(cache_read=20, basis="spec")),
    ],
)
def test_input_becomes_inclusive(raw: dict[str, int], emitter: Emitter | None, expected: Usage) -> None:
    """Input includes the cache afterwards, by the first rule that knows."""
    assert usage_of(raw, emitter) == expected


@pytest.mark.parametrize(
    ("raw", "emitter", "beside", "expected"),
    [
        ({"output": 20, "reasoning": 12}, None, False, Usage(output=20, reasoning=12, basis="spec")),
        # more reasoning than output: 20 + 300
        ({"output": 20, "reasoning": 300}, None, False, Usage(output=320, reasoning=300, basis="spec+reasoning")),
        # 100 + 20 + 300 = 420
        (
            {"input": 100, "output": 20, "reasoning": 300, "total": 420},
            INCLUSIVE,
            False,
            Usage(100, 320, reasoning=300, basis="emitter_inclusive+reasoning"),
        ),
        # thoughts only in the total: 420 - 100 - 20
        (
            {"input": 100, "output": 20, "total": 420},
            REASONING_OUT,
            False,
            Usage(100, 320, reasoning=300, basis="emitter_inclusive+reasoning"),
        ),
        # the total says that all is in: 100 + 20
        (
            {"input": 100, "output": 20, "reasoning": 12, "total": 120},
            REASONING_OUT,
            False,
            Usage(100, 20, reasoning=12, basis="emitter_inclusive"),
        ),
        (
            {"output": 20, "reasoning": 12},
            REASONING_OUT,
            False,
            Usage(output=32, reasoning=12, basis="emitter_inclusive+reasoning"),
        ),
        # xAI bills reasoning beside the output, whoever records it
        (
            {"output": 20, "reasoning": 12},
            INCLUSIVE,
            True,
            Usage(output=32, reasoning=12, basis="emitter_inclusive+reasoning"),
        ),
    ],
)
def test_output_includes_reasoning(raw: dict[str, int], emitter: Emitter | None, beside: bool, expected: Usage) -> None:
    """Output includes reasoning afterwards."""
    assert usage_of(raw, emitter, reasoning_beside=beside) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"input": -5, "output": 20}, Usage(output=20, conflicts=("input_not_a_count",))),
        ({"input": True, "output": 20}, Usage(output=20, conflicts=("input_not_a_count",))),
        ({"input": float("nan"), "output": 20}, Usage(output=20, conflicts=("input_not_a_count",))),
        ({"input": MAX_COUNT + 1, "output": 20}, Usage(output=20, conflicts=("input_not_a_count",))),
        ({"input": 10**15}, Usage(conflicts=("input_not_a_count",))),
        ({"input": 10**9, "output": 20}, Usage(10**9, 20)),
        ({"input": -1, "output": 20}, Usage(output=20)),
        (
            {"input": 100, "output": 20, "reasoning": 50, "total": 120},
            Usage(100, 20, conflicts=("reasoning_exceeds_output",)),
        ),
        ({"input": 100, "output": 20, "audio_input": 101}, Usage(100, 20, conflicts=("audio_exceeds_input",))),
        (
            {"input": 100, "output": 20, "cache_write": 5, "cache_write_1h": 6},
            Usage(100, 20, cache_write=5, conflicts=("cache_write_1h_exceeds_cache_write",)),
        ),
        (
            {"input": 100, "output": 20, "cache_read": 5, "image_input": 9, "image_cache_read": 6},
            Usage(100, 20, 5, image_input=9, conflicts=("image_exceeds_cache_read",)),
        ),
    ],
)
def test_what_cannot_be_is_dropped_and_named(raw: dict[str, int], expected: Usage) -> None:
    """The breakdown goes, the total stays, and the conflict has a name."""
    assert usage_of(raw) == expected


def test_unaccounted_tokens_are_not_taken_for_reasoning_where_the_emitter_is_known() -> None:
    """An inclusive emitter's total that is more than its parts is a conflict: 500 > 100 + 20."""
    usage = usage_of({"input": 100, "output": 20, "total": 500}, INCLUSIVE)

    assert usage == Usage(100, 20, basis="emitter_inclusive", conflicts=("total_exceeds_sum",))


def test_thoughts_that_only_gemini_s_total_tells_are_output() -> None:
    """An emitter that passes on the candidates tells 20 of 420 tokens; what it does tell is not counted twice."""
    raw = {"input": 100, "output": 20, "total": 520}

    assert usage_of(raw, INCLUSIVE, thoughts_in_total=True) == Usage(
        100, 420, reasoning=400, basis="emitter_inclusive+reasoning"
    )
    told = usage_of(raw | {"reasoning": 12}, INCLUSIVE, thoughts_in_total=True)
    assert told == Usage(100, 20, reasoning=12, basis="emitter_inclusive", conflicts=("total_exceeds_sum",))


def test_a_total_with_an_untold_cache_is_taken_for_the_input() -> None:
    """Bedrock's total counts the cache, which some leave out everywhere else: 2232 - 27, and it is said."""
    raw = {"input": 29, "output": 27, "total": 2232}

    usage = usage_of(raw, INCLUSIVE, cache_in_total=True)

    assert usage == Usage(2205, 27, basis="total", conflicts=("cache_not_told",))
    told = usage_of({**raw, "cache_read": 2176}, INCLUSIVE, cache_in_total=True)
    assert told == Usage(2205, 27, 2176, basis="cache_exceeds_input")
    assert usage_of({**raw, "total": 56}, INCLUSIVE, cache_in_total=True) == Usage(29, 27, basis="emitter_inclusive")


def test_writes_to_the_cache_are_told_by_how_long_they_last() -> None:
    """LangChain says that none were written, where it tells 5 minutes and an hour apart: 5 + 7."""
    usage = usage_of({"input": 90, "output": 1, "cache_write": 0, "cache_write_5m": 5, "cache_write_1h": 7})

    assert usage == Usage(90, 1, cache_write=12, cache_write_1h=7, basis="spec")


@pytest.mark.parametrize(
    ("raw", "only_input", "expected"),
    [
        ({"total": 1000}, True, Usage(1000, basis="spec+from_total")),
        ({"total": 1000, "input": 0, "output": 0}, True, Usage(1000, 0, basis="spec+from_total")),
        ({"total": 1000, "input": 900}, True, Usage(900)),
        ({"total": 1000, "input": 900}, False, Usage(900, 100, basis="spec+from_total")),
        ({"total": 1000, "output": 100}, False, Usage(900, 100, basis="spec+from_total")),
        ({"total": 1000, "input": 0, "output": 100}, False, Usage(900, 100, basis="spec+from_total")),
        ({"total": 900, "input": 900}, False, Usage(900)),
        ({"total": 50, "output": 100}, False, Usage(None, 100)),
        ({"total": 1000}, False, Usage()),
        ({"total": 1000, "output": 100, "cache_read": 600}, False, Usage(None, 100, 600)),
    ],
)
def test_a_side_that_nobody_tells_is_what_the_total_has_beyond_the_other(
    raw: dict[str, int], only_input: bool, expected: Usage
) -> None:
    """Embeddings have an input and nothing else. A total alone, or one that may leave a cache out, tells nothing."""
    assert usage_of(raw, only_input=only_input) == expected


def test_what_is_beside_the_output_is_no_part_of_an_input_out_of_the_total() -> None:
    """Gemini's total has the thoughts, its output leaves them out."""
    told = usage_of({"total": 1000, "output": 100, "reasoning": 300}, REASONING_OUT)
    assert told == Usage(600, 400, reasoning=300, basis="emitter_inclusive+from_total+reasoning")


def test_no_counts_is_no_usage() -> None:
    """Absent is not 0."""
    assert usage_of({}) is None
    assert usage_of({"input": -1}) is None


def test_settled_counts_are_not_converted_again() -> None:
    """A span that says by which rule it was converted is taken at its word."""
    raw = {"input": 8100, "output": 20, "cache_read": 8000, "total": 8120 + 8000}

    assert usage_of(raw, EXCLUSIVE, settled="emitter_exclusive") == Usage(8100, 20, 8000, basis="emitter_exclusive")


@given(
    st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 10_000)),
    st.sampled_from([None, INCLUSIVE, EXCLUSIVE, REASONING_OUT]),
    st.booleans(),
    st.booleans(),
)
def test_tokens_are_conserved(raw: dict[str, int], emitter: Emitter | None, beside: bool, cached: bool) -> None:
    """No rule makes tokens vanish or counts any twice, and what is settled stays as it is."""
    usage = usage_of(raw, emitter, reasoning_beside=beside, cache_in_total=cached)
    if usage is None:
        assert not raw
        return
    assert usage.basis in BASES
    if "input" in raw:
        written = raw.get("cache_write") or raw.get("cache_write_5m", 0) + raw.get("cache_write_1h", 0)
        by_total = raw.get("total", 0) - raw.get("output", 0)
        assert usage.input in {raw["input"], raw["input"] + raw.get("cache_read", 0) + written, by_total}
        assert usage.input >= raw["input"]
        assert (usage.cache_read or 0) + (usage.cache_write or 0) <= (usage.input or 0)
    if "output" in raw:
        assert (usage.output or 0) - raw["output"] in {0, usage.reasoning}
        assert (usage.reasoning or 0) <= (usage.output or 0)
    counts = {name: getattr(usage, name) for name in COUNTS if getattr(usage, name, None) is not None}
    again = usage_of(counts, emitter, reasoning_beside=beside, settled=usage.basis)
    assert again is None or {name: getattr(again, name, None) for name in counts} == counts


@pytest.mark.parametrize(
    ("scope", "version", "provider", "expected"),
    [
        ("opentelemetry.instrumentation.genai.anthropic", "1.3b0", "anthropic", "inclusive"),
        ("opentelemetry.instrumentation.botocore.bedrock-runtime", "0.66b2", "aws.bedrock", "exclusive"),
        ("opentelemetry.instrumentation.bedrock", "0.62.4", "aws.bedrock", "exclusive"),
        ("opentelemetry.instrumentation.openai.v1", "0.40.14", "openai", "inclusive"),
        ("opentelemetry.instrumentation.anthropic", "0.62.4", "anthropic", "inclusive"),
        ("opentelemetry.instrumentation.anthropic", "0.21.0", "anthropic", None),
        ("openinference.instrumentation.agno", "1.0", "anthropic", "exclusive"),
        ("openinference.instrumentation.agno", "1.0", "openai", "inclusive"),
        ("openinference.instrumentation.openai", "0.1.66", "openai", "inclusive"),
        ("openinference.instrumentation.anthropic", "0.1.19", "anthropic", "inclusive"),
        ("openinference.instrumentation.anthropic", "", "anthropic", "inclusive"),
        # what holds for the family is not known of a member that is older than what was measured
        ("openinference.instrumentation.anthropic", "0.1.8", "anthropic", None),
        ("@traceloop/instrumentation-anthropic", "0.27.0", "anthropic", "exclusive"),
        ("@traceloop/instrumentation-openai", "0.27.0", "openai", "inclusive"),
        ("ai@5 anthropic", "", "anthropic", "exclusive"),
        ("ai@6", "", "anthropic", "inclusive"),
        ("ai", "", "openai", "inclusive"),
        ("gen_ai", "", "anthropic", "inclusive"),
        ("openlit.instrumentation.anthropic", "", "anthropic", "exclusive"),
        ("@openlit/instrumentation-anthropic", "1.0.0", "anthropic", "exclusive"),
        ("@mastra/otel-exporter", "1.4.0", "openai", "inclusive"),
        ("lmnr.tracer", "", "anthropic", "inclusive"),
        ("opentelemetry.instrumentation.openaix", "1", "openai", None),
        ("trip-agent.tracing", "", "anthropic", None),
    ],
)
def test_emitters(scope: str, version: str, provider: str, expected: str | None) -> None:
    """Each emitter is known by its scope, from the version on that was measured."""
    emitter = emitter_of(scope, version, provider)
    assert (emitter.input if emitter else None) == expected


# What is known of each emitter of the field: whether its input includes the cache, its output reasoning. None: the
# counts of that version were not measured, or differ from model to model; arithmetic and the conventions decide.
FIELD = {
    ("opentelemetry.util.genai.handler", "1.2b0", "openai"): ("inclusive", "in"),
    ("opentelemetry.instrumentation.genai.openai", "1.3b0", "openai"): ("inclusive", "in"),
    ("opentelemetry.instrumentation.genai.langchain", "1.3b0", "anthropic"): ("inclusive", "in"),
    ("opentelemetry.instrumentation.google_genai", "1.3b0", "gcp.gemini"): ("inclusive", "in"),
    ("opentelemetry.instrumentation.botocore.bedrock-runtime", "0.66b2", "aws.bedrock"): ("exclusive", "in"),
    ("opentelemetry.instrumentation.openai_v2", "2.3b0", "openai"): ("inclusive", "in"),
    ("@opentelemetry/instrumentation-openai", "0.1", "openai"): ("inclusive", "in"),
    ("openinference.instrumentation.langchain", "0.1.70", "anthropic"): ("inclusive", "in"),
    ("openinference.instrumentation.google_adk", "0.1", "gcp.gemini"): ("inclusive", "in"),
    ("openinference.instrumentation.bedrock", "0.1.61", "aws.bedrock"): ("inclusive", "in"),
    ("openinference.instrumentation.vertexai", "0.1.29", "gcp.vertex_ai"): ("inclusive", "out"),
    ("openinference.instrumentation.anthropic", "0.1.8", "anthropic"): None,
    ("opentelemetry.instrumentation.langchain", "0.62.4", "openai"): ("inclusive", "in"),
    ("opentelemetry.instrumentation.google_generativeai", "0.62.4", "gcp.gemini"): ("inclusive", "out"),
    ("langfuse-sdk", "4", "anthropic"): ("inclusive", "in"),
    ("langsmith", "0.4", "anthropic"): ("inclusive", "in"),
    ("pydantic-ai", "2.68", "anthropic"): ("inclusive", "in"),
    ("gcp.vertex.agent", "2.13", "gcp.gemini"): ("inclusive", "in"),
    ("strands.telemetry.tracer", "1.62", "aws.bedrock"): ("inclusive", "in"),
    ("strands-agents", "0.3", "aws.bedrock"): ("exclusive", "in"),
    ("mlflow", "3.4", "anthropic"): ("inclusive", "in"),
    ("crewai", "1.15.30", "anthropic"): ("inclusive", "in"),
    ("crewai", "1.15.30", "openai"): ("inclusive", "in"),
    ("agent_framework", "1.23", "anthropic"): ("exclusive", "in"),
    ("agent_framework", "1.23", "openai"): ("inclusive", "in"),
    ("litellm", "1.80", "anthropic"): ("inclusive", "in"),
    ("org.springframework.boot", "3", "anthropic"): ("exclusive", "in"),
    ("org.springframework.boot", "3", "aws.bedrock"): ("exclusive", "in"),
    ("org.springframework.boot", "3", "openai"): ("inclusive", "in"),
    ("openlit.instrumentation.bedrock", "1.45", "aws.bedrock"): ("exclusive", "in"),
    ("openlit.instrumentation.google_ai_studio", "1.45", "gcp.gemini"): ("inclusive", "out"),
    ("agentops", "0.4.21", "anthropic"): ("exclusive", "in"),
    ("com.anthropic.sdk.python", "2.10", "anthropic"): ("inclusive", "in"),
    ("com.anthropic.claude_code.tracing", "2", "anthropic"): ("exclusive", "in"),
    ("com.anthropic.claude_code.events", "2", "anthropic"): ("exclusive", "in"),
    ("codex", "0.60", "openai"): ("inclusive", "in"),
    ("gemini-cli", "0.61", "gcp.gemini"): ("inclusive", "out"),
    ("haystack", "3", "openai"): ("inclusive", "in"),
}


@pytest.mark.parametrize("about", FIELD, ids=" ".join)
def test_the_field_is_known(about: tuple[str, str, str]) -> None:
    """Input and output, by scope, version and provider."""
    emitter = emitter_of(*about)
    assert (None if emitter is None else (emitter.input, emitter.reasoning)) == FIELD[about]


@given(
    uncached=st.integers(1, 10**6),
    read=st.integers(0, 10**6),
    write=st.integers(0, 10**6),
    output=st.integers(1, 10**5),
    reasoning=st.integers(0, 10**5),
)
def test_spellings_of_one_call_say_the_same(uncached: int, read: int, write: int, output: int, reasoning: int) -> None:
    """Exclusive and inclusive input, output with and without reasoning, as each kind of emitter says them."""
    parts = {"cache_read": read, "cache_write": write, "reasoning": reasoning}
    inclusive = {"input": uncached + read + write, "output": output + reasoning, **parts}
    exclusive = {"input": uncached, "output": output + reasoning, **parts}
    apart = {**inclusive, "output": output}
    said = [usage_of(inclusive, INCLUSIVE), usage_of(exclusive, EXCLUSIVE), usage_of(apart, REASONING_OUT)]
    counts = [tuple(getattr(usage, name) for name in ("input", "output", *parts)) for usage in said]
    assert set(counts) == {(uncached + read + write, output + reasoning, read, write, reasoning)}
    assert [usage.conflicts for usage in said if usage is not None] == [(), (), ()]


HOSTILE = (-1, -7, 10**18, True, False, 1.5, float("nan"), float("inf"), "12", "many", "", [5], {"n": 1}, b"\x01", None)


@given(st.dictionaries(st.sampled_from(COUNTS), st.sampled_from(HOSTILE) | st.integers(0, 5000)), st.booleans())
def test_what_cannot_be_is_named_and_never_bent(raw: dict[str, Value], beside: bool) -> None:
    """A count is one that the span says, or follows by addition; a part that is left out has its conflict."""
    for emitter in (None, INCLUSIVE, EXCLUSIVE, REASONING_OUT):
        usage = usage_of(raw, emitter, reasoning_beside=beside)
        if usage is None:
            assert not any(type(value) is int and value >= 0 for value in raw.values())
            continue
        assert usage.basis in BASES
        for part in ("cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input", "audio_output"):
            said = raw.get(part)
            if type(said) is int and 0 <= said <= MAX_COUNT and getattr(usage, part) is None:
                assert usage.conflicts, part
        bad = [name for name, value in raw.items() if value not in (None, -1) and not is_count(value)]
        assert {f"{name}_not_a_count" for name in bad} <= set(usage.conflicts)


def test_narrower_emitters_stand_before_wider_ones() -> None:
    """The first row that matches is taken, so that a wide prefix must not hide a narrow one."""
    for position, emitter in enumerate(EMITTERS):
        for earlier in EMITTERS[:position]:
            assert not emitter.scope.startswith(earlier.scope + ".") or earlier.providers or earlier.since
