"""Mixed, unknown and an operator's own dialects, through a sidecar that runs with what docs/dialects.md says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.content import Content
from spanledger.conventions.lookup import CONTENT
from spanledger.conventions.values import attributes_of, key_value
from spanledger.processor.batch import decode, finish
from tests.backend import Backend
from tests.content_schema import check_content
from tests.fakes import request, span
from tests.sidecar import Sidecar, to_backend

PAGE: Final = Path(__file__).parents[2] / "docs" / "dialects.md"
OWN: Final[dict[str, Any]] = yaml.safe_load(
    re.search(r"```yaml\n(processors:\n  genai_normalizer:.*?)```", PAGE.read_text(), re.DOTALL)[1]  # type: ignore[index]
)
"""The example of the page."""


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """Yield a backend that takes everything."""
    with Backend() as made:
        yield made


@pytest.fixture(scope="module")
def sidecar(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Yield a sidecar with the example's dialect."""
    made = Sidecar(tmp_path_factory.mktemp("dialects"))
    config = made.config({"otlp": to_backend(backend.endpoint)})
    config["processors"] |= OWN["processors"]
    made.start(config)
    yield made
    assert made.process.stop() == 0


def passed(sidecar: Sidecar, backend: Backend, *spans: Span, scope: str = "shop") -> list[bytes]:
    """Send spans of one scope; return them as they arrived."""
    backend.clear()
    made = request(*spans)
    made.resource_spans[0].scope_spans[0].scope.name = scope
    with grpc.insecure_channel(sidecar.grpc) as channel:
        channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(made.SerializeToString())
    backend.wait(lambda seen: bool(seen.requests()))
    return [wire for group in finish(decode("traces", backend.requests()[0], 0)).groups for wire in group.raw]


def said(wire: bytes) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(attributes_of(Span.FromString(wire).attributes))


def made(number: int, attributes: dict[str, Any]) -> Span:
    """Return a span with these attributes."""
    one = span(number, name="step")
    one.attributes.extend(key_value(key, value) for key, value in attributes.items())
    return one


def test_mixed_dialects_are_resolved_target_by_target(sidecar: Sidecar, backend: Backend) -> None:
    """Of each fact the best source counts, whichever dialect it is of, and all originals stay."""
    mixed = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "llm.token_count.prompt": 90,
        "llm.token_count.completion": 20,
        "gen_ai.usage.prompt_tokens": 100,
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "traceloop.association.properties.session_id": "s-1",
        "langfuse.user.id": "u-1",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "hi",
    }

    came = said(passed(sidecar, backend, made(1, mixed))[0])

    assert {key: came[key] for key in mixed} == mixed
    assert came["gen_ai.operation.name"] == "chat"
    assert came["gen_ai.request.model"] == "gpt-4o-mini"
    assert came["gen_ai.response.model"] == "gpt-4o-mini-2024-07-18"
    assert (came["gen_ai.usage.input_tokens"], came["gen_ai.usage.output_tokens"]) == (100, 20)
    assert (came["gen_ai.conversation.id"], came["user.id"]) == ("s-1", "u-1")
    assert json.loads(came["gen_ai.input.messages"])[0]["parts"] == [{"type": "text", "content": "hi"}]
    assert came["gen_ai.usage.cost"] > 0


def test_headers_of_requests_go_nowhere(sidecar: Sidecar, backend: Backend) -> None:
    """They hold keys; what is no GenAI span keeps its attributes, whatever they are called."""
    headers = {
        "ai.request.headers.authorization": "Bearer sk-1",
        "gen_ai.headers": '{"Authorization": "Bearer sk-1"}',
        "langsmith.request.headers": '{"x-api-key": "sk-1"}',
    }
    call = made(6, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"} | headers)

    wire = passed(sidecar, backend, call)[0]

    assert b"sk-1" not in wire
    assert said(wire)["gen_ai.request.model"] == "gpt-4o"


def test_an_unknown_dialect_is_counted_and_handed_on_untouched(sidecar: Sidecar, backend: Backend) -> None:
    """Not a byte is changed, and `/metrics` says how many there were."""

    def unclaimed() -> float:
        lines = [line for line in sidecar.scrape_text().splitlines() if 'spanledger_spans_total{dialect="none"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    foreign = made(2, {"zorg.llm.model": "x-1", "zorg.llm.tokens": 12, "zorg.kind": "llm"})
    before = unclaimed()

    assert passed(sidecar, backend, foreign, scope="zorg.tracer") == [foreign.SerializeToString()]
    assert unclaimed() == before + 1


def test_the_page_s_own_dialect_is_read_like_any_other(sidecar: Sidecar, backend: Backend) -> None:
    """Calls are counted and priced, tools named, content converted; steps of no kind stay what they are."""
    call, tool, step = passed(
        sidecar,
        backend,
        made(3, {
            "acme.kind": "completion", "acme.vendor": "OpenAI", "acme.model": "gpt-4.1-mini", "acme.tokens.in": 1000,
            "acme.tokens.cached": 200, "acme.tokens.out": 100, "acme.session": "s-9", "acme.answer": "Rain.",
            "acme.system": "Be brief.", "acme.prompt": json.dumps([{"role": "user", "content": "Weather?"}]),
        }),
        made(4, {"acme.kind": "tool", "acme.tool": "get_weather", "acme.arguments": '{"city": "Oslo"}'}),
        made(5, {"acme.kind": "step"}),
        scope="acme.llm",
    )  # fmt: skip

    came = said(call)
    assert came["spanledger.dialect"] == "acme"
    assert (came["gen_ai.operation.name"], came["gen_ai.provider.name"]) == ("chat", "openai")
    assert (came["gen_ai.usage.input_tokens"], came["gen_ai.usage.cache_read.input_tokens"]) == (1000, 200)
    assert (came["gen_ai.conversation.id"], came["spanledger.cost.status"]) == ("s-9", "priced")
    written = {name: json.loads(came[target]) for name, target in CONTENT.items() if target in came}
    assert set(written) == {"input_messages", "output_messages", "system_instructions"}
    check_content(Content(**written))
    assert (said(tool)["gen_ai.tool.name"], said(tool)["spanledger.step.kind"]) == ("get_weather", "tool")
    assert said(step)["spanledger.step.kind"] == "other"
