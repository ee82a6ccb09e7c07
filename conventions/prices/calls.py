"""What decides the price of a model call: what its span says, what its answer shows, what is known of its service.

The span comes first. Of a service the operator says what no span can (that it runs batches, where it is allowed to
run), and its resource says where it stands, which is where it calls Bedrock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.coerce import MAX_JSON_CHARS
from spanledger.conventions.nesting import loads
from spanledger.conventions.prices.ask import tier_of
from spanledger.conventions.prices.engine import PricedCall
from spanledger.conventions.units import UNITS, Unit, Units

if TYPE_CHECKING:
    from spanledger.conventions.prices.overrides import CacheTTL, ServiceFacts
    from spanledger.conventions.reading import Reading

MESSAGES: Final = "gen_ai.output.messages"
_ASKED: Final = "gen_ai.input.messages"
_SERVER_CALL: Final = '"server_tool_call"'
_TOOLS: Final[Mapping[str, Unit]] = {
    "web_search": "web_search", "web_search_call": "web_search", "web_search_preview": "web_search",
    "google_search": "web_search", "x_search": "social_search", "x_search_call": "social_search",
    "file_search": "file_search", "file_search_call": "file_search", "collections_search": "file_search",
    "google_maps": "map_search",
}  # fmt: skip
"""Tools that a provider runs itself and charges by the call. Code interpreters are not: their time is what costs."""

_OTHER_ACTIONS: Final = ("open_page", "find_in_page", "find", "open")  # no set: a type may be a list
"""What OpenAI's search tool does besides searching, at no charge."""

_BEDROCK: Final = "aws.bedrock"
_AT_HAND: Final = ("aws", "")
"""`cloud.provider` of those who call Bedrock where they stand; some do not name it."""


def call_of(
    reading: Reading, duration_ns: int, facts: ServiceFacts | None, ttl: CacheTTL, home: str = ""
) -> PricedCall:
    """Return what decides the price of a call. `home` is the region of AWS that the service runs in, "" if unknown."""
    tier, assumed = reading.service_tier or "", ""
    if facts is not None:
        tier = _tier(tier, facts)
        assumed = facts.region or ""
        ttl = facts.cache_write_ttl or ttl
    if not assumed and reading.provider == _BEDROCK:
        assumed = home
    return PricedCall(
        reading.usage, reading.provider, reading.response_model, reading.request_model, reading.server_address,
        reading.region or "", tier, ttl == "1h", duration_ns, assumed,
        units_shown(reading) if reading.units is None else reading.units,
    )  # fmt: skip


def home_of(resource: Mapping[str, Any]) -> str:
    """Return the region of AWS that a resource runs in, "" for none."""
    region = resource.get("cloud.region")
    if isinstance(region, str) and resource.get("cloud.provider", "") in _AT_HAND:
        return region[:64]
    return ""


def _tier(told: str, facts: ServiceFacts) -> str:
    """Return the tier by a span, and where it says none by its service. Fast answers of Anthropic say `standard`."""
    if not told:
        return facts.tier or facts.speed or ""
    return told if tier_of(told) else facts.speed or told


def units_shown(reading: Reading) -> Units:
    """Return what is billed beside tokens as messages show it: server-side tools, images, text that was spoken."""
    said = reading.says(MESSAGES)
    if isinstance(said, str) and _SERVER_CALL in said:
        return _tools_in(said)
    made = reading.says("gen_ai.output.type")
    if made == "speech" and (reading.usage is None or not (reading.usage.input or reading.usage.output)):
        whole = reading.content is None or not reading.content.marks
        spoken = _characters(reading.says(_ASKED)) if whole else 0
        return (("character", spoken),) if spoken else ()
    if reading.usage is None and made == "image":
        count = reading.says("gen_ai.request.choice.count")
        # A request that does not say how many gets one.
        return (("image", count if type(count) is int and 0 < count <= 64 else 1),)
    return ()


def _tools_in(messages: str) -> Units:
    """Count the calls of tools that the provider ran and charges for."""
    counts: Counter[Unit] = Counter()
    for part in _parts(messages):
        if part.get("type") == "server_tool_call" and (unit := _unit_of(part)):
            counts[unit] += 1
    return tuple((unit, counts[unit]) for unit in UNITS if counts[unit])


def _characters(messages: object) -> int:
    """Count the characters of the texts in some messages."""
    texts = (part.get("content") for part in _parts(messages) if part.get("type") == "text")
    return sum(len(text) for text in texts if isinstance(text, str))


def _parts(messages: object) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of messages, which are JSON."""
    try:
        parsed = loads(messages) if isinstance(messages, str) and len(messages) <= MAX_JSON_CHARS else None
    except ValueError:
        return
    for message in parsed if isinstance(parsed, list) else ():
        parts = message.get("parts") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                yield part


def _unit_of(part: Mapping[str, Any]) -> Unit | None:
    details = part.get("server_tool_call")
    action = details.get("action") if isinstance(details, dict) else None
    if isinstance(action, dict) and action.get("type") in _OTHER_ACTIONS:
        return None
    name = part.get("name")
    return _TOOLS.get(name) if isinstance(name, str) else None
