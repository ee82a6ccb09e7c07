"""Captures of real instrumentations, each with the truth beside it.

A capture is what one run of one stack exported, request by request as it was sent. Its truth comes
from the model server that the stack talked to: what was asked, answered and billed, call by call.
There input tokens include cached ones and output tokens include reasoning.

An archive `<language>/<stack>.tar.xz` holds the captures of a stack:
`<scenario>.truth.json` and `<scenario>.{traces,logs,metrics}.binpb`, where each request is preceded by
its length as a varint.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spanledger.processor.batch import Signal

ARCHIVES: Final = Path(__file__).parents[1] / "fixtures" / "corpus"

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "OTel GenAI": (
        "python/anthropic-sdk-native",
        "python/manual-2024-semconv",
        "python/manual-latest-semconv",
        "python/mcp-no-instrumentation",
        "python/multiprocess-http",
        "python/otel-botocore-bedrock",
        "python/otel-genai-anthropic",
        "python/otel-genai-langchain",
        "python/otel-genai-langchain-anthropic",
        "python/otel-genai-openai",
        "python/otel-genai-openai-agents",
        "python/otel-genai-openai-embeddings",
        "python/otel-genai-openai-responses",
        "python/otel-google-genai",
        "python/otel-openai-v2-legacy",
        "js/anthropic-sdk-native",
        "js/otel-openai",
        "js/otel-openai-events",
    ),
    "OpenInference": (
        "python/deepagents-openinference",
        "python/mcp-openinference",
        "python/openinference-anthropic",
        "python/openinference-autogen",
        "python/openinference-claude-agent-sdk",
        "python/openinference-crewai",
        "python/openinference-dspy",
        "python/openinference-google-adk",
        "python/openinference-langchain",
        "python/openinference-llamaindex",
        "python/openinference-openai",
        "python/openinference-openai-agents",
        "python/openinference-pydantic-ai",
        "js/claude-agent-sdk",
        "js/langchain-openinference",
        "js/openai-agents-openinference",
        "js/openinference-mcp",
        "js/openinference-sdk",
    ),
    "OpenLLMetry": (
        "python/openllmetry-2025-openai",
        "python/openllmetry-agno",
        "python/openllmetry-anthropic",
        "python/openllmetry-bedrock",
        "python/openllmetry-crewai",
        "python/openllmetry-google",
        "python/openllmetry-langchain",
        "python/openllmetry-langchain-anthropic",
        "python/openllmetry-openai",
        "python/openllmetry-openai-agents",
        "python/openllmetry-openai-responses",
        "python/traceloop-sdk",
        "js/traceloop-langchain",
        "js/traceloop-sdk",
    ),
    "Langfuse": (
        "python/langfuse-v3",
        "python/langfuse-v3-langchain",
        "python/langfuse-v5",
        "js/langfuse-openai",
    ),
    "LangSmith": (
        "python/langsmith-otel",
        "python/logfire-langchain",
        "js/langsmith-langchain",
        "js/langsmith-sdk",
    ),
    "Pydantic AI and Logfire": (
        "python/logfire-openai",
        "python/logfire-openai-responses",
        "python/logfire-pydantic-ai",
        "python/pydantic-ai",
        "python/pydantic-ai-1x",
        "python/pydantic-ai-anthropic",
    ),
    "MLflow": ("python/mlflow-openai",),
    "LiteLLM": ("python/litellm-otel",),
    "Google ADK": ("python/google-adk", "js/google-adk"),
    "Strands": ("python/strands", "js/strands-ts"),
    "Vercel AI SDK": ("js/vercel-ai-v4", "js/vercel-ai-v6", "js/vercel-ai-v7"),
    "OpenLIT": ("python/openlit-anthropic", "python/openlit-openai", "js/openlit-sdk"),
    "Mastra": ("js/mastra-otel-bridge", "js/mastra-otel-exporter"),
    "Laminar": ("python/laminar-openai",),
    "Haystack": ("python/haystack-native-otel",),
    "Genkit": ("js/genkit",),
    "VoltAgent": ("js/voltagent",),
    "Microsoft": ("python/autogen-native", "python/ms-agent-framework", "python/semantic-kernel"),
    "Coding agents": ("js/claude-code", "js/codex-cli", "js/gemini-cli"),
}
"""Every stack of the corpus, by the instrumentation that made the spans."""

STACKS: Final = tuple(stack for stacks in FAMILIES.values() for stack in stacks)


@dataclass(frozen=True, slots=True)
class TrueCall:
    """One HTTP request to a model, as the model server saw it."""

    run: str
    ok: bool
    provider: str
    api: str
    request_model: str
    response_model: str
    response_id: str
    start_ns: int
    """Epoch nanoseconds; in Python captures those of the run's beginning."""
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int


