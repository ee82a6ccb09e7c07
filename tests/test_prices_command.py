"""`spanledger prices`: what has no price, as a file to fill in; files checked; lists named."""

from __future__ import annotations

import argparse
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.override_file import BadPrices, read_book
from spanledger.conventions.prices.overrides import PriceBook
from spanledger.conventions.usage import Usage
from spanledger.service.commands import prices
from spanledger.service.unpriced import Unpriced, as_yaml, of_metrics, partly_priced_steps, together, unpriced_steps
from tests.run_documents import document, step, store_of

CATALOGUE = shipped_catalogue()
METRICS = r"""# HELP spanledger_llm_unpriced_tokens_total Tokens that no price is known for.
# TYPE spanledger_llm_unpriced_tokens_total counter
spanledger_llm_unpriced_tokens_total{service_name="shop",provider="acme",model="chat-v2",reason="unknown_model"} 1200
spanledger_llm_unpriced_tokens_total{service_name="bot",provider="acme",model="chat-v2",reason="unknown_model"} 300
spanledger_llm_unpriced_tokens_total{service_name="s",provider="azure",model="prod",reason="unknown_model"} 9e3
spanledger_llm_unpriced_tokens_total{service_name="shop",provider="openai",model="gpt-4o",reason="unknown_model"} 0
spanledger_llm_unpriced_tokens_total{service_name="s",provider="vllm",model="l\"l\n*a",reason="self_hosted"} 7
spanledger_llm_calls_total{service_name="shop"} 5
"""
PARTLY = r"""# TYPE spanledger_llm_partly_priced_cost_usd_total counter
spanledger_llm_partly_priced_cost_usd_total{service_name="s",provider="acme",model="m",reason="output_unknown"} 0.25
spanledger_llm_partly_priced_cost_usd_total{service_name="s",provider="acme",model="n",reason="fee_unknown"} 0.5
spanledger_llm_partly_priced_cost_usd_total{service_name="t",provider="acme",model="n",reason="fee_unknown"} 0.25
spanledger_llm_partly_priced_cost_usd_total{service_name="t",provider="acme",model="o",reason="output_unknown"} 0
"""


def run(*words: str) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser()
    prices.add_arguments(parser)
    return prices.run(parser.parse_args(words))


