"""Precision and recall of the loop rules on runs whose own orchestrator says each round whether it is in a loop.

    python bench/ledgers.py DIRECTORY

DIRECTORY is `Who&When/Hand-Crafted` of https://github.com/ag2ai/Agents_Failure_Attribution (MIT licence): 58 runs of
Magentic-One on GAIA and AssistantBench, all of which failed. Before each of its turns the orchestrator, a model, fills
in a ledger with `is_in_loop: {"answer": true | false}`. That is a model's opinion, and of the round before.

What it asks an agent to do becomes a model call, what the agent did a tool call: of a web surfer the first sentence
is the action (`I clicked 'View'`), and the page is the result. A run counts as found when a rule has a finding in it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loops import PRINTER, SECOND, START_NS, STEP

from spanledger.conventions.detail import Detail, ToolRequest
from spanledger.conventions.loops import LoopRules, find
from spanledger.conventions.step import Step

LOWER = LoopRules(exact_repeat=2, near_repeat=3, cycle_rounds=2, same_error=2, no_progress=3, output_repeat=2)
SETTINGS = {
    "found": LoopRules(),
    "one lower": LOWER,
    "all at 2, likeness 70 %": replace(LOWER, near_repeat=2, no_progress=2, similarity=0.7),
}
_LOOP = re.compile(r'"is_in_loop":\s*\{.*?"answer":\s*(true|false)', re.DOTALL)
_ASKS = re.compile(r"Orchestrator \(-> (\w+)\)")
_ACTION = re.compile(r"I (\w+) (.*?)(?:\.\s|\n|$)", re.DOTALL)


@dataclass(frozen=True)
class Recording:
    """One run: its steps, and in how many rounds the orchestrator said that it was in a loop."""

    name: str
    steps: list[Step]
    rounds: int
    in_loop: int


def read(directory: Path) -> Iterator[Recording]:
    """Yield the runs of a directory."""
    for path in sorted(directory.glob("*.json"), key=lambda one: int(one.stem)):
        history: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["history"]
        answers = [answer for message in history for answer in _LOOP.findall(message["content"])]
        yield Recording(path.stem, list(steps_of(history)), len(answers), answers.count("true"))


def steps_of(history: list[dict[str, Any]]) -> Iterator[Step]:
    """Yield a model call for each instruction, and a tool call for each thing that an agent did."""
    asked = ""
    for number, message in enumerate(history, 1):
        role, text = message["role"], message["content"]
        now_ns = START_NS + number * 5 * SECOND
        made = replace(STEP, span_id=number.to_bytes(8, "big"), start_ns=now_ns, end_ns=now_ns + 2 * SECOND)
        if (to := _ASKS.match(role)) is not None:
            asked = f"call_{number}"
            request = ToolRequest(asked, to[1], PRINTER.digest(text))
            yield replace(made, detail=Detail(requests=(request,), output=PRINTER.print(text)))
        elif role not in ("human", "Orchestrator (thought)") and not role.startswith("Orchestrator"):
            action = _ACTION.match(text)
            name, said = (action[1], action[2]) if action is not None else (role, text)
            result = text[action.end() :] if action is not None else text
            yield replace(
                made, kind="tool", tool_name=name, tool_call_id=asked,
                detail=Detail(arguments=PRINTER.print(said), result=PRINTER.print(result)),
            )  # fmt: skip


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    runs = list(read(Path(arguments[0])))
    print(f"{len(runs)} runs, {sum(run.rounds for run in runs)} rounds, {sum(run.in_loop for run in runs)} in a loop\n")
    print(f"| rounds said to be in a loop | runs | {' | '.join(SETTINGS)} |\n|---|---|{'---|' * len(SETTINGS)}")
    for title, least, most in (("none", 0, 0), ("1 or 2", 1, 2), ("3 or more", 3, 10**6)):
        some = [run for run in runs if least <= run.in_loop <= most]
        found = [sum(bool(find(run.steps, rules)) for run in some) for rules in SETTINGS.values()]
        print(f"| {title} | {len(some)} | {' | '.join(map(str, found))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
