"""Play captures through a running sidecar, as their senders did, and look at both of its ends."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from prometheus_client.parser import text_string_to_metric_families

from spanledger.processor.batch import SIGNALS, Outline
from tests.backend import SERVICES, Backend, Received
from tests.corpus.compare import MODEL
from tests.sidecar import Sidecar, running, to_backend

if TYPE_CHECKING:
    from pathlib import Path

    from spanledger.processor.batch import Signal
    from tests.corpus.captures import Capture

_COUNTED: Final = re.compile(r"(?:# TYPE )?spanledger_(?:llm_(?:calls|tokens|cost_usd)|spans|log_reports)_total\b")

AT_ONCE: Final = "connectors::genai_metrics::agent_wait=0s"
"""For numbers right after a request: above the calls of a process that crashed no span will ever come."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came out for one capture."""

    spans: tuple[Received, ...]
    requests: Mapping[Signal, tuple[bytes, ...]]
    """What the backend received, by signal."""
    numbers: Mapping[str, float]
    """By how much `/metrics` grew: `calls`, `failed_calls`, each `token_type`, `cost_usd`, `spans`, `reports`, and the
    calls of each model that succeeded, with `MODEL` before its name."""


class Player:
    """A running sidecar with a backend behind it. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._directory = directory

    def __enter__(self) -> Player:
        self._backend = self._stack.enter_context(Backend())
        self._sidecar = self._stack.enter_context(
            running(self._directory, {"otlp": to_backend(self._backend.endpoint)}, [AT_ONCE])
        )
        self._channel = self._stack.enter_context(grpc.insecure_channel(self._sidecar.grpc))
        self._before = _numbers(self._sidecar)
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def play(self, capture: Capture) -> Played:
        """Send a capture over gRPC, signal by signal; return what came out."""
        self._backend.clear()
        for signal in SIGNALS:
            sent = sum(self._send(capture, signal, request) for request in capture.requests(signal))
            self._backend.wait(lambda seen, signal=signal, sent=sent: len(seen.requests(signal)) >= sent)
        spans = tuple(self._backend.spans())
        after = self._counted(len(spans))
        grown = {name: value - self._before[name] for name, value in after.items()}
        self._before = after
        requests = {signal: tuple(self._backend.requests(signal)) for signal in SIGNALS}
        return Played(spans, requests, grown)

    def _counted(self, spans: int) -> Counter[str]:
        """Return the numbers when all is counted: the rest of a large request is, a moment after its answer."""
        seen = [_numbers(self._sidecar)]

        def settled() -> bool:
            seen.append(_numbers(self._sidecar))
            grown = seen[-1] - self._before
            return seen[-2] == seen[-1] and (grown["spans"] >= spans or grown["reports"] > 0)

        self._sidecar.process.wait_until(settled)
        return seen[-1]

    def _send(self, capture: Capture, signal: Signal, request: bytes) -> bool:
        service, _, response = SERVICES[signal]
        export = self._channel.unary_unary(f"/{service}/Export", response_deserializer=response.FromString)
        answer: Any = export(request, timeout=30.0)
        assert not answer.HasField("partial_success"), f"{capture}: {answer.partial_success}"
        # A request without an item is answered OK and goes nowhere.
        return any(scope.items for resource in Outline.FromString(request).resources for scope in resource.scopes)


def _numbers(sidecar: Sidecar) -> Counter[str]:
    lines = [line for line in sidecar.scrape_text().splitlines(keepends=True) if _COUNTED.match(line)]
    numbers: Counter[str] = Counter()
    for family in text_string_to_metric_families("".join(lines)):
        for name, labels, value, *_ in family.samples:
            numbers[_key(name, labels)] += value  # type: ignore[assignment]
            if name == "spanledger_llm_calls_total" and labels["status"] == "ok":
                numbers[MODEL + labels["model"]] += value  # type: ignore[assignment]
    return numbers


def _key(name: str, labels: Mapping[str, str]) -> str:
    if name == "spanledger_llm_calls_total":
        return "calls" if labels["status"] == "ok" else "failed_calls"
    if name == "spanledger_llm_tokens_total":
        return labels["token_type"]
    return {"spanledger_llm_cost_usd_total": "cost_usd", "spanledger_log_reports_total": "reports"}.get(name, "spans")
