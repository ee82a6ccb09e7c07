"""Small runs for the loop rules: model calls and tool calls, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from spanledger.conventions.detail import Detail, Print, ToolRequest
from spanledger.conventions.details.prints import Printer
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Step
from spanledger.conventions.usage import Usage
from tests.steps import CALL, call, tool

PRINTER: Final = Printer(b"loops")
SECOND: Final = 10**9
CENT: Final = 10**10
"""Pico-dollars."""


@dataclass
class Story:
    """What a run did so far. Each model call costs a cent and has 120 tokens."""

    steps: list[Step] = field(default_factory=list)
    now_ns: int = CALL.start_ns
    ask: bool = True
    """Each tool is asked for by a model call of its own."""

    def wait(self, seconds: float) -> Story:
        """Let time pass."""
        self.now_ns += int(seconds * SECOND)
        return self

    def model(self, **changes: Any) -> Story:
        """Ask the model; takes a second."""
        facts = {"span_id": self._id(), "usage": Usage(100, 20), "cost": Cost("priced", total=CENT), "detail": Detail()}
        return self._add(call(**{**facts, **changes}), 1.0)

    def tool(self, name: str, arguments: Any = None, result: Any = None, error: str = "", **changes: Any) -> Story:
        """Call a tool; takes half a second."""
        if self.ask:
            self.model()
        detail = Detail(arguments=_print(arguments), result=_print(result))
        status = "error" if error else "ok"
        return self._add(tool(tool_name=name, status=status, error_type=error, detail=detail, **changes), 0.5)

    def asks(self, name: str, arguments: Any = None, **changes: Any) -> Story:
        """Ask the model, which asks for a tool that no span will tell of."""
        printed = _print(arguments)
        digest = printed.digest if printed is not None else None
        return self.model(detail=Detail(requests=(ToolRequest(f"call_{len(self.steps)}", name, digest),)), **changes)

    def _add(self, step: Step, seconds: float) -> Story:
        end_ns = self.now_ns + int(seconds * SECOND)
        self.steps.append(replace(step, start_ns=self.now_ns, end_ns=end_ns))
        self.now_ns = end_ns
        return self

    def _id(self) -> bytes:
        return (len(self.steps) + 1).to_bytes(8, "little")


def _print(value: Any) -> Print | None:
    return None if value is None else PRINTER.print(value)
