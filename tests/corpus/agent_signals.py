"""`python -m tests.corpus.agent_signals`: the table of docs/coding-agents.md, each signal against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.coding_agents import Outcome, Sent, play
from tests.corpus.captures import FAMILIES, packed

if TYPE_CHECKING:
    from tests.corpus.captures import Capture

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "coding-agents.md"
BEGIN: Final = "<!-- written by python -m tests.corpus.agent_signals -->\n"
END: Final = "<!-- end -->\n"

STACKS: Final = FAMILIES["Coding agents"]


def spans(capture: Capture) -> list[Sent]:
    """Return the requests of spans."""
    return [("traces", data) for data in capture.requests("traces")]


def records(capture: Capture) -> list[Sent]:
    """Return the requests of log records."""
    return [("logs", data) for data in capture.requests("logs")]


def untraced(capture: Capture) -> list[Sent]:
    """Return log records as they are where no spans are made."""
    sent: list[Sent] = []
    for data in capture.requests("logs"):
        request = ExportLogsServiceRequest.FromString(data)
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    record.ClearField("trace_id")
                    record.ClearField("span_id")
        sent.append(("logs", request.SerializeToString()))
    return sent


_BARE: Final = frozenset(
    {"gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.agent.description", "gen_ai.conversation.id"}
)


def bare(capture: Capture) -> list[Sent]:
    """Return spans as Gemini CLI sends them by default: they say what kind of work they are, and little else."""
    sent: list[Sent] = []
    for data in capture.requests("traces"):
        request = ExportTraceServiceRequest.FromString(data)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    kept = [pair for pair in span.attributes if pair.key in _BARE]
                    span.ClearField("attributes")
                    span.attributes.extend(kept)
        sent.append(("traces", request.SerializeToString()))
    return sent


WAYS: Final[Mapping[str, Callable[[Capture], list[Sent]]]] = {
    "spans": spans,
    "log records": untraced,
    "log records within traces": records,
    "both, records first": lambda capture: [*records(capture), *spans(capture)],
    "both, spans first": lambda capture: [*spans(capture), *records(capture)],
}

FIELDS: Final = ("calls", "failed calls", "input", "output", "cache read", "cache write", "reasoning", "tools", "runs")

WITHHELD: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    ("js/claude-code", ""): {
        "reasoning": "tells no reasoning tokens",
        "runs": "the result of a sub-agent in the background comes back as a turn of its own",
    },
    ("js/codex-cli", "spans"): {"failed calls": "makes no span that says a request was refused"},
    ("js/gemini-cli", "spans"): {
        "output": "leaves thoughts out of the output",
        "cache read": "has no attribute for the cache",
        "reasoning": "has no attribute for thoughts",
    },
}
"""(stack, way; "" for all ways) -> field -> why it is not told."""


def true(capture: Capture) -> dict[str, int]:
    """Return what happened."""
    totals = capture.truth["totals"]
    return {
        "calls": totals["llm_calls"] - totals["llm_failures"],
        "failed calls": totals["llm_failures"],
        "input": totals["input_tokens"],
        "output": totals["output_tokens"],
        "cache read": totals["cached_tokens"],
        "cache write": totals["cache_write_tokens"],
        "reasoning": totals["reasoning_tokens"],
        "tools": len(capture.truth["tools_requested_by_model"]),
        "runs": len(capture.truth["runs"]),
    }


def seen(outcome: Outcome) -> dict[str, int]:
    """Return what was counted; runs have to say the same as the metrics."""
    assert outcome.totals("llm_calls") == outcome.calls + outcome.failed
    assert outcome.totals("input_tokens") == outcome.input
    assert outcome.totals("output_tokens") == outcome.output
    assert outcome.totals("tool_calls") == outcome.tools.total()
    return {
        "calls": outcome.calls,
        "failed calls": outcome.failed,
        "input": outcome.input,
        "output": outcome.output,
        "cache read": outcome.tokens["cache_read"],
        "cache write": outcome.tokens["cache_write"],
        "reasoning": outcome.tokens["reasoning"],
        "tools": outcome.tools.total(),
        "runs": len(outcome.runs),
    }


def captures(stack: str) -> list[Capture]:
    """Return the captures of a stack that sent anything."""
    return [capture for capture in packed(stack) if spans(capture) or records(capture)]


def compare(stack: str, way: str) -> dict[str, tuple[int, int]]:
    """Return field -> captures in which it is true, of how many."""
    found = dict.fromkeys(FIELDS, (0, 0))
    for capture in captures(stack):
        told, truth = seen(play(WAYS[way](capture))), true(capture)
        for name in FIELDS:
            right, of = found[name]
            found[name] = right + (told[name] == truth[name]), of + 1
    return found


def reason(stack: str, way: str, name: str) -> str | None:
    """Return why a field is not told, where that is known."""
    return WITHHELD.get((stack, way), {}).get(name) or WITHHELD.get((stack, ""), {}).get(name)


def rows(stack: str) -> list[str]:
    """Return the rows of the table for one stack."""
    made = []
    for way in WAYS:
        cells = [f"{right}/{of}" for right, of in compare(stack, way).values()]
        made.append(f"| {stack} | {way} | {' | '.join(cells)} |")
    return made


def reasons() -> Sequence[str]:
    """Return the reasons as a list."""
    return [
        f"- {stack}{', ' + way if way else ''}: {name}: {why}"
        for (stack, way), fields in WITHHELD.items()
        for name, why in fields.items()
    ]


def table() -> str:
    """Return what is written."""
    head = ["| recording | sent | " + " | ".join(FIELDS) + " |", "|---" * (len(FIELDS) + 2) + "|"]
    body = [row for stack in STACKS for row in rows(stack)]
    return "\n".join([*head, *body, "", "Where a fact is missing, the agent does not tell it:", "", *reasons(), ""])


def main() -> None:
    """Write the table into the page."""
    page = DOCUMENT.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