@contextmanager
def serving(body: str) -> Iterator[str]:
    """Serve a text as /metrics; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def filled(text: str) -> str:
    """Fill in the blanks as a person would."""
    with_models = re.sub(r"^( +use:).*$", r"\1 azure/gpt-4.1", text, flags=re.MULTILINE)
    return re.sub(
        r"^( +(?:audio_)?(?:input|output|image|web_search):)(?! 0).*$", r"\1 1.5", with_models, flags=re.MULTILINE
    )


def test_unpriced_prints_a_file_to_fill_in(capsys: pytest.CaptureFixture[str]) -> None:
    """One row a model and reason, the most tokens first; deployments as aliases, own machines as such."""
    with serving(METRICS) as url:
        assert run("unpriced", "--url", url) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == f"# 3 without a price, 10,507 tokens, according to {url}."
    assert [line for line in shown.splitlines() if not line.startswith("#")] == [
        "version: 1",
        "aliases:",
        "  # 9,000 tokens of s: unknown_model",
        '  - provider: "azure"',
        '    model: "prod"',
        "    use:  # provider/model that it is, such as azure/gpt-4.1",
        "prices:",
        "  # 1,500 tokens of bot, shop: unknown_model",
        '  - provider: "acme"',
        '    model: "chat-v2"',
        "    input:",
        "    output:",
        "self_hosted:",
        "  # 7 tokens of s: self_hosted",
        '  - match: {provider: "vllm", model: "l\\"l\\n[*]a"}',
        "    input:",
        "    output:  # or gpu_hour_usd, gpus and concurrency instead of both",
    ]


def test_blanks_are_errors_and_filled_in_they_are_prices() -> None:
    """Nothing becomes free by being forgotten; what was filled in prices the very calls."""
    text = as_yaml(together(of_metrics(METRICS)), "x")
    with pytest.raises(BadPrices) as raised:
        read_book(text, "own.yaml")
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == ["own.yaml"] * 3
    engine = PriceEngine(CATALOGUE, (read_book(filled(text), "own.yaml"),))
    for provider, model in (("acme", "chat-v2"), ("azure", "prod"), ("vllm", 'l"l\n*a')):
        assert engine.price(PricedCall(Usage(input=1000), provider, model), 0).status == "priced"
    assert engine.price(PricedCall(Usage(input=1000), "vllm", 'l"l\nxa'), 0).status == "unpriced"


REASONS = (
    "unknown_model", "unknown_provider", "self_hosted", "provisioned", "not_priced_by_token", "not_priced_by_unit",
    "no_audio_price", "no_price_at_that_time", "no_price_for_region", "inconsistent", "no_model", "whatever comes",
    "input_unknown", "output_unknown", "tokens_unknown", "fee_unknown",
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(
        st.builds(Unpriced, st.text(max_size=12), st.text(max_size=20), st.sampled_from(REASONS), st.integers(0, 10**9),
                  st.lists(st.text(max_size=6), max_size=5).map(tuple), st.none() | st.integers(1, 99),
                  st.none() | st.floats(0, 1e9)),
        max_size=5,
    )
)  # fmt: skip
def test_whatever_a_model_is_called_the_file_can_be_read(found: list[Unpriced]) -> None:
    """Names come from outside: none breaks out of its place, and each keeps meaning itself."""
    text = as_yaml(found, "somewhere")
    document = yaml.safe_load(text)
    assert set(document) <= {"version", *PriceBook.model_fields}
    read_book(filled(text), "own.yaml")


def test_json_is_a_list_of_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts."""
    with serving(METRICS) as url:
        assert run("unpriced", "--url", url, "--json") == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        "provider": "acme", "model": "chat-v2", "reason": "unknown_model", "tokens": 1500, "calls": None,
        "part_usd": None, "services": ["bot", "shop"],
    }  # fmt: skip


def test_nothing_unpriced_is_said_and_nothing_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """So that the output is always a file, or empty."""
    with serving('# HELP\nspanledger_build_info{version="1"} 1\n# EOF\n') as url:
        assert run("unpriced", "--url", url) == 0
    shown = capsys.readouterr()
    assert (shown.out, "everything has a price" in shown.err) == ("", True)


