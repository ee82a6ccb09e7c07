"""Which browsers may send, by the rules of https://fetch.spec.whatwg.org/#http-cors-protocol.

`allowed_origins` may hold one `*` in each entry, `allowed_headers` may be `*`, as in the Collector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanledger.receivers.otlp.config import CorsConfig

_SIMPLE_HEADERS = ("accept", "accept-language", "content-type", "content-language")


def answer_headers(config: CorsConfig | None, origin: str | None) -> dict[str, str]:
    """Return the headers that let a page from `origin` read the answer; none when it may not."""
    if config is None or origin is None or not _allowed(config, origin):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}


def preflight_headers(config: CorsConfig | None, request: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that answer an OPTIONS request; none when the request is not allowed."""
    headers = answer_headers(config, request.get("Origin"))
    if config is None or not headers or request.get("Access-Control-Request-Method", "").upper() != "POST":
        return {}
    wanted = [name.strip() for name in request.get("Access-Control-Request-Headers", "").split(",") if name.strip()]
    known = {*_SIMPLE_HEADERS, *(name.lower() for name in config.allowed_headers)}
    if "*" not in known and any(name.lower() not in known for name in wanted):
        return {}
    headers["Access-Control-Allow-Methods"] = "POST"
    if wanted:
        headers["Access-Control-Allow-Headers"] = ", ".join(wanted)
    if config.max_age:
        headers["Access-Control-Max-Age"] = str(config.max_age)
    return headers


def _allowed(config: CorsConfig, origin: str) -> bool:
    for allowed in config.allowed_origins:
        before, star, after = allowed.lower().partition("*")
        given = origin.lower()
        if given == allowed.lower() or (
            star and len(given) >= len(before) + len(after) and given.startswith(before) and given.endswith(after)
        ):
            return True
    return False
