"""Puts together what several sources say of one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from spanledger.conventions.detail import Detail
from spanledger.conventions.details.history import MAX_IDS, MAX_LINKS, chained, unchained
from spanledger.conventions.details.rendering import bounded
from spanledger.conventions.safety.reading import distinct

MAX_CONTENT_BYTES: Final = 16_384


def merged(known: Detail, late: Detail, max_content_bytes: int = MAX_CONTENT_BYTES) -> Detail:
    """Return what is known of a step, completed by what came later, from the span itself or its log records.

    What is known stays, but for a conversation of which a late source has more. Where that came from log
    records of one message each (`Detail.single`), another such record goes on where the last one ended; so
    hand them over in the order they were logged, each once.
    """
    if late.single and (known.single or not _converses(known)):
        said = _continued(known, late, max_content_bytes)
    else:
        said = late if _whole(late) > _whole(known) else known
    return Detail(
        links=known.links or late.links,
        requests=said.requests,
        answered=said.answered,
        given=said.given,
        results=said.results,
        history=said.history,
        after=said.after,
        asks_user=said.asks_user,
        arguments=known.arguments or late.arguments,
        result=known.result or late.result,
        output=said.output or known.output or late.output,
        prompt=known.prompt if known.prompt is not None else late.prompt,
        tools=known.tools if known.tools is not None else late.tools,
        evaluations=tuple(dict.fromkeys((*known.evaluations, *late.evaluations))),
        outcome=known.outcome or late.outcome,
        input=said.input or known.input or late.input,
        said=said.said or known.said or late.said,
        dimensions={**late.dimensions, **known.dimensions},
        answer=said.answer,
        previous_response_id=known.previous_response_id or late.previous_response_id,
        single=said.single,
        context=known.context or late.context,
        finish=late.finish or known.finish,
        plan=late.plan or known.plan,
        node=known.node or late.node,
        delegate=known.delegate or late.delegate,
        concerns=distinct((*known.concerns, *late.concerns)) if known.concerns or late.concerns else (),
    )


def _converses(detail: Detail) -> bool:
    return bool(detail.history or detail.answer or detail.requests or detail.answered)


def _whole(detail: Detail) -> tuple[bool, bool, bool]:
    """Say how much of a conversation there is; of two, what was read as a whole is better than put together."""
    return bool(detail.history), detail.after is not None, _converses(detail) and not detail.single


def _continued(known: Detail, late: Detail, max_content_bytes: int) -> Detail:
    start = known.history[-1] if known.history else 0
    history = (*known.history, *chained(start, unchained(late.history)))[-MAX_LINKS:]
    answer = known.answer + late.answer
    hears = bool(late.history or late.answered)
    return replace(
        late,
        requests=(known.requests + late.requests)[:MAX_IDS],
        answered=tuple(dict.fromkeys(known.answered + late.answered))[-MAX_IDS:],
        history=history,
        after=chained(history[-1], answer)[-1] if history and answer else None,
        asks_user=late.asks_user if hears else known.asks_user,
        answer=answer,
        output=known.output or late.output,
        input=bounded(filter(None, (known.input, late.input)), max_content_bytes),
        said=bounded(filter(None, (known.said, late.said)), max_content_bytes),
    )