@dataclass(frozen=True, eq=False)
class Capture:
    """What one scenario of one stack sent."""

    stack: str
    scenario: str
    files: Mapping[str, bytes]
    """By ending: `truth.json`, `traces.binpb`, ..."""

    def __str__(self) -> str:
        return f"{self.stack}/{self.scenario}"

    def requests(self, signal: Signal) -> Iterator[bytes]:
        """Yield the `Export<Signal>ServiceRequest`s in the order they came."""
        data = self.files.get(f"{signal}.binpb", b"")
        position = 0
        while position < len(data):
            size, position = _varint(data, position)
            yield data[position : position + size]
            position += size

    @cached_property
    def truth(self) -> Mapping[str, Any]:
        """The truth as recorded."""
        truth: Mapping[str, Any] = json.loads(self.files["truth.json"])
        return truth

    @cached_property
    def runs(self) -> tuple[str, ...]:
        """The runs of the capture, those without a model call included."""
        return tuple(dict.fromkeys(run["run"] for run in self.truth["runs"]))

    @cached_property
    def calls(self) -> tuple[TrueCall, ...]:
        """Every request to a model, in the order they came."""
        return tuple(self._calls())

    def _calls(self) -> Iterator[TrueCall]:
        began = {run["run"]: run.get("t_begin", 0.0) for run in self.truth["runs"]}
        for call in self.truth["llm_calls"]:
            usage = call.get("usage") or {}
            start_s = call["ts_start"] / 1e3 if "ts_start" in call else began.get(call["run"], 0.0)
            yield TrueCall(
                run=call["run"],
                ok=call["status"] == 200,
                provider=call["provider"],
                api=call["api"],
                request_model=call["request_model"],
                response_model=call.get("response_model") or "",
                response_id=call.get("response_id") or "",
                start_ns=int(start_s * 1e9),
                input=usage.get("input_total", usage.get("input", 0)),
                output=usage.get("output_total", usage.get("output", 0)),
                cache_read=usage.get("cache_read", usage.get("cached", 0)),
                cache_write=usage.get("cache_write", 0),
                reasoning=usage.get("reasoning", 0),
            )


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _group(stack: str, files: Mapping[str, bytes]) -> list[Capture]:
    scenarios = sorted(name.removesuffix(".truth.json") for name in files if name.endswith(".truth.json"))
    return [
        Capture(
            stack,
            scenario,
            {name.partition(".")[2]: files[name] for name in files if name.partition(".")[0] == scenario},
        )
        for scenario in scenarios
    ]


def packed(stack: str) -> list[Capture]:
    """Return the captures of a stack from its archive, by scenario."""
    with tarfile.open(ARCHIVES / f"{stack}.tar.xz") as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return _group(stack, {name: file.read() for name, file in files.items() if file is not None})


def unpacked(corpus: Path, stack: str) -> list[Capture]:
    """Return the captures of a stack from a corpus directory, by scenario."""
    return _group(stack, dict(stack_files(corpus / stack)))


def stack_files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what belongs into a stack's archive: name and content, by name."""
    for path in sorted(directory.iterdir()):
        name = path.name.removesuffix(".gz")
        if name.endswith((".binpb", ".truth.json")):
            yield name, gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
