"""Spans of inference servers themselves: vLLM (to 0.29), SGLang, TensorRT-LLM; they agree on `gen_ai.latency.*`.

One span a request, `llm_request` or the request's id, in the trace of the client where that passed its context on. The
same call is then on the client's span, which says more: the server does not know what its model is called outside.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import MODEL_CALLS, OPERATION, PROVIDER, TIME_TO_FIRST_CHUNK, Dialect, Facts
from spanledger.conventions.emitters import at_boundary

_LATENCY: Final = "gen_ai.latency."
_OUTPUT: Final = "gen_ai.usage.output_tokens"
_PROVIDERS: Final = ("vllm", "sglang")
_OPERATIONS: Final = {"llm": "chat", "embedding": "embeddings"}


def _complete(facts: Facts) -> None:
    if not facts.told and facts.operation is None and _OUTPUT in facts.values:
        facts.kind = "llm"
    if facts.kind in MODEL_CALLS:
        facts.echo = True
        if facts.operation is None or facts.operation != facts.text(OPERATION):
            # Of what is decided about an echo only its kind is written, so the next reader has no more to go by.
            facts.operation = _OPERATIONS[facts.kind]
        facts.offer(PROVIDER, "", next((name for name in _PROVIDERS if at_boundary(facts.scope, name)), None))


DIALECT: Final = Dialect(
    name="inference_servers",
    source="https://github.com/vllm-project/vllm/tree/main/vllm/tracing",
    scopes=("vllm", "sglang", "tensorrt_llm"),
    evidence=(_LATENCY,),
    sources={TIME_TO_FIRST_CHUNK: (_LATENCY + "time_to_first_token",)},
    complete=_complete,
)
