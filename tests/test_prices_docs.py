"""docs/prices.md shows what is really printed, and its examples can be used as they are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from spanledger.__main__ import main
from spanledger.conventions.prices.override_file import read_book
from spanledger.conventions.prices.overrides import PriceBook

PAGE = (Path(__file__).parents[1] / "docs" / "prices.md").read_text("utf-8")


def test_the_example_of_an_override_file_is_right() -> None:
    """And has every block."""
    (example,) = re.findall(r"```yaml\n(version: 1\naliases.*?)```", PAGE, re.DOTALL)
    book = read_book(example, "docs/prices.md")
    assert {key for key in PriceBook.model_fields if getattr(book, key)} >= set(PriceBook.model_fields) - {"tiers"}


COMMANDS = re.findall(r"\$ spanledger (price(?:s sources)? ?(?:[^\n]*\\\n)*[^\n]*)\n(.*?)(?=\n\$|```)", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("words", "printed"), [pair for pair in COMMANDS if ">" not in pair[0]], ids=lambda text: text[:20]
)
def test_commands_print_what_the_page_shows(words: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Line by line."""
    assert main(shlex.split(words.replace("\\\n", " "))) == 0
    assert capsys.readouterr().out.strip() == printed.strip()


def test_two_commands_were_found() -> None:
    """The test above is about something."""
    assert len([words for words, _ in COMMANDS if ">" not in words]) == 2
