"""What a provider's answer says of itself, whole or inside what a framework made of it, as JSON.

Quotes within texts are escaped there, so a prompt that speaks of these keys is not taken for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.dialect import PROVIDER, REQUEST_MODEL, RESPONSE_ID, RESPONSE_MODEL, SERVICE_TIER
from spanledger.conventions.provider_usage import searches_charged

if TYPE_CHECKING:
    from spanledger.conventions.dialect import Facts
    from spanledger.conventions.values import Value

ANSWER_CHARS: Final = 65_536
_RESPONSE_ID: Final = re.compile(r'^\{"id": ?"([\w.:-]{1,256})"|"id": ?"((?:chatcmpl-|resp_|msg_)[\w-]{1,256})"')
_OF_RESPONSES_API: Final = re.compile(r'()"id": ?"(resp_[\w-]{1,256})"')
_ANSWERED_BY: Final = re.compile(r'"model(?:_name)?": ?"([\w.:/@-]{1,256})"')
_TIER: Final = re.compile(r'"service_tier": ?"([\w-]{1,32})"')
_STANDARD_TIERS: Final = frozenset({"auto", "default", "standard", "standard_only"})
_GROUNDED_ON: Final = re.compile(r'"web_search_queries": ?\[((?:[^"\]]{0,16}"(?:[^"\\]|\\.){0,512}"){1,64})')
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


def offer_who_answered(facts: Facts, key: str) -> None:
    """Give the id of the response and the model that answered, as attribute `key` has them."""
    facts.offer_found(RESPONSE_ID, key, _response_id)
    asked = facts.text(REQUEST_MODEL)
    if asked is not None and RESPONSE_MODEL not in facts.values:
        for name in facts.find(key, _models) or ():
            if name.startswith(asked):  # and not an argument of a tool that is called so
                facts.offer(RESPONSE_MODEL, key, name)
                break


def _response_id(answer: Value) -> str | None:
    if not isinstance(answer, str):
        return None
    found = _RESPONSE_ID.search(answer, 0, ANSWER_CHARS)
    if found is not None and found[2] and found[2].startswith("msg_"):
        found = _OF_RESPONSES_API.search(answer, found.end(), ANSWER_CHARS) or found  # whose texts have such ids
    return None if found is None else found[1] or found[2]


def _models(answer: Value) -> tuple[str, ...]:
    if not isinstance(answer, str):
        return ()
    return tuple(dict.fromkeys(found[1] for found in _ANSWERED_BY.finditer(answer, 0, ANSWER_CHARS)))


def tier_within(answer: Value) -> str | None:
    """Return the service tier that an answer says it was given at. Quotes in texts are escaped, and are no match."""
    found = _TIER.search(answer, max(0, len(answer) - ANSWER_CHARS)) if isinstance(answer, str) else None
    return None if found is None else found[1]


def offer_tier(facts: Facts, key: str, tier: str, side: str = "") -> None:
    """Give a tier, unless it is the one that every call has; OpenAI's by its name of the `request` or `response`, too.

    Without a `side` where the provider may be known only once all is read.
    """
    if tier in _STANDARD_TIERS:
        return
    facts.offer(SERVICE_TIER, key, tier)
    if side and facts.text(PROVIDER) in {"openai", "azure.ai.openai"}:
        facts.offer(f"openai.{side}.service_tier", key, tier)


def offer_grounding(facts: Facts, key: str) -> None:
    """Give the searches that an answer of Gemini's in `key` is charged for."""
    if queries := facts.find(key, _queries):
        model = facts.text(RESPONSE_MODEL) or facts.text(REQUEST_MODEL)
        facts.offer("@web_search", key, searches_charged(model, queries))


def _queries(answer: Value) -> int | None:
    """Return how many searches an answer is grounded on."""
    found = _GROUNDED_ON.search(answer) if isinstance(answer, str) and "web_search_queries" in answer else None
    return None if found is None else min(len(_TEXT.findall(found[1])), 64) or None
