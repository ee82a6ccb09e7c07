"""Calls that tell a running total count with the tokens that are their own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.running_totals import MAX_PARENTS, RunningTotals, Told
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import attributes_of
from spanledger.processor.batch import Batch, decode, finish
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from tests.fakes import host
from tests.golden_spans import spans_of

LOOP = ((224, 27), (533, 43), (914, 71))
OWN = ((224, 27), (309, 16), (381, 28))
LOOP_OF_ANTHROPIC = [(223, 27), (302, 16), (371, 28)]
"""What the model server billed for the calls of `spring_ai/tool_loop`."""


def calls(*told: tuple[int, int], parent: int = 9, asks: bool = True) -> list[Told]:
    """Return calls one after the other."""
    return [
        Told(
            Span(
                trace_id=b"t" * 16,
                span_id=number.to_bytes(8, "big"),
                parent_span_id=parent.to_bytes(8, "big") if parent else b"",
                start_time_unix_nano=1000 * number,
                end_time_unix_nano=1000 * number + 500,
            ),
            Usage(*counts),
            asks,
        )
        for number, counts in enumerate(told, 1)
    ]


def counted(totals: RunningTotals, told: Sequence[Told]) -> list[tuple[int | None, int | None]]:
    """Return what each call counts with."""
    own = totals.own(told)
    uses = [own.get(at, one.usage) for at, one in enumerate(told)]
    return [(use.input, use.output) for use in uses if use is not None]


def stage(spans: Sequence[Span], version: str) -> Batch:
    """Return a request after the stage, each span in a group of its own, as Java's SDK sends them."""
    request = ExportTraceServiceRequest()
    sent = request.resource_spans.add()
    for span in spans:
        group = sent.scope_spans.add()
        group.scope.name, group.scope.version = "org.springframework.boot", version
        group.spans.append(span)
    batch = finish(decode("traces", request.SerializeToString(), 1))
    for _ in GenaiNormalizer(GenaiNormalizerConfig(), host()).process(batch):
        pass
    return batch


def usages(batch: Batch) -> list[tuple[int | None, int | None]]:
    """Return input and output of its calls, in order of time."""
    found = {
        span.start_time_unix_nano: (reading.usage.input, reading.usage.output)
        for group in batch.groups
        for span, reading in zip(group.items, group.readings, strict=True)
        if span is not None and reading is not None and reading.usage is not None
    }
    return [found[start] for start in sorted(found)]


def test_each_call_of_a_loop_has_its_own() -> None:
    """In whatever order a request has them."""
    for order in itertools.permutations(zip(calls(*LOOP), OWN, strict=True)):
        told = [call for call, _ in order]
        assert counted(RunningTotals(), told) == [own for _, own in order]


def test_a_loop_goes_on_in_the_next_request() -> None:
    """What the last call told is remembered; a call that comes again takes nothing off a second time."""
    totals, told = RunningTotals(), calls(*LOOP)
    assert [counted(totals, [call])[0] for call in (told[0], told[1], told[1], told[2])] == [
        OWN[0], OWN[1], OWN[1], OWN[2],
    ]  # fmt: skip


def test_what_is_sent_again_is_taken_apart_as_before() -> None:
    """A client that was told to wait sends a request again whose first call is not the first of its loop."""
    totals, told = RunningTotals(), calls(*LOOP)
    totals.own(told[:1])
    assert counted(totals, told[1:]) == counted(totals, told[1:]) == list(OWN[1:])
    assert not totals.own(told[:1])  # and a first call told its own


def test_calls_of_an_application_that_asks_twice_are_left_alone() -> None:
    """Below one parent, each with more tokens than the one before: no tool stands between them, or both run at once."""
    assert not RunningTotals().own(calls(*LOOP, asks=False))
    at_once = calls(*LOOP)
    for call in at_once:
        call.span.end_time_unix_nano = 10_000
    assert not RunningTotals().own(at_once)


def test_a_tool_that_ran_tells_that_a_loop_goes_on() -> None:
    """Gemini and Ollama say `stop` when they ask for one."""
    first, second, third = calls(*LOOP, asks=False)
    tool = Span(
        trace_id=b"t" * 16, parent_span_id=first.span.parent_span_id, span_id=b"the tool", start_time_unix_nano=1600
    )
    found = RunningTotals().own([Told(tool, None, asks=True), third, second, first])
    assert {at: (usage.input, usage.output) for at, usage in found.items()} == {2: OWN[1]}


def test_calls_that_tell_their_own_are_left_alone() -> None:
    """A history only grows: less than the input of the call before is no own input. Nor are loops of others."""
    for told in (calls((224, 27), (309, 40)), calls((224, 27), (900, 20)), calls((224, 27), (533, 43), parent=0)):
        assert not RunningTotals().own(told)
    one, other = calls((224, 27))[0], calls((0, 0), (533, 43), parent=8)[1]
    assert not RunningTotals().own([one, other])


def test_what_is_remembered_has_a_bound() -> None:
    """The loop that was not heard of for longest is forgotten."""
    totals = RunningTotals()
    first, second, _ = calls(*LOOP)
    totals.own([first])
    for parent in range(10, 10 + MAX_PARENTS):
        totals.own(calls((1, 1), parent=parent))

    assert not totals.own([second])


def test_spring_ai_1_tells_running_totals() -> None:
    """With Spring Boot 3, whose version the scope has; Spring AI 2.x, with 4, tells each call its own."""
    spans = [span for _, _, span in spans_of("spring_ai/tool_loop")]
    batch = stage(spans, "3.5.7")

    assert usages(batch) == LOOP_OF_ANTHROPIC
    assert usages(stage(spans, "4.0.0")) == [(223, 27), (525, 43), (896, 71)]


def test_calls_that_end_for_good_begin_no_loop() -> None:
    """An application on Spring AI 1.x that asks a model three times by itself, with its tools at hand."""
    spans = [span for _, _, span in spans_of("spring_ai/tool_loop") if span.name.startswith("chat")]
    for span in spans:
        for pair in span.attributes:
            if pair.key == "gen_ai.response.finish_reasons":
                pair.value.string_value = '["end_turn"]'

    assert usages(stage(spans, "3.5.7")) == [(223, 27), (525, 43), (896, 71)]


def test_others_under_the_scope_are_left_alone() -> None:
    """Whatever an application observes has that scope: LangChain4j's calls tell each its own."""
    spans = [span for _, _, span in spans_of("spring_ai/tool_loop")]
    for span in spans:
        kept = [pair for pair in span.attributes if not pair.key.startswith("spring.ai.")]
        del span.attributes[:]
        span.attributes.extend(kept)

    assert usages(stage(spans, "3.5.7")) == [(223, 27), (525, 43), (896, 71)]


def test_the_span_says_its_own_and_keeps_what_it_said() -> None:
    """A sidecar behind this one takes nothing off again."""
    spans = [span for _, _, span in spans_of("spring_ai/tool_loop")]
    once = stage(spans, "3.5.7")
    passed = [span for group in once.groups for span in group.items if span is not None]
    last = max((span for span in passed if span.name.startswith("chat")), key=lambda span: span.start_time_unix_nano)
    said = attributes_of(last.attributes)

    assert (said["gen_ai.usage.input_tokens"], said["spanledger.original.gen_ai.usage.input_tokens"]) == (371, "896")
    assert (said["gen_ai.usage.total_tokens"], said["spanledger.original.gen_ai.usage.total_tokens"]) == (399, "967")
    assert usages(stage(passed, "3.5.7")) == usages(once)
