"""Who we are, on each request that goes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spanledger.exporters.answer import Retryable

if TYPE_CHECKING:
    from spanledger.processor.auth import ClientAuth


async def identity(auth: ClientAuth | None) -> Mapping[str, str]:
    """Return the headers that `auth` adds. A file with a secret that cannot be read now is waited for."""
    if auth is None:
        return {}
    try:
        return await auth.headers()
    except (OSError, ValueError) as error:
        raise Retryable(f"auth: {error}", "auth") from error
