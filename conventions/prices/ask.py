"""A model call as prices are looked up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spanledger.conventions.prices.sellers import role_of, squash

PROVISIONED: Final = "provisioned"
"""The tier of calls to capacity that is paid by the hour."""

_STANDARD: Final = frozenset({"", "standard", "default", "auto", "on_demand", "standard_only", "none"})


@dataclass(frozen=True, slots=True)
class Ask:
    """A call as it is looked up."""

    provider: str
    model: str
    host: str
    region: str
    tier: str
    """By our names; "" for the standard one."""
    assumed_region: str = ""
    """Where it goes if nothing else tells."""


def tier_of(text: str) -> str:
    """Return the tier by our names; "" for the standard one."""
    tier = text.strip().lower().removeprefix("service_tier_").removeprefix("on_demand_")
    if tier in _STANDARD:
        return ""
    return PROVISIONED if tier.startswith(PROVISIONED) else tier[:32]


def same_provider(wanted: str, provider: str) -> bool:
    """Tell whether a row for provider `wanted` ("" for any) is about `provider`, in any spelling."""
    if not wanted or squash(wanted) == squash(provider):
        return True
    seller = role_of(wanted)[1]
    return bool(seller) and seller in (provider, role_of(provider)[1])