@pytest.mark.parametrize("page", ["", "ok", '{"status": "OK"}', "# TYPE other_total counter\nother_total 1\n"])
def test_a_page_without_our_metrics_is_no_proof_that_all_has_a_price(
    page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another port of the sidecar, or another program."""
    with serving(page) as url:
        assert run("unpriced", "--url", url) == 1
    assert "does not answer with the metrics of a sidecar" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--url", "http://127.0.0.1:9/metrics"), "is the sidecar running?"),
        (("--url", "file:///etc/passwd"), "not an address"),
    ],
)
def test_what_cannot_be_read_is_said_with_a_way_out(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1."""
    assert run("unpriced", *words) == 1
    assert complaint in capsys.readouterr().err


def test_no_store_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as of every command that reads the store."""
    assert run("unpriced", "--store", "/nowhere/at/all") == 2
    assert "there is no run store" in capsys.readouterr().err


def test_calls_of_runs_are_counted_with_their_models() -> None:
    """A run document names the step's provider, model and tokens; the reason is worked out anew."""
    steps = [
        {"cost_status": "unpriced", "provider": "acme", "model": "m", "usage": {"input_tokens": 5, "output_tokens": 2}},
        {"cost_status": "priced", "provider": "openai", "model": "gpt-4o"},
        {"cost_status": "unpriced", "provider": None, "model": None, "usage": None},
    ]
    found = list(unpriced_steps({"service_name": "shop", "steps": steps}))
    assert found == [("acme", "m", "shop", 7, 5, 2), ("", "", "shop", 0, 0, 0)]
    (one,) = together(
        Unpriced("acme", "m", "unknown_model", tokens, (who,), 1) for who, tokens in (("shop", 7), ("bot", 1))
    )
    assert one == Unpriced("acme", "m", "unknown_model", 8, ("bot", "shop"), 2)


def test_what_is_priced_in_part_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A fee can be given; tokens that nobody told cannot."""
    with serving(METRICS + PARTLY) as url:
        assert run("unpriced", "--url", url) == 0
        shown = capsys.readouterr().out
        assert run("unpriced", "--url", url, "--json") == 0
    assert shown.splitlines()[:2] == [
        f"# 3 without a price, 10,507 tokens, according to {url}.",
        "# 2 with a price for a part only: they cost more than is told.",
    ]
    assert "fees:\n  # $0.750000 for a part of s, t: fee_unknown\n" in shown
    assert shown.endswith("# acme/m: $0.250000 for a part of s: the spans tell no tokens of the output, as those of a "
                          "stream that was broken off\n")  # fmt: skip
    assert [(one["model"], one["part_usd"]) for one in json.loads(capsys.readouterr().out)][3:] == [
        ("n", 0.75), ("m", 0.25),
    ]  # fmt: skip


def test_parts_of_stored_runs_are_told() -> None:
    """Not those of a run that counts none: what an application told of its cost is whole."""
    call = {"kind": "llm", "cost_status": "priced", "provider": "acme", "model": "m", "cost_usd": 0.5}
    steps = [
        {**call, "usage": {"input_tokens": 5, "output_tokens": None}},
        {**call, "usage": {"input_tokens": 5, "output_tokens": 1}},
        {**call, "usage": {"input_tokens": None, "output_tokens": None}},
        {**call, "kind": "embedding", "usage": {"input_tokens": 5, "output_tokens": None}},
    ]
    run_document = {"service_name": "shop", "steps": steps, "totals": {"unpriced_calls": 2}}
    assert list(partly_priced_steps(run_document)) == [
        Unpriced("acme", "m", reason, 0, ("shop",), 1, 0.5) for reason in ("output_unknown", "tokens_unknown")
    ]
    assert not list(partly_priced_steps({**run_document, "totals": {"unpriced_calls": 0}}))


def test_the_run_store_tells_what_has_no_price_even_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons are worked out anew; what a list or an override file has by now is left out."""
    usage = {"input_tokens": 100, "output_tokens": 10}
    calls = [
        step(number, "llm", "chat", 0, 1, provider=provider, model=model, usage=usage, cost_status="unpriced")
        for number, (provider, model) in enumerate([("acme", "m"), ("acme", "m"), ("openai", "gpt-4o"), ("vllm", "l")])
    ]
    store_of(tmp_path, [document(steps=calls)]).close()
    assert run("unpriced", "--store", str(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["model"], one["reason"], one["tokens"], one["calls"]) for one in found] == [
        ("m", "unknown_provider", 220, 2), ("l", "self_hosted", 110, 1),
    ]  # fmt: skip
    own = tmp_path / "own.yaml"
    own.write_text("prices: [{provider: acme, model: m, input: 1, output: 1}]")
    assert run("unpriced", "--store", str(tmp_path), "--prices", str(own), "--json") == 0
    assert [one["model"] for one in json.loads(capsys.readouterr().out)] == ["l"]


def test_check_says_what_is_right_and_what_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file, with the place of every mistake; exit code 2 if one is wrong."""
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text("prices: [{provider: a, model: b, input: 1}]\nfees: [{provider: a, image: 1}]\n")
    wrong.write_text("prices:\n  - {provider: a, model: b}\n")
    assert run("check", str(right)) == 0
    assert capsys.readouterr().out == f"{right}: right; 1 prices, 1 fees\n"
    assert run("check", str(right), str(wrong)) == 2
    assert f"{wrong}:2: prices::0: the row has no price" in capsys.readouterr().err


def test_sources_names_lists_versions_and_days(capsys: pytest.CaptureFixture[str]) -> None:
    """In the order in which they are asked."""
    assert run("sources") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1].partition("@")[0] for line in lines] == ["corrections", "genai-prices", "litellm"]
    assert lines[2].endswith("as of 2026-11-12")
