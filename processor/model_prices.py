"""Shows what tokens of the models in use cost, so that a dashboard can ask what another model would have cost.

The prices are those of a plain call today: standard tier, short context, no fee beside tokens. Operators' own prices
and contracts are in them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.metrics import TOKEN_TYPE
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanledger.conventions.prices.engine import PricedCall, PriceEngine
    from spanledger.processor.metric_store import MetricStore

_MANY: Final = 1000
"""Tokens that are priced at once: amounts are whole pico-dollars, and a long context would cost more."""
_USAGES: Final[Mapping[str, Usage]] = {
    "input": Usage(input=_MANY, output=0),
    "cache_read": Usage(input=_MANY, output=0, cache_read=_MANY),
    "cache_write": Usage(input=_MANY, output=0, cache_write=_MANY),
    "output": Usage(input=0, output=_MANY),
    "reasoning": Usage(input=0, output=_MANY, reasoning=_MANY),
}
_DAY_NS: Final = 86_400 * 10**9
_MAX_SHOWN: Final = 4096


def token_prices(engine: PriceEngine, call: PricedCall, at_ns: int) -> dict[str, float]:
    """Return US dollars for one token by `token_type`, for a plain call of the same names; those that are known."""
    found = {}
    for token_type in TOKEN_TYPE.values:
        plain = replace(call, usage=_USAGES[token_type], tier="", units=(), one_hour_cache=False)
        cost = engine.price(plain, at_ns)
        part = cost.output if token_type in {"output", "reasoning"} else cost.input
        if cost.status == "priced" and part is not None:
            found[token_type] = part / _MANY / 1e12
    return found


class ModelPrices:
    """Remembers which models are shown at their price of the day."""

    def __init__(self, table: MetricStore) -> None:
        self._prices = table.gauge("spanledger_model_price_usd")
        self._shown: dict[tuple[str, str], tuple[PriceEngine, int]] = {}

    def show(self, engine: PriceEngine, call: PricedCall, model: tuple[str, str], now_ns: int) -> None:
        """Show the prices of `model` (provider, name), once a day and again when prices change."""
        shown, day = self._shown.get(model, (None, 0))
        if shown is engine and day == now_ns // _DAY_NS:
            return
        if len(self._shown) >= _MAX_SHOWN:
            self._shown.clear()
        self._shown[model] = engine, now_ns // _DAY_NS
        for token_type, usd in token_prices(engine, call, now_ns).items():
            self._prices.set((*model, token_type), usd)
