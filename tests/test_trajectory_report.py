"""docs/trajectories.md against the runs that are built of the packed recordings."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.corpus import trajectory_report, withheld
from tests.corpus.captures import FAMILIES, STACKS, packed
from tests.corpus.evidence import spans
from tests.corpus.trajectories import truths
from tests.corpus.trajectory_report import COLUMNS, DOCUMENT, Judged, judge_all, read, reasons_of

LISTED = read()


@pytest.fixture(scope="session")
def results() -> dict[str, Judged]:
    """Return what was built of every stack."""
    return judge_all()


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each stack's line, without letters."""
    lines = [
        line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(("| [", "| python/", "| js/"))
    ]
    return {name.strip("[").partition("]")[0]: [cell.split()[0] for cell in cells] for name, *cells in lines}


def test_nothing_is_worse_than_the_page_says(results: dict[str, Judged]) -> None:
    """Every number of every stack is at least that of the page, of as many recordings."""
    on_page = rows(DOCUMENT.read_text())
    assert set(on_page) == set(STACKS), "run `python -m tests.corpus.trajectory_report`"

    worse = []
    for stack, (size, *cells) in on_page.items():
        judged = results[stack]
        assert size == f"{judged.recordings}/{judged.runs}", stack
        for column, cell in zip(COLUMNS, cells, strict=True):
            promised = tuple(map(int, cell.split("/"))) if cell != "–" else (0, 0)
            right, total = judged.cell(column)
            if (
                right * promised[1] < promised[0] * total
                or (right < promised[0])
                or (total > promised[1] and right < total)
            ):
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


def test_what_is_listed_is_wrong_and_listed_once(results: dict[str, Judged]) -> None:
    """An entry goes when its fact is right after all."""
    times = Counter((entry.stack, *fact) for entry in LISTED for fact in entry.facts)

    assert {entry.stack for entry in LISTED} <= set(STACKS)
    assert [fact for fact, count in times.items() if count > 1] == []
    assert [fact for fact in times if fact[1:] not in results[fact[0]].wrong] == []


@pytest.mark.parametrize("stack", sorted({entry.stack for entry in LISTED}))
def test_what_is_listed_has_no_span_named_after_it(stack: str) -> None:
    """No span bears the name of an agent, or of each tool that ran, where the list says that nothing tells it."""
    facts = {fact for entry in LISTED if entry.stack == stack for fact in entry.facts}
    for capture in packed(stack):
        names = [span.name for span in spans(capture)]
        runs = truths(capture)
        if (capture.scenario, "tools") in facts:
            tools = [tool for run in runs for tool in run.tools or ()]
            assert sum(any(tool in name for tool in tools) for name in names) < len(tools), f"{capture}: {names}"
        if (capture.scenario, "agents") in facts:
            agents = {agent for run in runs for agent in run.agents}
            told = {agent for agent in agents if any(agent in name for name in names)}
            assert told != agents, f"{capture}: {names}"


def test_the_page_has_every_family() -> None:
    """So that no table is lost when a family is added."""
    page = DOCUMENT.read_text()

    assert [family for family in FAMILIES if f"## {family}\n" not in page] == []


def test_a_reason_needs_known_fields(tmp_path: pytest.TempPathFactory) -> None:
    """A slip in the list is told, with the stack that has it."""
    entry = {"why": "because", "fields": ["colour"], "scenarios": "plain"}

    with pytest.raises(ValueError, match="python/x: an entry has"):
        trajectory_report._reason("python/x", entry)
