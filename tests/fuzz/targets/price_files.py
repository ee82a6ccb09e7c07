"""Override files of prices, and the two price lists where they come from files."""

from __future__ import annotations

import contextlib
import json

from spanledger.conventions.prices.catalogue import read_catalogue, shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.litellm_data import cut
from spanledger.conventions.prices.override_file import BadPrices, read_book
from spanledger.conventions.prices.second_catalogue import read_second
from spanledger.conventions.usage import Usage
from tests.fuzz.draw import Draw

_CATALOGUE = shipped_catalogue()
_CALLS = tuple(
    PricedCall(Usage(input=tokens, output=7, cache_read=tokens // 2), provider, model)
    for tokens in (0, 1000, 10**12)
    for provider, model in (("openai", "gpt-4o"), ("acme", "x"), (None, "claude-sonnet-4-5"), ("azure", "prod"))
)


def fuzz(data: bytes) -> None:
    """Check that a file is taken or refused with a sentence, and that what is taken prices no call below zero."""
    draw = Draw(data)
    kind = draw.number(3)
    text = draw.rest()
    if kind == 1:
        with contextlib.suppress(BadPrices):
            read_catalogue(text, "list.json", "")
    elif kind == 2:
        with contextlib.suppress(BadPrices):
            read_second(text, "list.json")
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(document := json.loads(text), dict):
                cut(document)
    else:
        try:
            engine = PriceEngine(_CATALOGUE, (read_book(text.decode("utf-8", "replace"), "prices.yaml"),))
        except BadPrices:
            return
        for call in _CALLS:
            cost = engine.price(call, 1_700_000_000 * 10**9)
            assert cost.total is None or cost.total >= 0, cost
