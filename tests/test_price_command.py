"""`spanledger price`: the arithmetic, the rule, and help where there is no price."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spanledger.conventions.prices.engine import PricedCall
from spanledger.conventions.tokens import usage_of
from spanledger.processor.price_source import load_engine
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


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("gpt-4o --tier gold", "--tier gold: not known; there are standard, batch, flex, priority, fast"),
        ("gpt-4o --input 100 --cache-read 150", "--cache-read 150 is part of --input and cannot be more than 100"),
        ("gpt-4o --cache-write 100 --cache-write-1h 200", "part of --cache-write and cannot be more than 100"),
        ("gpt-4o --output 10 --reasoning 20", "--reasoning 20 is part of --output and cannot be more than 10"),
        ("gpt-4o --output 10 --audio-output 20", "--audio-output 20 is part of --output"),
        ("gpt-4o --input 10 --cache-read 8 --cache-write 8", "together more than the whole"),
    ],
)
def test_what_cannot_be_a_call_is_refused(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and plain words, instead of an answer to another question."""
    assert run(*words.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert complaint in told.err


@pytest.mark.parametrize("name", ["", " "])
def test_a_model_without_a_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty variable of a shell script."""
    assert run(name) == 2
    assert "the name of the model is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (
            "gpt-4o-mini",
            [
                "no tokens given: 1,000 of input and 1,000 of output are assumed",
                "no provider given: openai is assumed, from the model's name or the address",
            ],
        ),
        ("gpt-4o-mini --provider openai --input 1", []),
        ("gpt-4o-mini --provider azure --input 1 --tier default", []),
        (
            "gpt-4o-mini --provider nobody --input 1",
            ["provider 'nobody' is not known: openai is assumed, from the model's name or the address"],
        ),
        (
            "gpt-4o-mini --provider litellm --input 1",
            ["provider 'litellm' sells no models: openai is assumed, from the model's name or the address"],
        ),
        (
            "gpt-4o-mini --provider openai --input 1 --region mars",
            ["region 'mars' has no effect: no price of this model depends on it"],
        ),
        ("gpt-5.4 --provider openai --input 1000 --region eu", []),
        (
            "gpt-4o --provider openai --cache-read 10 --reasoning 5",
            [
                "--input not given: 10, the sum of its parts, is assumed",
                "--output not given: 5, the sum of its parts, is assumed",
            ],
        ),
        (
            "mistral-large-latest --provider mistral --input 1 --tier priority",
            ["no price is known for tier 'priority' of this model: the standard price is shown"],
        ),
    ],
)
def test_every_assumption_is_told(words: str, notes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In lines for people and in a list for scripts."""
    at = ("--at", "2026-11-18")
    assert run(*words.split(), *at) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("note: ") for line in lines if line.startswith("note: ")] == notes
    assert run(*words.split(), *at, "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == notes


def test_what_was_found_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Provider, model, and which layer the price is from."""
    file = tmp_path / "prices.yaml"
    file.write_text("version: 1\nprices:\n  - {provider: openai, model: gpt-4o, input: 1, output: 1}\n")
    for words, found in (
        (("gpt-4o-mini",), "provider: openai  model: gpt-4o-mini  from: price list genai-prices@"),
        (("sonar",), "provider: perplexity  model: sonar  from: corrections that come with spanledger"),
        (("gpt-4o", "--prices", str(file)), "provider: openai  model: gpt-4o  from: your override file"),
    ):
        assert run(*words, "--input", "1", "--at", "2026-11-18") == 0
        assert found in capsys.readouterr().out


def test_the_lab_itself_is_suggested_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several who sell a model."""
    assert run("gpt4o", "--input", "1") == 1
    assert "close to it: openai/gpt-4o," in capsys.readouterr().err


@pytest.mark.parametrize(
    "counts",
    [
        {"input": 20_000, "output": 1_200},
        {"input": 20_000, "cache_read": 15_000, "cache_write": 3_000, "output": 1_200, "reasoning": 400},
        {"input": 20_000, "cache_write_1h": 3_000, "output": 0},
        {"input": 20_000, "cache_write": 5_000, "cache_write_1h": 3_000, "output": 1},
        {"output": 77},
        {"input": 300_000},
        {"input": 5_000, "audio_input": 3_000, "cache_read": 2_500, "output": 900, "audio_output": 300},
    ],
)
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gpt-5.4", "gpt-4o-audio-preview", "gemini-2.5-pro"])
def test_the_amount_is_that_of_the_pipeline(
    counts: dict[str, int], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same usage on a span costs the same."""
    words = [word for name, count in counts.items() for word in (f"--{name.replace('_', '-')}", str(count))]
    assert run(model, *words, "--at", "2026-11-18", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    at_ns = int(datetime(2026, 11, 18, tzinfo=UTC).timestamp()) * 10**9
    cost = load_engine().price(PricedCall(usage_of(counts), None, model), at_ns)
    assert cost.total is not None
    assert shown["usd"]["total"] == cost.total / 1e12
    assert (shown["status"], shown["reason"]) == (cost.status, cost.reason)


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
    ("words", "complaint"),
    [
        (("gpt-4o", "--input", "-5"), "-5"),
        (("gpt-4o", "--input", "many"), "'many': tokens are a whole number"),
        (("gpt-4o", "--input", "1.5"), "'1.5': tokens are a whole number"),
        (("gpt-4o", "--input", "9" * 40), "a count is between 0 and"),
        (("gpt-4o", "--input", "9" * 9999), "tokens are a whole number"),
        (("gpt-4o", "--at", "soon"), "'soon' is not a time"),
        ((), "MODEL"),
    ],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As argparse does."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
