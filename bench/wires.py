"""Requests made beforehand that become new ones for the price of a join.

Two sends of the same bytes would be the same spans, and a sidecar that tells runs apart would see doubles. So ids,
prose and response ids hold a placeholder, each request is cut there once, and `tag.join(pieces)` is a request
that nobody has seen. Times are written over, so that the spans have just ended.

Many stacks recorded the same scenario against the same model, with the same ids and words. So each stack is a service
of its own and each of its captures an instance with ids and words of its own: nothing is equal in two captures, as
nothing is in the traffic of different applications.
"""

from __future__ import annotations

import functools
import json
import random
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from bench.corpus import captures, requests_of
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.reader import Reader
from spanledger.conventions.values import Value, key_value

PLACE: Final = b"#{~}"
"""What is replaced: as long as a tag, and valid in any text."""
MARK: Final = b"bnch"
"""What trace ids begin with: a sink counts spans by it without parsing."""
SPAN_MARK: Final = b"\x0a\x10" + MARK
"""The field `trace_id` of a span on the wire, up to the placeholder."""
MAX_BYTES: Final = 2_500_000
"""Of one request: 4 MB is what servers take by default, and what they forward is longer."""
AGO: Final = 0xF7F1 << 48
"""What stands for a time of some microseconds ago: no time and no text has its high bytes."""
MAX_AGO_US: Final = 2**31 - 1
STEP_NS: Final = 10**9 // 4
"""From one step of a made-up run to the next."""
_TIME: Final = struct.Struct("<Q")
_AGO: Final = re.compile(rb".{4}\x00\x00\xf1\xf7", re.DOTALL)
_ID_IN_JSON: Final = re.compile(r'\\*"(?:tool_call_id|call_id|response_id|id)\\*": ?\\*"([\w.:-]{8,128})\\*"')
_SAID: Final = re.compile(r'(\\*"(?:content|text)\\*": ?\\*")(?=[A-Za-z])')
"""The beginning of what somebody says, in messages as JSON; not of results that are JSON themselves."""
_SAYS: Final = re.compile(r"[._](content|value|text)$")
_IDS: Final = re.compile(
    r"(response|conversation|session|thread|request|message|generation|call)[._]?id$", re.IGNORECASE
)
_PROSE: Final = re.compile(r"(?<= )(that|with|this|what|from|have|your|will|need|each|then)(?= )")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"


@dataclass(frozen=True, slots=True)
class Mix:
    """What is sent, and over how many connections."""

    name: str
    spans: int = 512
    """In a request."""
    genai: float = 1.0
    """Share of the spans; the others are HTTP calls below them."""
    content_bytes: int = 0
    """Of the prompt of each model call, in made-up runs; 0 takes the recorded spans of the corpus."""
    scenarios: str = ""
    """Which recorded ones: what their names begin with; "" is all."""
    connections: int = 8
    attributes: int = 0
    """Added to each span."""
    runs: int = 64
    """Made-up ones."""
    agents: int = 4
    """Names of agents in made-up runs."""
    steps: int = 7
    """Of made-up runs, beside their roots."""
    rooted: bool = True
    """Whether the roots of made-up runs ever come."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A request in pieces."""

    spans: int
    pieces: tuple[bytes, ...]
    times: tuple[tuple[int, int], ...]
    """Where a time is, and how much before the sending it was, in nanoseconds."""

    def fresh(self, tag: bytes, now_ns: int) -> bytes:
        """Return a request whose ids are all new when `tag` is; `len(PLACE)` bytes of ASCII."""
        request = bytearray(tag.join(self.pieces))
        for at, ago_ns in self.times:
            _TIME.pack_into(request, at, now_ns - ago_ns)
        return bytes(request)


@dataclass(frozen=True, slots=True)
class Sent:
    """A span with what it comes from."""

    resource: Resource
    scope: InstrumentationScope
    span: Span


def tag(number: int) -> bytes:
    """Return the tag of a number below 64 ** 4; different numbers have different tags."""
    return "".join(_DIGITS[number >> shift & 63] for shift in (18, 12, 6, 0)).encode()


