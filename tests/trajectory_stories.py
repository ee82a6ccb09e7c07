"""Records for tests of trajectories, written like the tree they make.

    story = Story()
    agent = story.agent("planner", 0, 100)
    ask = story.llm(10, 20, below=agent)

Times are milliseconds. Names of spans are `kind:name`, so that a run reads as a list of names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.detail import Detail, Print, ToolRequest
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from spanledger.conventions.reading import StepKind
    from spanledger.conventions.run import Run

START_NS: Final = 1_700_000_000_000_000_000
MS: Final = 1_000_000
CALL_PICO: Final = 250_000_000


def trace(number: int) -> bytes:
    """Return a trace id."""
    return number.to_bytes(16, "big")


class Story:
    """Makes the records of one group. Span ids count up from 1."""

    def __init__(self) -> None:
        self.records: list[Step | Bridge] = []

    def step(
        self,
        kind: StepKind,
        name: str,
        start: float,
        end: float,
        *,
        below: Step | Bridge | None = None,
        parent_id: bytes | None = None,
        trace_id: bytes | None = None,
        **facts: Any,
    ) -> Step:
        """Add a GenAI span. It is in the trace of what it lies below."""
        made = Step(
            trace_id=trace_id or (below.trace_id if below is not None else trace(1)),
            span_id=(len(self.records) + 1).to_bytes(8, "big"),
            parent_span_id=parent_id if parent_id is not None else below.span_id if below is not None else b"",
            name=f"{kind}:{name}" if name else kind,
            start_ns=START_NS + int(start * MS),
            end_ns=START_NS + int(end * MS),
            service_name=facts.pop("service", "trip"),
            dialect="otel",
            kind=kind,
            operation=facts.pop("operation", ""),
            status="error" if facts.get("error_type") else "ok",
            error_type=facts.pop("error_type", ""),
            agent_name=facts.pop("agent_name", name if kind == "agent" else ""),
            provider="openai" if kind == "llm" else "",
            model=facts.pop("model", "gpt-4o" if kind == "llm" else ""),
            response_id=facts.pop("response_id", ""),
            tool_name=facts.pop("tool_name", name if kind == "tool" else ""),
            tool_call_id=facts.pop("tool_call_id", ""),
            workflow_name=name if kind == "workflow" else "",
            conversation_id=facts.pop("conversation_id", ""),
            user_id=facts.pop("user_id", ""),
            attempt=facts.pop("attempt", 1),
            usage=facts.pop("usage", Usage(100, 20) if kind == "llm" else None),
            cost=facts.pop("cost", Cost("priced", "", CALL_PICO, 200_000_000, 50_000_000) if kind == "llm" else None),
            time_to_first_chunk_s=None,
            **facts,
        )
        self.records.append(made)
        return made

    def agent(self, name: str, start: float, end: float, **facts: Any) -> Step:
        """Add an agent."""
        return self.step("agent", name, start, end, **facts)

    def llm(self, start: float, end: float, name: str = "", **facts: Any) -> Step:
        """Add a model call; `asks` are (id, name) of tools, `reads` ids of results."""
        asks, reads = facts.pop("asks", None), facts.pop("reads", ())
        if asks is not None or reads:
            wanted = tuple(ToolRequest(id_, tool, None) for id_, tool in asks or ())
            facts["detail"] = replace(
                facts.get("detail", Detail()),
                requests=wanted,
                answered=tuple(reads),
                after=start.__hash__(),
                answer=(1,),
            )
        if facts.get("error_type"):
            facts.setdefault("usage", None)
            facts.setdefault("cost", Cost("no_usage", "error"))
        return self.step("llm", name, start, end, **facts)

    def tool(self, name: str, start: float, end: float, **facts: Any) -> Step:
        """Add a tool call; `arguments` makes a print."""
        arguments = facts.pop("arguments", None)
        if arguments is not None:
            facts["detail"] = replace(facts.get("detail", Detail()), arguments=Print(arguments))
        return self.step("tool", name, start, end, **facts)

    def bridge(
        self,
        start: float,
        end: float,
        *,
        below: Step | Bridge | None = None,
        kind: int = 1,
        service: str = "trip",
        links: tuple[Step | Bridge, ...] = (),
        trace_id: bytes | None = None,
        failed: bool = False,
    ) -> Bridge:
        """Add a span that is no GenAI work."""
        made = Bridge(
            trace_id or (below.trace_id if below is not None else trace(1)),
            (len(self.records) + 1).to_bytes(8, "big"),
            below.span_id if below is not None else b"",
            kind,
            START_NS + int(start * MS),
            START_NS + int(end * MS),
            "bridge",
            service,
            failed,
            tuple((link.trace_id, link.span_id) for link in links),
        )
        self.records.append(made)
        return made

    def drop(self, *records: Step | Bridge) -> None:
        """Forget records: they never came."""
        self.records = [record for record in self.records if not any(record is one for one in records)]


def names(run: Run) -> list[str]:
    """Return the names of the steps of a run."""
    return [step.name for step in run.steps]


def outline(run: Run) -> list[str]:
    """Return the steps of a run, indented below their parents."""
    depth: list[int] = []
    lines = []
    for step in run.steps:
        depth.append(0 if step.parent is None else depth[step.parent] + 1)
        lines.append("  " * depth[-1] + step.name)
    return lines
