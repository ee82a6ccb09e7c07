"""What calls cost by the sidecar's own price list, worked out apart from any span."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from tests.corpus.captures import TrueCall
    from tests.corpus.compare import SeenCall

_PROVIDERS: Final = {"google": "gcp.gemini", "gemini": "gcp.gemini"}


@functools.cache
def engine() -> PriceEngine:
    """Return the prices that come with the sidecar."""
    return PriceEngine(shipped_catalogue())


def true_price(call: TrueCall) -> int | None:
    """Return what a call cost in truth, in pico-dollars; None for a model without a price."""
    usage = Usage(
        input=call.input,
        output=call.output,
        cache_read=call.cache_read,
        cache_write=call.cache_write,
        reasoning=call.reasoning,
    )
    provider = _PROVIDERS.get(call.provider, call.provider)
    priced = PricedCall(usage, provider, call.response_model, call.request_model)
    return engine().price(priced, call.start_ns).total


def price_of(seen: SeenCall) -> int | None:
    """Return what a call cost by what its own span says, in pico-dollars."""
    priced = PricedCall(Usage(**seen.tokens), seen.provider, seen.response_model, seen.request_model)
    return engine().price(priced, seen.start_ns).total
