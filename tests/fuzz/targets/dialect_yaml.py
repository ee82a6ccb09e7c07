"""An operator's own dialect: any that is accepted reads any span."""

from __future__ import annotations

import pydantic

from spanledger.conventions.values import key_value
from spanledger.processor.batch import decode, finish
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from tests.fakes import Numbers, host, request, span
from tests.fuzz.draw import Draw
from tests.fuzz.mutation import KEYS

_TARGETS = (*KEYS, "gen_ai.system_instructions", "gen_ai.tool.definitions", "nonsense", "", "gen_ai.usage.input_tokens")
_OURS = ("acme.kind", "acme.model", "acme.", "acme.tokens", "input.value", "")


def fuzz(data: bytes) -> None:
    """Map anything to anything."""
    draw = Draw(data)
    source = {
        "name": draw.pick(("acme", "otel", "openinference", "langfuse", "A b")),
        "mappings": {draw.pick(_OURS): draw.pick(_TARGETS) for _ in range(draw.number(6))},
        "value_mappings": {draw.pick(_TARGETS): {draw.text(): draw.text()} for _ in range(draw.number(3))},
        "overwrite": draw.flag(),
    }
    if draw.flag():
        source |= {"scopes": [draw.pick(("acme", "", "x"))], "evidence": [draw.pick(_OURS)]}
    said = {"sources": [source], "remove_originals": draw.flag(), "content": draw.flag()}
    try:
        config = GenaiNormalizerConfig.model_validate(said)
    except pydantic.ValidationError:
        return
    numbers = Numbers()
    normalizer = GenaiNormalizer(config, host("genai_normalizer", numbers=numbers))
    made = span(1)
    for _ in range(draw.number(8)):
        made.attributes.append(key_value(draw.pick((*_OURS, *KEYS)), ""))
        made.attributes[-1].value.CopyFrom(draw.any_value())
    batch = finish(decode("traces", request(made, scope="acme").SerializeToString(), 7))
    for _pause in normalizer.process(batch):
        pass
    assert not numbers.total("spanledger_normalizer_errors_total")
    finish(decode("traces", finish(batch.serialize()), 7))