def first_span(request: bytes) -> str:
    """Return what names the first span of a request: its ids, as far as they differ."""
    at = request.find(SPAN_MARK) + len(SPAN_MARK)
    return request[at : at + 22].hex()


def cut(request: bytes) -> Wire:
    """Take a request apart at its placeholders. Its times say how long ago, under `AGO`."""
    times = tuple((found.start(), (_TIME.unpack(found[0])[0] - AGO) * 1000) for found in _AGO.finditer(request))
    return Wire(request.count(SPAN_MARK), tuple(request.split(PLACE)), times)


def wires(mix: Mix) -> list[Wire]:
    """Return the requests of a mix; the spans of each trace follow one another."""
    traces = _made(mix) if mix.content_bytes else _recorded(mix.scenarios)
    spans = (sent for number, (source, trace) in enumerate(traces) for sent in _renewed(trace, number, source))
    if mix.genai < 1:
        spans = _among_others(spans, round(1 / mix.genai) - 1)
    if mix.attributes:
        spans = (_with_attributes(sent, mix.attributes) for sent in spans)
    return [cut(request.SerializeToString()) for request in _requests(spans, mix.spans)]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace of the corpus."""

    source: str
    """Distinct for each capture: two characters."""
    scenario: str
    spans: list[tuple[Sent, bool]]
    """With whether they are GenAI ones."""


@functools.cache
def _read_corpus() -> list[Recorded]:
    reader = Reader(DIALECTS, content=False)
    found = []
    recorded = list(captures())
    # Captures of one stack cost much or little: one after the other they would be an ebb and flow.
    random.Random(7).shuffle(recorded)
    for number, (name, capture) in enumerate(recorded):
        stack, _, scenario = name.rpartition("/")
        source = tag(number)[-2:].decode()
        resources: dict[bytes, Resource] = {}
        traces: defaultdict[bytes, list[tuple[Sent, bool]]] = defaultdict(list)
        for request in requests_of(capture):
            for node in request.resource_spans:
                known = node.resource.SerializeToString()
                resource = resources.setdefault(known, _instance(node.resource, stack, source))
                for group in node.scope_spans:
                    for span in group.spans:
                        is_genai = reader.read(group.scope.name, group.scope.version, span) is not None
                        traces[span.trace_id].append((Sent(resource, group.scope, span), is_genai))
        found += [Recorded(source, scenario, trace) for trace in traces.values()]
    return found


def _instance(recorded: Resource, stack: str, source: str) -> Resource:
    """Return the resource of a process that runs the service of a stack."""
    ours = ("service.name", "service.instance.id")
    names = {pair.key: pair.value.string_value for pair in recorded.attributes if pair.key in ours}
    resource = Resource(attributes=[pair for pair in recorded.attributes if pair.key not in ours])
    if name := names.get("service.name"):
        resource.attributes.append(key_value("service.name", f"{name}-{stack}"))
    resource.attributes.append(key_value("service.instance.id", f"{names.get('service.instance.id', '')}{source}"))
    return resource


def _recorded(scenarios: str) -> Iterator[tuple[str, list[Sent]]]:
    """Yield copies of the GenAI spans of each recorded trace, in the order they ended, and which capture it is of."""
    for trace in _read_corpus():
        if trace.scenario.startswith(scenarios):
            yield trace.source, _without_others(trace.spans)


def _without_others(trace: Sequence[tuple[Sent, bool]]) -> list[Sent]:
    """Return copies of the GenAI spans of a trace, each below its next GenAI ancestor."""
    parents = {sent.span.span_id: sent.span.parent_span_id for sent, _ in trace}
    genai = {sent.span.span_id for sent, is_genai in trace if is_genai}
    kept: list[Sent] = []
    for sent, is_genai in trace:
        if not is_genai:
            continue
        seen = {sent.span.span_id}
        above = sent.span.parent_span_id
        while above not in genai and above in parents and above not in seen:
            seen.add(above)
            above = parents[above]
        span = Span()
        span.CopyFrom(sent.span)
        span.parent_span_id = above if above in genai else b""
        kept.append(replace(sent, span=span))
    return sorted(kept, key=lambda sent: sent.span.end_time_unix_nano)


def _renewed(trace: Sequence[Sent], number: int, source: str) -> Iterator[Sent]:
    """Put the placeholder into a trace, and how long ago its spans were; neighbours end a millisecond apart."""
    if not trace:
        return
    last_ns = max(sent.span.end_time_unix_nano for sent in trace) + (1000 - number % 1000) * 1_000_000
    # With the parents that never come: without them, what is below would be no open run.
    named = dict.fromkeys([sent.span.span_id for sent in trace] + [sent.span.parent_span_id for sent in trace])
    ids = {span_id: PLACE + index.to_bytes(4) for index, span_id in enumerate(filter(None, named), 1)}
    known = _names(trace)
    place = PLACE.decode() + source
    for sent in trace:
        span = sent.span
        span.trace_id = MARK + PLACE + number.to_bytes(8)
        span.parent_span_id = ids.get(span.parent_span_id, b"")
        span.span_id = ids[span.span_id]
        span.start_time_unix_nano = _ago(last_ns - span.start_time_unix_nano)
        span.end_time_unix_nano = _ago(last_ns - span.end_time_unix_nano)
        for event in span.events:
            event.time_unix_nano = _ago(last_ns - event.time_unix_nano)
        for pairs in (span.attributes, *(event.attributes for event in span.events)):
            for pair in pairs:
                _renew(pair, known, place)
        yield sent


def _names(trace: Iterable[Sent]) -> re.Pattern[str] | None:
    """Return what finds the ids of conversations, answers and calls that a trace has; None when it has none."""
    names: set[str] = set()
    for sent in trace:
        for pair in sent.span.attributes:
            text = pair.value.string_value
            if _IDS.search(pair.key) and 8 <= len(text) <= 128:
                names.add(text)
            names.update(_ID_IN_JSON.findall(text))
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None


def _ago(ns: int) -> int:
    return AGO + min(max(0, ns // 1000), MAX_AGO_US)


def _renew(pair: KeyValue, known: re.Pattern[str] | None, place: str) -> None:
    text = pair.value.string_value
    if known is not None:
        text = known.sub(lambda found: found[0] + place, text)
    if text and text == pair.value.string_value and _IDS.search(pair.key):
        text += place  # too short to be looked for elsewhere
    if len(text) > 40:
        text = _PROSE.sub(place, text)
    text = _SAID.sub(rf"\g<1>{place} ", text)
    if _SAYS.search(pair.key) and text[:1].isalpha():
        text = f"{place} {text}"
    if text != pair.value.string_value:
        pair.value.string_value = text


def _among_others(spans: Iterable[Sent], others: int) -> Iterator[Sent]:
    """Yield HTTP calls below each span, before it."""
    scope = InstrumentationScope(name="opentelemetry.instrumentation.httpx", version="0.62b0")
    for sent in spans:
        span = sent.span
        for number in range(1, others + 1):
            call = Span(
                trace_id=span.trace_id,
                span_id=span.span_id[:4] + (int.from_bytes(span.span_id[4:]) + number * 2**24).to_bytes(4),
                parent_span_id=span.span_id,
                name="POST",
                kind=Span.SPAN_KIND_CLIENT,
                start_time_unix_nano=span.start_time_unix_nano,
                end_time_unix_nano=span.end_time_unix_nano,
            )
            call.attributes.extend(key_value(key, value) for key, value in _HTTP.items())
            yield Sent(sent.resource, scope, call)
        yield sent


_HTTP: Final[dict[str, Value]] = {
    "http.request.method": "POST",
    "url.full": "https://api.example.com/v1/things/4711?verbose=true",
    "server.address": "api.example.com",
    "server.port": 443,
    "network.protocol.version": "1.1",
    "network.peer.address": "192.0.2.17",
    "network.peer.port": 443,
    "http.response.status_code": 200,
    "http.request.body.size": 1317,
    "http.response.body.size": 8190,
    "user_agent.original": "python-httpx/0.28.1",
    "thread.name": "MainThread",
    "code.function.name": "things.client.fetch",
    "deployment.environment.name": "production",
}


def _with_attributes(sent: Sent, count: int) -> Sent:
    span = Span()
    span.CopyFrom(sent.span)
    span.attributes.extend(_EXTRA[:count])
    return replace(sent, span=span)


_EXTRA: Final[list[KeyValue]] = [key_value(f"app.fact.{number}", f"value {number % 97}") for number in range(10_000)]


def _made(mix: Mix) -> Iterator[tuple[str, list[Sent]]]:
    """Yield runs of an agent with four model calls and three tools, and the agent's own span at their end."""
    resource = Resource(attributes=[key_value("service.name", "trip")])
    scope = InstrumentationScope(name="opentelemetry.instrumentation.openai_v2", version="2.3")
    sentence = "the weather in Paris tomorrow is mild, some rain and a light wind by noon, sunny in the evening. "
    prompt = (sentence * (mix.content_bytes // len(sentence) + 1))[: mix.content_bytes]
    last = mix.steps + 1
    for run in range(mix.runs):
        spans = []
        for number in range(1, last + mix.rooted):
            kind = "root" if number == last else "call" if number % 2 else "tool"
            facts = _facts(run, number, kind, prompt) | {"gen_ai.agent.name": f"planner-{run % mix.agents}"}
            span = Span(
                trace_id=(run + 1).to_bytes(16),
                span_id=number.to_bytes(8),
                parent_span_id=b"" if kind == "root" else last.to_bytes(8),
                name={"call": "chat gpt-4o", "tool": "execute_tool get_weather", "root": "invoke_agent"}[kind],
                start_time_unix_nano=10**18 + (0 if kind == "root" else number * STEP_NS),
                end_time_unix_nano=10**18 + number * STEP_NS + STEP_NS // 2,
                attributes=[key_value(key, value) for key, value in facts.items()],
            )
            spans.append(Sent(resource, scope, span))
        yield "", spans


def _facts(run: int, number: int, kind: str, prompt: str) -> dict[str, Value]:
    """Return the attributes of a step of a made-up run."""
    if kind == "root":
        return {"gen_ai.operation.name": "invoke_agent"}
    if kind == "tool":
        return {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.id": f"call_{run:08x}{number:04x}",
            "gen_ai.tool.call.arguments": json.dumps({"city": "Paris", "day": number}),
            "gen_ai.tool.call.result": f"{number} {prompt[:200]}",
        }
    said = {"role": "user", "parts": [{"type": "text", "content": f"{number} and that {prompt}"}]}
    answer = {"role": "assistant", "parts": [{"type": "text", "content": prompt[:300]}], "finish_reason": "stop"}
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": f"chatcmpl-{run:08x}{number:08x}",
        "gen_ai.usage.input_tokens": 800 + number,
        "gen_ai.usage.output_tokens": 90,
        "gen_ai.input.messages": json.dumps([said]),
        "gen_ai.output.messages": json.dumps([answer]),
    }


def _requests(spans: Iterable[Sent], size: int) -> Iterator[ExportTraceServiceRequest]:
    """Yield requests of `size` spans; neighbours of the same sender and scope share their heads."""
    request, count, length = ExportTraceServiceRequest(), 0, 0
    for sent in spans:
        last = request.resource_spans[-1] if request.resource_spans else None
        if last is None or last.resource != sent.resource:
            last = ResourceSpans(resource=sent.resource)
            request.resource_spans.append(last)
            last = request.resource_spans[-1]
        if not last.scope_spans or last.scope_spans[-1].scope != sent.scope:
            last.scope_spans.append(ScopeSpans(scope=sent.scope))
        last.scope_spans[-1].spans.append(sent.span)
        count, length = count + 1, length + sent.span.ByteSize()
        if count == size or length > MAX_BYTES:
            yield request
            request, count, length = ExportTraceServiceRequest(), 0, 0
    if count:
        yield request
