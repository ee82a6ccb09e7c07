"""`spanledger price`: the arithmetic, the rule, and help where there is no price."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from spanledger.service.commands import price


def run(*words: str) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser()
    price.add_arguments(parser)
    return price.run(parser.parse_args(words))


def test_it_shows_the_arithmetic_of_every_bucket(capsys: pytest.CaptureFixture[str]) -> None:
    """Rate, tokens, product, total, and where the price is from."""
    at = ("--at", "2026-11-18T12:00:00Z")
    assert (
        run(
            "claude-sonnet-4-5",
            "--input",
            "20000",
            "--cache-read",
            "15000",
            "--cache-write",
            "3000",
            "--output",
            "1200",
            *at,
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()[1:6]] == [
        ["input", "2,000", "x", "$3", "/", "Mtok", "=", "$0.006"],
        ["cache_read", "15,000", "x", "$0.3", "/", "Mtok", "=", "$0.0045"],
        ["cache_write", "3,000", "x", "$3.75", "/", "Mtok", "=", "$0.01125"],
        ["output", "1,200", "x", "$15", "/", "Mtok", "=", "$0.018"],
        ["total", "$0.03975"],
    ]
    assert "#anthropic/claude-sonnet-4-5" in shown


def test_it_shows_tiers_regions_and_context_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """A long context, a tier and a region at once."""
    asked = ("--provider", "openai", "--input", "300000", "--output", "0", "--tier", "flex", "--region", "eu")
    assert run("gpt-5.4", *asked, "--at", "2026-11-18") == 0
    shown = capsys.readouterr().out
    assert "x 1.1" in shown
    assert "more than 272,000 input tokens" in shown
    assert "tier=flex" in shown


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts."""
    assert run("gpt-4o-mini", "--input", "12000", "--output", "900", "--at", "2026-11-18", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["usd"]["total"] == 0.00234
    assert [line["bucket"] for line in document["lines"]] == ["input", "output"]
    assert document["found"] == {"seller": "openai", "model": "gpt-4o-mini"}


def test_an_unknown_model_is_unpriced_with_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, the reason, names like it, and a row to paste."""
    assert run("claude-sonet-4-5", "--input", "1") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "unpriced: unknown_model" in told.err
    assert "anthropic/claude-sonnet-4-5" in told.err
    assert "prices:" in told.err


def test_the_pasted_row_prices_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command suggests is a valid override file."""
    assert run("my model: 7", "--provider", "acme") == 1
    lines = capsys.readouterr().err.splitlines()
    start = next(index for index, line in enumerate(lines) if "version: 1" in line)
    file = tmp_path / "prices.yaml"
    file.write_text("\n".join(line.removeprefix("    ") for line in lines[start:]).replace("0.00", "2.50"))
    assert run("my model: 7", "--provider", "acme", "--input", "1000", "--prices", str(file)) == 0
    assert "overrides#acme/my model: 7" in capsys.readouterr().out


def test_a_bad_override_file_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with file and line."""
    file = tmp_path / "bad.yaml"
    file.write_text("prises: []")
    assert run("gpt-4o", "--prices", str(file)) == 2
    assert "bad.yaml:1: prises: unknown key; did you mean prices?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("gpt-4o", "--input", "-5"), ("gpt-4o", "--input", "many"), ("gpt-4o", "--at", "soon"), ()]
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    """As argparse does."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
