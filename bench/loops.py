"""Precision and recall of the loop rules on recorded runs of agents, as in docs/loops.md.

    python bench/loops.py gpt-4o-airline.json[.gz|.xz] [--seed N]

The file holds a list of `{"traj": [chat messages], "reward": 0 or 1}`, as tau-bench records them
(https://github.com/sierra-research/tau-bench, `historical_trajectories/`). A run with reward 1 did what it was
to do, so a finding in it counts as false. Loops are put into copies of these runs; one counts as found when a
finding of its rule names a step of it.
"""

from __future__ import annotations

import gzip
import json
import lzma
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from spanledger.conventions.detail import Detail, Print, ToolRequest
from spanledger.conventions.details.history import MAX_LINKS, chained
from spanledger.conventions.details.prints import Printer, canonical
from spanledger.conventions.loops import Loop, LoopRules, find
from spanledger.conventions.step import Step
from spanledger.conventions.usage import Usage

SECOND = 10**9
START_NS = 1_715_778_000 * SECOND
PRINTER = Printer(b"bench")
VIEWS = ("tool spans", "client only", "no content")
"""Spans of models and tools; of models alone; of both, without content."""
SUFFIX = "Please note that this concerns the reservation mentioned above and that no other changes were requested. "

Message = dict[str, Any]


@dataclass(frozen=True)
class Planted:
    """A run with a loop in it."""

    rule: str
    times: int
    messages: list[Message]
    at: range
    """The messages that are the loop."""


def load(path: Path) -> list[dict[str, Any]]:
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)
    runs: list[dict[str, Any]] = json.loads(unpack(path.read_bytes()))
    return runs


# Messages to steps


def steps_of(messages: Sequence[Message], view: str, seed: int = 0) -> tuple[list[Step], list[int]]:
    """Return the steps of a run, and the message that each is."""
    made = _Steps(view, random.Random(seed))
    for number, message in enumerate(messages):
        made.take(number, message)
    return made.steps, made.messages


