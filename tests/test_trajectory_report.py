"""docs/trajectories.md against the runs that are built of the packed recordings."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.corpus import withheld
from tests.corpus.captures import FAMILIES, STACKS, packed
from tests.corpus.evidence import spans
from tests.corpus.trajectories import truths
from tests.corpus.trajectory_report import (
    COLUMNS,
    DOCUMENT,
    Judged,
    in_words,
    judge_all,
    read,
    reasons_of,
    unexplained,
)

if TYPE_CHECKING:
    from pathlib import Path

LISTED = read()


@pytest.fixture(scope="session")
def results() -> dict[str, Judged]:
    """Return what was built of every stack."""
    return judge_all()


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each stack's line, without letters."""
    starts = ("| [", "| python/", "| js/")
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(starts)]
    return {name.strip("[").partition("]")[0]: [cell.split()[0] for cell in cells] for name, *cells in lines}


def test_nothing_is_worse_than_the_page_says(results: dict[str, Judged]) -> None:
    """No number of right recordings is below the page's, and none of wrong ones is above."""
    on_page = rows(DOCUMENT.read_text())
    assert set(on_page) == set(STACKS), "run `python -m tests.corpus.trajectory_report`"

    worse = []
    for stack, (size, *cells) in on_page.items():
        judged = results[stack]
        assert size == f"{judged.recordings}/{judged.runs}", stack
        for column, cell in zip(COLUMNS, cells, strict=True):
            was_right, was_total = map(int, cell.split("/")) if cell != "–" else (0, 0)
            right, total = judged.cell(column)
            if right < was_right or total - right > was_total - was_right:
                worse.append(f"{stack}: {column} is {right}/{total}, and was {cell}")

    assert not worse, "\n".join(worse)


def test_letters_and_reasons_are_those_of_the_page(results: dict[str, Judged]) -> None:
    """Each listed reason stands on the page."""
    page = DOCUMENT.read_text()
    calls = withheld.read()

    missing = {
        (stack, reason.why)
        for stack in STACKS
        for reason in reasons_of(results[stack], LISTED, calls)
        if f" {reason.why} (" not in page
    }

    assert not missing, "run `python -m tests.corpus.trajectory_report`"


def test_nothing_is_wrong_without_a_reason(results: dict[str, Judged]) -> None:
    """What is not as it happened is explained, by what the emitter does not tell."""
    calls = withheld.read()
    unknown = [
        in_words(one, facts) for one in results.values() if (facts := unexplained(one, reasons_of(one, LISTED, calls)))
    ]

    assert not unknown, "\n".join(unknown)


def test_what_is_listed_is_wrong_and_listed_once(results: dict[str, Judged]) -> None:
    """An entry goes when its fact is right after all."""
    times = Counter((entry.stack, *fact) for entry in LISTED for fact in entry.facts)

    assert {entry.stack for entry in LISTED} <= set(STACKS)
    assert [fact for fact, count in times.items() if count > 1] == []
    assert [fact for fact in times if fact[1:] not in results[fact[0]].wrong] == []


@pytest.mark.parametrize("stack", sorted({entry.stack for entry in LISTED}))
def test_what_is_listed_has_no_span_named_after_it(stack: str) -> None:
    """Where the list says that nothing tells an agent or a tool, fewer spans are named after it than it had runs."""
    facts = {fact for entry in LISTED if entry.stack == stack for fact in entry.facts}
    for capture in packed(stack):
        names = [span.name for span in spans(capture)]
        runs = truths(capture)
        tools = Counter(tool for run in runs for tool in run.tools or ())
        agents = Counter(agent for run in runs for agent in set(run.agents))
        for column, true in (("tools", tools), ("agents", agents)):
            if (capture.scenario, column) in facts:
                word = r"(?:^|[\s.]){}(?:$|[\s.])" if column == "agents" else "{}"
                told = {name: sum(bool(re.search(word.format(name), one)) for one in names) for name in true}
                assert any(told[name] < times for name, times in true.items()), f"{capture}: {column} {told}"


def test_the_page_has_every_family() -> None:
    """So that no table is lost when a family is added."""
    page = DOCUMENT.read_text()

    assert [family for family in FAMILIES if f"## {family}\n" not in page] == []


def test_a_reason_needs_known_fields(tmp_path: Path) -> None:
    """A slip in the list is told, with the stack that has it."""
    listed = tmp_path / "listed.yaml"
    listed.write_text("python/x: [{why: because, fields: [colour], scenarios: plain}]")

    with pytest.raises(ValueError, match="python/x: an entry has"):
        read(listed)
