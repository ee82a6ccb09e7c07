"""Every link of a page leads to a file and a heading that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for folder, pattern in ((".", "*.md"), ("docs", "**/*.md"), ("deploy", "**/*.md"), ("changelog.d", "*.md"))
    for path in (ROOT / folder).glob(pattern)
)


def prose(page: Path) -> str:
    """Return a page without its examples."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what a link may name on a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.strip()).replace(" ", "-") for heading in plain}


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere; fragments of the changelog will stand in the root."""
    here = ROOT if page.parent.name == "changelog.d" else page.parent
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = here / path if path else page
        if not link.startswith(("http://", "https://", "mailto:")) and (
            not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
        ):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A page that is moved or a heading that is reworded takes its links along."""
    assert list(broken(page)) == []
