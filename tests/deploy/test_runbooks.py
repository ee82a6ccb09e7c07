"""Runbooks at three in the morning: every command and every query in them can be pasted as it is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import promql_parser
import pytest

from spanledger.__main__ import parser
from spanledger.service.assets.alerts import all_alerts
from tests.deploy.test_rules import DEPLOY, SERIES, series_in

RUNBOOKS = sorted((DEPLOY / "runbooks").glob("*.md"))
SECTIONS = ["First three looks", "Likely causes", "Stop the bleeding", "Prevent it"]
COMMAND_LINE = parser()
OWN = {"up", "scrape_samples_scraped"}

runbooks = pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [block.strip() for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def test_runbooks_are_those_of_the_alerts() -> None:
    """One for each, and none for an alert that is gone."""
    assert {path.stem for path in RUNBOOKS} == {alert.name for alert in all_alerts()}


@runbooks
def test_runbooks_have_the_same_sections(path: Path) -> None:
    """What it means, three looks, causes, what to do now, what to do later."""
    text = path.read_text()
    means = text.split("## ")[0].removeprefix(f"# {path.stem}").strip()
    looks = text.split("## ")[1]

    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(means) > 80
    assert re.findall(r"^(\d)\. ", looks, re.MULTILINE) == ["1", "2", "3"]
    assert all("```" in look for look in re.split(r"^\d\. ", looks, flags=re.MULTILINE)[1:])


@runbooks
def test_runbooks_mention_alerts_and_pages_that_there_are(path: Path) -> None:
    """Links between them lead somewhere."""
    text = path.read_text()
    names = {alert.name for alert in all_alerts()}

    mentioned = set(re.findall(r"\b(?:Agent|Budget|Sidecar|Runs|Spans|Price|Usage|Unpriced)[A-Z]\w+", text))

    assert mentioned <= names
    for page in re.findall(r"docs/[\w-]+\.md|deploy/[\w/.-]+\w", text):
        assert (DEPLOY.parent / page).exists(), page


@runbooks
def test_commands_parse(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of ours is one that the command line takes."""
    text = path.read_text()
    commands = [line for block in blocks(text, "sh") for line in block.splitlines()]
    commands += re.findall(r"`(spanledger [^`]+)`", text)
    for command in commands:
        words = shlex.split(command.strip(), comments=True)
        program, *arguments = words[: words.index(">")] if ">" in words else words
        if program == "spanledger":
            code = 0
            try:
                COMMAND_LINE.parse_args(arguments)
            except SystemExit as end:
                code = end.code  # --version ends with 0
            assert code == 0, f"{command}: {capsys.readouterr().err}"


@runbooks
def test_queries_ask_for_series_that_are_there(path: Path) -> None:
    """Every query is PromQL, and every name in it is a metric, or recorded."""
    for query in blocks(path.read_text(), "promql"):
        promql_parser.parse(query)
        assert series_in(query) <= SERIES, query
        assert series_in(query) or any(name in query for name in OWN), query


def test_the_first_look_sees_what_paged() -> None:
    """An alert that sees the first event of a counter leads to a query that sees it too: `increase()` does not."""
    rare = [alert.name for alert in all_alerts() if "otelcol_process_uptime_seconds" in alert.expr]

    assert len(rare) > 10
    for name in rare:
        assert "increase(" not in blocks((DEPLOY / "runbooks" / f"{name}.md").read_text(), "promql")[0], name
