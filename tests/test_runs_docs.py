"""docs/runs.md shows what the commands really print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from spanledger.__main__ import main
from tests.run_documents import document, failed_trip, store_of, trip

PAGE = Path(__file__).parent.parent / "docs/runs.md"
_BLOCK = re.compile(r"```console\n\$ spanledger (.*)\n(?:.*\n)*?```\n")


def test_page_shows_the_real_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], update_golden: bool
) -> None:
    """Of every command in it; `--update-golden` writes the page anew."""
    unknown = document("abcdef0123456789", agent_name="night-watch", outcome="unknown", completeness="idle")
    store_of(tmp_path, [trip(), failed_trip(), unknown]).close()
    monkeypatch.setenv("SPANLEDGER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "116")

    def play(block: re.Match[str]) -> str:
        assert main(shlex.split(block[1])) == 0
        return f"```console\n$ spanledger {block[1]}\n{capsys.readouterr().out}```\n"

    page = PAGE.read_text()
    played = _BLOCK.sub(play, page)
    assert len(_BLOCK.findall(page)) == 8
    if update_golden:
        PAGE.write_text(played)
    assert PAGE.read_text() == played
