"""Sidecars for the tests here: with a queue on disk, ended in any case, and what they counted."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from tests.sidecar import Sidecar, to_backend

if TYPE_CHECKING:
    from collections.abc import Iterator


def stored(endpoint: str, *, queue: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Return an `otlp` exporter whose queue is on disk."""
    return to_backend(endpoint, sending_queue={"storage": "file_storage", **(queue or {})}, **settings)


def own_address() -> str:
    """Return a loopback address that nobody else uses: a port is still free when a killed process comes back."""
    number = os.getpid()
    return f"127.{100 + number // 64_516 % 100}.{number // 254 % 254 + 1}.{number % 254 + 1}"


@contextlib.contextmanager
def ending(sidecar: Sidecar) -> Iterator[Sidecar]:
    """End the process at the end of the block, however that ends."""
    try:
        yield sidecar
    finally:
        if hasattr(sidecar, "process"):
            sidecar.process.kill()


def dropped(sidecar: Sidecar) -> dict[str, int]:
    """Return what the sidecar has counted as dropped, by reason."""
    return {
        dict(labels)["reason"]: int(value)
        for (name, labels), value in sidecar.scrape().items()
        if name == "spanledger_dropped_items_total" and value
    }


def queue_bytes(sidecar: Sidecar) -> float:
    """Return what queues have on disk."""
    return sidecar.total("spanledger_queue_storage_bytes")