class _Steps:
    def __init__(self, view: str, draw: random.Random) -> None:
        self.steps: list[Step] = []
        self.messages: list[int] = []
        self._content = view != "no content"
        self._tools = view != "client only"
        self._draw = draw
        self._now_ns = START_NS
        self._chain: list[int] = []
        self._last = ""
        self._asked: dict[str, Any] = {}
        self._results: list[tuple[str, int, int]] = []
        """What came back since the last answer."""
        self._chars = 0

    def take(self, number: int, message: Message) -> None:
        role = message["role"]
        text = message.get("content") or ""
        if role == "assistant":
            self._model(number, message, text)
        elif role == "tool":
            if self._tools:
                self._tool(number, message, text)
            said = canonical(_parsed(text))
            self._results.append((message.get("tool_call_id", ""), PRINTER.digest(said), len(said)))
            self._say(("tool", message.get("tool_call_id"), text))
        elif role == "user":
            self._now_ns += int(self._draw.uniform(4, 20) * SECOND)
            self._say(("user", text))
        self._last = role if role != "system" else self._last
        self._chars += len(text)

    def _say(self, part: object) -> None:
        digest = PRINTER.digest(canonical(json.dumps(part)))
        self._chain += chained(self._chain[-1] if self._chain else 0, [digest])

    def _model(self, number: int, message: Message, text: str) -> None:
        history = tuple(self._chain[-MAX_LINKS:])
        asked = message.get("tool_calls") or ()
        failed = bool(message.get("failed"))
        for one in asked:
            self._asked[one["id"]] = one
        if not failed:
            self._say(("assistant", text, [one["function"] for one in asked]))
        detail = Detail()
        if self._content:
            detail = Detail(
                history=history,
                after=None if failed else self._chain[-1],
                asks_user=self._last == "user",
                requests=tuple(
                    ToolRequest(one["id"], one["function"]["name"], _arguments(one).digest) for one in asked
                ),
                results=tuple(self._results),
                output=PRINTER.print(text) if text else None,
            )
        if not failed:
            self._results = []
        answer = len(text) + sum(len(json.dumps(one)) for one in asked)
        self._add(number, "llm", self._draw.uniform(0.8, 4), detail, failed=failed, error="429" if failed else "",
                  usage=None if failed else Usage(self._chars // 4, answer // 4))  # fmt: skip

    def _tool(self, number: int, message: Message, text: str) -> None:
        asked = self._asked.get(message.get("tool_call_id", ""))
        detail = Detail()
        if self._content:
            detail = Detail(arguments=_arguments(asked) if asked else None, result=PRINTER.print(_parsed(text)))
        failed = text.startswith("Error")
        self._add(number, "tool", self._draw.uniform(0.05, 0.6), detail, failed=failed, error="ToolError" * failed,
                  tool_name=message.get("name") or "tool", tool_call_id=message.get("tool_call_id") or "")  # fmt: skip

    def _add(self, number: int, kind: str, seconds: float, detail: Detail, failed: bool, error: str,
             **facts: Any) -> None:  # fmt: skip
        end_ns = self._now_ns + int(seconds * SECOND)
        step = replace(
            STEP, span_id=len(self.steps).to_bytes(8, "big"), kind=kind, start_ns=self._now_ns, end_ns=end_ns,
            detail=detail, status="error" if failed else "ok", error_type=error, **facts,
        )  # fmt: skip
        self.steps.append(step)
        self.messages.append(number)
        self._now_ns = end_ns + int(self._draw.uniform(0.001, 0.05) * SECOND)


STEP = Step(
    trace_id=bytes(16), span_id=bytes(8), parent_span_id=b"agent   ", name="", start_ns=0, end_ns=0,
    service_name="airline", dialect="otel", kind="llm", operation="", status="ok", error_type="",
    agent_name="agent", provider="openai", model="gpt-4o", response_id="", tool_name="", tool_call_id="",
    workflow_name="", conversation_id="", user_id="", attempt=1, usage=None, cost=None, time_to_first_chunk_s=None,
)  # fmt: skip


def _arguments(call: dict[str, Any]) -> Print:
    return PRINTER.print(_parsed(call["function"]["arguments"]))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


# Loops to plant


def _call(name: str, arguments: Any, result: str, number: int) -> list[Message]:
    call = {"id": f"planted_{number}", "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)}}  # fmt: skip
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "name": name, "tool_call_id": call["id"], "content": result},
    ]


def _calls(messages: Sequence[Message]) -> list[tuple[int, str, Any, str]]:
    """Return place, name, arguments and result of each tool call that succeeded."""
    found = []
    for number, message in enumerate(messages[:-1]):
        after = messages[number + 1]
        for one in (message.get("tool_calls") or ())[:1]:
            if after["role"] == "tool" and not (after.get("content") or "").startswith("Error"):
                function = one["function"]
                found.append((number, function["name"], _parsed(function["arguments"]), after.get("content") or ""))
    return found


def _exact(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    return [one for n in range(times) for one in _call(*call[1:], n)]


def _near(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    return [one for n in range(times) for one in _call("think", {"thought": f"{SUFFIX * 4} Try {n}."}, call[3], n)]


def _cycle(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    period = draw.randint(2, 4)
    found: list[Message] = []
    for n in range(times):
        for place in range(period):
            found += _call(f"{call[1]}_{place}", call[2], f"{place}: {call[3]}", n * period + place)
    return found


def _error(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    return [one for n in range(times) for one in _call(call[1], {"id": f"X{n}"}, "Error: not found", n)]


def _stuck(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    result = json.dumps({"results": [], "message": SUFFIX})
    return [one for n in range(times) for one in _call("search_again", {"page": n}, result, n)]


def _says(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    return [{"role": "assistant", "content": f"{SUFFIX * 3} This is attempt {n}."} for n in range(times)]


def _storm(draw: random.Random, call: tuple[int, str, Any, str], times: int) -> list[Message]:
    return [{"role": "assistant", "content": None, "failed": True} for _ in range(times)]


Maker = Callable[[random.Random, tuple[int, str, Any, str], int], list[Message]]
PLANTS: dict[str, Maker] = {
    "exact_repeat": _exact, "near_repeat": _near, "cycle": _cycle, "same_error": _error, "no_progress": _stuck,
    "output_repeat": _says, "retry_storm": _storm,
}  # fmt: skip
TIMES = (2, 3, 4, 5, 8, 12)
LOWER = (2, 3, 4)


def planted(runs: Sequence[Sequence[Message]], draw: random.Random) -> Iterator[Planted]:
    """Yield each kind of loop in each run that has a tool call, after a call that is drawn."""
    for messages in runs:
        calls = _calls(messages)
        if not calls:
            continue
        for rule, make in PLANTS.items():
            for times in TIMES:
                call = draw.choice(calls)
                at = call[0] + 2
                loop = make(draw, call, times)
                yield Planted(rule, times, [*messages[:at], *loop, *messages[at:]], range(at, at + len(loop)))


# Counting


def false_findings(runs: Sequence[Sequence[Message]], view: str, rules: LoopRules) -> list[tuple[int, Loop]]:
    """Return the findings in runs as they are, by number of the run."""
    return [(number, loop) for number, run in enumerate(runs) for loop in find(steps_of(run, view)[0], rules)]


def is_found(case: Planted, view: str, rules: LoopRules) -> tuple[bool, int]:
    """Tell whether a planted loop is found, and how many findings have no step of it."""
    steps, messages = steps_of(case.messages, view)
    inside = {(s.trace_id, s.span_id) for s, number in zip(steps, messages, strict=True) if number in case.at}
    loops = find(steps, rules)
    hit = any(loop.rule == case.rule and not inside.isdisjoint(loop.spans) for loop in loops)
    return hit, sum(inside.isdisjoint(loop.spans) for loop in loops)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    seed = int(arguments[arguments.index("--seed") + 1]) if "--seed" in arguments else 1
    rules = LoopRules()
    runs = load(Path(arguments[0]))
    good = [run["traj"] for run in runs if run["reward"] == 1]
    bad = [run["traj"] for run in runs if run["reward"] != 1]
    print(f"{len(good)} successful runs, {len(bad)} others; seed {seed}\n")
    print("| spans | findings in successful runs | runs with a finding among the others |\n|---|---|---|")
    for view in VIEWS:
        wrong = false_findings(good, view, rules)
        others = false_findings(bad, view, rules)
        print(f"| {view} | {len(wrong)} {_by_rule(wrong)}| {len({n for n, _ in others})} {_by_rule(others)}|")
    print(f"\nFindings in successful runs (tool spans) at lower thresholds\n\n| rule | {' | '.join(map(str, LOWER))} |")
    print(f"|---|{'---|' * len(LOWER)}")
    for field in fields(rules)[: len(PLANTS)]:
        row = (_at_lower(good, rules, field.name, count) for count in LOWER)
        print(f"| {field.name} | {' | '.join(row)} |")
    cases = list(planted(good, random.Random(seed)))
    for view in VIEWS:
        found: Counter[tuple[str, int]] = Counter()
        total: Counter[tuple[str, int]] = Counter()
        stray = 0
        for case in cases:
            hit, elsewhere = is_found(case, view, rules)
            found[case.rule, case.times] += hit
            total[case.rule, case.times] += 1
            stray += elsewhere
        print(f"\n{view}: {len(cases)} planted loops, {stray} findings without a step of them\n")
        print(f"| planted | {' | '.join(f'{times}×' for times in TIMES)} |\n|---|{'---|' * len(TIMES)}")
        for rule in PLANTS:
            row = (f"{found[rule, times] / total[rule, times]:.0%}" for times in TIMES)
            print(f"| {rule} | {' | '.join(row)} |")
    return 0


def _at_lower(runs: Sequence[Sequence[Message]], rules: LoopRules, name: str, count: int) -> str:
    """Return how many findings there are when one threshold is lower than it is; "" when it would not be."""
    if count >= getattr(rules, name):
        return ""
    return str(len(false_findings(runs, "tool spans", replace(rules, **{name: count}))))


def _by_rule(found: Sequence[tuple[int, Loop]]) -> str:
    counts = Counter(loop.rule for _, loop in found)
    return f"({', '.join(f'{rule} {count}' for rule, count in sorted(counts.items()))}) " if counts else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
