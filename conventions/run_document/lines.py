"""A run's document as the text that the JSON library makes of `writing.document`, in a fifth of the time.

A run is written once for each revision, and its steps are most of it: their keys are always the same.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Final

from spanledger.conventions.run_document.writing import head, timestamp, usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.run import Run, RunStep, RunUsage

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def parts(run: Run) -> tuple[bytes, bytes]:
    """Return the document without its revision and steps, and the steps between their brackets; UTF-8."""
    whole = head(run)
    del whole["revision"]
    return _bytes(_ENCODER.encode(whole)), _bytes(",".join(map(step_text, run.steps)))


def joined(rest: bytes, revision: int, steps: bytes) -> bytes:
    """Return the whole document from its parts."""
    return b'%s,"revision":%d,"steps":[%s]}' % (rest[:-1], revision, steps)


def step_text(step: RunStep) -> str:
    """Return a step as a JSON object."""
    return (
        f'{{"index":{step.index},"span_id":{_text(step.span_id or None)},"trace_id":{quoted(step.trace_id)}'
        f',"parent":{_number(step.parent)},"basis":"{step.basis}","kind":"{step.kind}","name":{quoted(step.name)}'
        f',"agent_name":{_text(step.agent_name)},"agent_basis":{_text(step.agent_basis)}'
        f',"tool_name":{_text(step.tool_name)},"tool_call_id":{_text(step.tool_call_id)}'
        f',"provider":{_text(step.provider)},"model":{_text(step.model)}'
        f',"started_at":"{timestamp(step.started_at_ns)}","duration_s":{_number(step.duration_s)}'
        f',"status":"{step.status}","error_type":{_text(step.error_type)},"attempt":{step.attempt}'
        f',"usage":{_usage(step.usage)},"cost_usd":{_number(usd(step.cost_pico_usd))}'
        f',"cost_status":{_text(step.cost_status)},"requested_by":{_number(step.requested_by)}'
        f',"requested_basis":{_text(step.requested_basis)},"read_by":{_number(step.read_by)}'
        f',"depth":{step.depth},"branch":{step.branch},"critical":{"true" if step.critical else "false"}'
        f',"twins":{_texts(step.twins)},"asks":{_texts(step.asks)}'
        f',"input":{_text(step.input)},"output":{_text(step.output)}}}'
    )


def _usage(usage: RunUsage | None) -> str:
    if usage is None:
        return "null"
    return (
        f'{{"input_tokens":{_number(usage.input)},"output_tokens":{_number(usage.output)}'
        f',"cache_read_tokens":{_number(usage.cache_read)},"cache_write_tokens":{_number(usage.cache_write)}'
        f',"reasoning_tokens":{_number(usage.reasoning)}}}'
    )


def _text(value: str | None) -> str:
    return "null" if value is None else quoted(value)


def _number(value: float | None) -> str:
    return "null" if value is None else repr(value)


def _texts(values: Sequence[str]) -> str:
    return f"[{','.join(map(quoted, values))}]" if values else "[]"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
