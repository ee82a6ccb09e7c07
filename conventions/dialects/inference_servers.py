"""Spans of inference servers themselves: vLLM (to 0.29), SGLang, TensorRT-LLM; they agree on `gen_ai.latency.*`.

One span a request, `llm_request` or the request's id, in the trace of the client where that passed its context on. The
same call is then on the client's span, which says more: the server does not know what its model is called outside.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import MODEL_CALLS, PROVIDER, TIME_TO_FIRST_CHUNK, Dialect, Facts, Kinded
from spanledger.conventions.emitters import at_boundary

_LATENCY: Final = "gen_ai.latency."
_OUTPUT: Final = "gen_ai.usage.output_tokens"
_PROVIDERS: Final = ("vllm", "sglang")


def _complete(facts: Facts) -> None:
    untold = not facts.told or facts.kind in MODEL_CALLS  # the kind alone stands on an echo that was read before
    if untold and facts.operation is None and _OUTPUT in facts.values:
        facts.kind, facts.operation = Kinded("llm", "chat")
    if facts.kind in MODEL_CALLS:
        facts.echo = True
        facts.offer(PROVIDER, "", next((name for name in _PROVIDERS if at_boundary(facts.scope, name)), None))


DIALECT: Final = Dialect(
    name="inference_servers",
    source="https://github.com/vllm-project/vllm/tree/main/vllm/tracing",
    scopes=("vllm", "sglang", "tensorrt_llm"),
    evidence=(_LATENCY,),
    sources={TIME_TO_FIRST_CHUNK: (_LATENCY + "time_to_first_token",)},
    complete=_complete,
)
