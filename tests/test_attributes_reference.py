"""docs/attributes.md names every attribute and every value that is written on spans."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from spanledger.conventions import lookup
from spanledger.conventions.content.parse import Mark
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.prices import attributes
from spanledger.conventions.reading import Cost, CostStatus, StepKind
from spanledger.conventions.run import Completeness, Outcome
from spanledger.conventions.tokens import BASES
from spanledger.conventions.verdicts import FETCHED, REASONS, SUM_OF_CALLS

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "attributes.md").read_text()
ATTRIBUTES = set(re.findall(r"^\| `([a-z_.]+)(?:<name>)?` \|", REFERENCE.partition("\n## ")[0], re.MULTILINE))


def documented(heading: str) -> set[str]:
    """Return the values in the table below a heading."""
    section = REFERENCE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "written"),
    [
        ("cost.status", get_args(CostStatus)),
        ("usage.basis", {basis.partition("+")[0] for basis in BASES}),
        ("content.marks", get_args(Mark)),
        ("step.kind", get_args(StepKind)),
        ("dialect", {dialect.name for dialect in DIALECTS}),
        ("run.outcome", get_args(Outcome)),
        ("run.completeness", get_args(Completeness)),
    ],
)
def test_every_value_of_a_closed_set_is_documented(heading: str, written: Iterable[str]) -> None:
    """And none that is never written."""
    assert documented(heading) == set(written)


def test_every_attribute_is_documented() -> None:
    """Those of the normaliser, of costs, of runs and of loops."""
    cost = attributes.attributes_of(Cost("priced", "reported", 1, 1, 1, "ref"), computed=1)
    cost |= attributes.attributes_of(Cost("rollup"), below=1)
    sources = (source.read_text() for source in (ROOT / "conventions").rglob("*.py"))
    (rollups,) = (text.partition("def roll_up(")[2] for text in sources if "def roll_up(" in text)
    run = re.findall(r'"(spanledger\.run\.[a-z_]+)":', rollups.partition("\n\n\n")[0])
    normalizer = {lookup.DIALECT, lookup.STEP_KIND, lookup.BASIS, lookup.CONFLICTS, lookup.CONTENT_MARKS}
    normalizer.add(lookup.ORIGINAL)
    marks = re.findall(r'"(spanledger\.loop\.[a-z_]+)":', (ROOT / "processor/trajectory/annotation.py").read_text())
    assert {*cost, *run, *marks, *normalizer} == ATTRIBUTES


def test_every_reason_is_documented() -> None:
    """As the source has them; the list is in one place only because each is said where it is found."""
    sources = [*(ROOT / "conventions" / "prices").glob("*.py"), *(ROOT / "conventions" / "dialects").glob("*.py")]
    found = Reasons([*sources, ROOT / "processor" / "genai_pricing.py"]).collect()
    found |= {*REASONS.values(), SUM_OF_CALLS.reason, FETCHED.reason}
    assert {"unknown_model", "tier_at_list_price", "wraps_calls", "not_priced_by_token"} <= found
    assert documented("cost.reason") == found


class Reasons:
    """The texts that can become `Cost.reason`, followed through names, conditions and functions."""

    def __init__(self, sources: Iterable[Path]) -> None:
        self._trees = [ast.parse(source.read_text()) for source in sources]
        self._values: defaultdict[str, list[ast.expr]] = defaultdict(list)
        """Name of a variable, a field or a function -> what it may be."""
        for node in self._nodes():
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._values[target.id].append(node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self._values[node.target.id].append(node.value)
            elif isinstance(node, ast.FunctionDef):
                returned = [step.value for step in ast.walk(node) if isinstance(step, ast.Return) and step.value]
                self._values[node.name] += returned

    def collect(self) -> set[str]:
        """Return them all, without the empty one."""
        return {text for root in self._roots() for text in self._texts(root, frozenset())} - {""}

    def _nodes(self) -> Iterator[ast.AST]:
        for tree in self._trees:
            yield from ast.walk(tree)

    def _roots(self) -> Iterator[ast.expr]:
        for node in self._nodes():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in {"Cost", "Tariff"}:
                    yield from node.args[1:2]
                if node.func.id == "Listed":
                    yield from node.args[4:5]
                if node.func.id in {"Cost", "Tariff", "Choice", "replace"}:
                    yield from (keyword.value for keyword in node.keywords if keyword.arg == "reason")
            elif isinstance(node, ast.Assign):
                target = ast.unparse(node.targets[0])
                if target.endswith((".unbilled", "[PREFIX + 'reason']")):
                    yield node.value

    def _texts(self, node: ast.AST, above: frozenset[str]) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.IfExp):
            yield from self._texts(node.body, above)
            yield from self._texts(node.orelse, above)
        elif isinstance(node, ast.BoolOp | ast.Dict):
            for value in node.values:
                yield from self._texts(value, above)
        elif isinstance(node, ast.Subscript):
            yield from self._texts(node.value, above)
        else:
            called = node.func if isinstance(node, ast.Call) else node
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name not in above:
                for value in self._values.get(name, ()):
                    yield from self._texts(value, above | {name})
