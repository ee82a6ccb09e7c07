"""The second catalogue: what is taken out of LiteLLM's map, what is left, when it is asked, and its refresh."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spanledger.conventions.prices import refresh
from spanledger.conventions.prices.archive import Archive, packed
from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.litellm_data import cut
from spanledger.conventions.prices.override_file import BadPrices
from spanledger.conventions.prices.second_catalogue import SecondCatalogue, read_second, shipped_second_catalogue
from spanledger.conventions.usage import Usage

ENGINE = PriceEngine(shipped_catalogue())
NOON = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
DAY_NS = 86_400 * 10**9
FOLDER = Path(refresh.__file__).parent

CHAT = {"litellm_provider": "deepinfra", "mode": "chat"}


def taken(key: str, row: dict[str, Any]) -> Any:
    """Return what is kept of one row of the map, None for nothing."""
    made = cut({key: json.loads(json.dumps(row), parse_float=Decimal)})
    found = [row for regions in made.models.values() for models in regions.values() for row in models.values()]
    return found[0] if found else None


def left(key: str, row: dict[str, Any]) -> list[str]:
    """Return why nothing is kept."""
    return list(cut({key: json.loads(json.dumps(row), parse_float=Decimal)}).left)


def cost(model: str, provider: str, tokens: int = 1000, **more: Any) -> tuple[int | None, str]:
    """Return the price of a thousand tokens each way, and where it is from."""
    made = ENGINE.price(PricedCall(Usage(input=tokens, output=1000), provider, model, **more), NOON)
    return made.total, made.price_ref


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"input_cost_per_token": 0, "output_cost_per_token": 0}, "free_or_unknown"),
        ({"input_cost_per_token": 1e-6}, "one_price_of_two"),
        ({"input_cost_per_token": 1e-6, "output_cost_per_token": 0.0}, "one_price_of_two"),
        ({"input_cost_per_token": 0.0032, "output_cost_per_token": 0.00971}, "too_dear"),  # azure_ai/jais-30b-chat
        ({"input_cost_per_token": 5e-6, "output_cost_per_token": 1.5e-7}, "input_above_output"),
        ({"input_cost_per_token": "1e-6", "output_cost_per_token": True}, "free_or_unknown"),
        ({"input_cost_per_character": 2.5e-7, "output_cost_per_character": 5e-7}, "free_or_unknown"),
        ({"input_cost_per_image": 0.001}, "free_or_unknown"),
        ({"mode": "search", "input_cost_per_query": 0.005}, "no_model_call"),
        ({"litellm_provider": "github_copilot"}, "seller_not_read"),
        ({"tiered_pricing": [{"range": None}]}, "unreadable_steps"),
    ],
)
def test_what_is_not_certain_is_left_out(row: dict[str, Any], why: str) -> None:
    """Errors that this map has had: free where nobody knew, one side only, wrong by a thousand, by the character."""
    assert left("deepinfra/m", {**CHAT, **row}) == [why]


def test_what_is_certain_is_kept_by_bucket_step_and_tier() -> None:
    """Dollars a million tokens; `above` steps and service tiers by themselves."""
    row = {
        **CHAT, "input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6, "cache_read_input_token_cost": 5e-7,
        "input_cost_per_token_above_200k_tokens": 4e-6, "output_cost_per_token_above_200k_tokens": 1.2e-5,
        "input_cost_per_token_batches": 1e-6, "output_cost_per_token_batches": 4e-6,
        "input_cost_per_token_above_200k_tokens_batches": 2e-6, "cache_read_input_token_cost_flex": 1e-7,
        "input_cost_per_token_priority": 3e-6, "input_cost_per_image": 0.1, "input_cost_per_second": 0.2,
    }  # fmt: skip
    assert taken("deepinfra/m", row) == {
        "": {"0": {"input": 2, "output": 8, "cache_read": Decimal("0.5")}, "200000": {"input": 4, "output": 12}},
        "batch": {"0": {"input": 1, "output": 4}, "200000": {"input": 2}},
    }


def test_odd_cache_prices_are_dropped_and_the_rest_stays() -> None:
    """A read dearer than input, a write for nothing: the call is priced as if they were not there."""
    row = {
        **CHAT, "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 3e-6,
        "cache_creation_input_token_cost": 0.0,
    }  # fmt: skip
    assert taken("deepinfra/m", row) == {"": {"0": {"input": 1, "output": 2}}}


@pytest.mark.parametrize(
    ("mode", "row", "fees"),
    [
        ("rerank", {"input_cost_per_query": 0.002, "input_cost_per_token": 0.0}, {"rerank_search": Decimal("0.002")}),
        ("audio_transcription", {"input_cost_per_second": 1e-4}, {"audio_input_ms": Decimal("0.0001")}),
        ("audio_speech", {"input_cost_per_character": 1.5e-5}, {"character": Decimal("0.000015")}),
        ("image_generation", {"output_cost_per_image": 0.04}, {"image": Decimal("0.04")}),
        ("ocr", {"ocr_cost_per_page": 0.001}, {"page": Decimal("0.001")}),
    ],
)
def test_models_that_are_sold_by_the_piece_have_fees(mode: str, row: dict[str, Any], fees: Any) -> None:
    """Only where they are not sold by the token as well."""
    assert taken("deepinfra/m", {**CHAT, "mode": mode, **row}) == {"fees": fees}
    by_token = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    assert "fees" not in taken("deepinfra/m", {**CHAT, "mode": mode, **row, **by_token})


def test_an_image_that_costs_by_its_size_has_no_price() -> None:
    """No span says the size."""
    row = {**CHAT, "mode": "image_generation", "output_cost_per_image": 0.04, "output_cost_per_image_4K": 0.24}
    assert left("deepinfra/m", row) == ["free_or_unknown"]


def test_the_first_catalogue_wins() -> None:
    """The second is asked only for what the first does not know, and the price says which it was."""
    assert cost("grok-code-fast-1", "x_ai")[1].startswith("genai-prices@")  # the second has another price
    assert cost("meta-llama/Llama-3.3-70B-Instruct", "deepinfra") == (
        630_000_000, "litellm@1.109.1#deepinfra/meta-llama/llama-3.3-70b-instruct",
    )  # fmt: skip


def test_a_tier_that_the_first_does_not_price_is_taken_where_both_agree_on_the_standard() -> None:
    """Gemini 2.5 Pro with priority, 2.25 and 18; not where the standard price was another at that time."""
    assert cost("gemini-2.5-pro", "gcp.vertex_ai", tier="priority") == (
        20_250_000_000, "litellm@1.109.1#google/gemini-2.5-pro/tier=priority",
    )  # fmt: skip
    assert cost("gpt-5.4", "openai", tier="flex")[1].startswith("genai-prices@")
    made = ENGINE.price(
        PricedCall(Usage(input=1000, output=1000), "openai", "o3", tier="priority"), NOON - 560 * DAY_NS
    )
    assert made.reason == "tier_at_list_price"  # before o3 was cut to a fifth


def test_long_inputs_cost_what_their_step_says() -> None:
    """DashScope's steps are whole requests, as everybody's are."""
    assert cost("qwen-flash", "dashscope", 256_000)[0] == 256_000 * 50_000 + 1000 * 400_000
    assert cost("qwen-flash", "dashscope", 256_001)[0] == 256_001 * 250_000 + 1000 * 2_000_000


def test_the_host_says_who_sells() -> None:
    """An OpenAI client that talks to DeepInfra pays DeepInfra."""
    total, ref = cost("meta-llama/Llama-3.3-70B-Instruct", "openai", server_address="api.deepinfra.com")
    assert (total, ref.partition("#")[2]) == (630_000_000, "deepinfra/meta-llama/llama-3.3-70b-instruct")


def test_nothing_free_and_nothing_absurd_is_in_the_shipped_list() -> None:
    """Every row has a price above 0, and none is beyond the dearest model there is."""
    second = shipped_second_catalogue()
    for seller, region, name in second.models():
        found = second.find(seller, (name,), region)
        assert found is not None
        ((choice, _),) = found.choices()
        paid = [*choice.rows[0].input, *choice.rows[0].output] if choice.rows else []
        assert any(paid) or any(fee.pico for fee in choice.fees), (seller, name)
        assert max(paid, default=0) <= 1_000 * 10**6, (seller, name)


def test_a_name_that_two_models_share_is_no_name() -> None:
    """The part after the slash counts only where it is one model's."""
    row = {"": {"0": {"input": Decimal(1), "output": Decimal(2)}}}
    second = SecondCatalogue({"s": {"": {"a/one": row, "b/one": row, "b/two": row}}}, "1")
    assert second.find("s", ("one",)) is None
    found = second.find("s", ("two",))
    assert found is not None
    assert found.name == "b/two"
    assert second.find("t", ("two",)) is None


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not JSON"), (b"[]", "must be an object"), (b"{}", "at least 100"), (b"PK\3\4junk", "not a cut"),
        (b'{"a": 1e400}', "at least"), (b"[" * 10**5, "not JSON"), (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
        (packed({}, {}), "not a cut price list: 'as_of'"),
        (packed({"release": "1", "as_of": "today"}, {}), "not a cut price list"),
        (packed({"release": "1", "as_of": "2026-11-20"}, {}), "at least 100"),
        (packed({"release": "1", "as_of": "2026-11-20"}, {"a": {"": {"m": {"": 1}}}}), "a/m: no prices"),
        (packed({"release": "1", "as_of": "2026-11-20"}, {"a": {"": {"m": {"": []}}}}), "a/m: no prices"),
    ],
)  # fmt: skip
def test_what_is_no_price_list_is_refused(data: bytes, complaint: str) -> None:
    """With the reason, whatever it is."""
    with pytest.raises(BadPrices, match=complaint):
        read_second(data, "x.json")


@pytest.mark.parametrize(("name", "owner"), [("litellm", "Berri AI"), ("genai-prices", "Pydantic Services")])
def test_licences_are_kept(name: str, owner: str) -> None:
    """The data is others', under MIT."""
    licence = (FOLDER / f"LICENSE.{name}").read_text("utf-8")
    assert "MIT License" in licence
    assert owner in licence


def test_litellm_itself_is_never_imported() -> None:
    """It would take five seconds and 180 MB."""
    assert "litellm" not in sys.modules


def raw(count: int, price: float = 1e-6) -> dict[str, Any]:
    """Return a map of `count` models."""
    return {
        f"deepinfra/m{number}": {**CHAT, "input_cost_per_token": price, "output_cost_per_token": price}
        for number in range(count)
    }


def refreshed(folder: Path, document: Any, *words: str) -> int:
    """Run the script."""
    file = folder / "map.json"
    file.write_text(json.dumps(document))
    target = str(folder / "list.zip")
    return refresh.main([str(file), "--release", "9.9", "--as-of", "2026-11-20", "--target", target, *words])


def test_refresh_shows_what_changes_and_writes_only_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New, gone and changed prices; the same input gives the same bytes."""
    assert refreshed(tmp_path, raw(200)) == 0
    assert not (tmp_path / "list.zip").exists()
    assert refreshed(tmp_path, raw(200), "--write") == 0
    before = (tmp_path / "list.zip").read_bytes()
    capsys.readouterr()

    assert refreshed(tmp_path, {**raw(199), "deepinfra/m3": {**raw(1, 2e-6)["deepinfra/m0"]}}) == 0
    shown = capsys.readouterr().out
    assert "- 1\n  - deepinfra/m199" in shown
    assert "+ 0" in shown
    assert "~ 1\n  ~ deepinfra/m3" in shown
    assert refreshed(tmp_path, raw(200), "--write") == 0
    assert (tmp_path / "list.zip").read_bytes() == before
    assert Archive(before).about["release"] == "9.9"


def test_refresh_refuses_what_looks_like_an_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth of the models gone, no map at all; `--force` takes the former."""
    assert refreshed(tmp_path, raw(300), "--write") == 0
    assert refreshed(tmp_path, raw(200), "--write") == 1
    assert "more than a tenth" in capsys.readouterr().err
    assert refreshed(tmp_path, raw(200), "--write", "--force") == 0
    assert refreshed(tmp_path, {}) == 1
    assert refreshed(tmp_path, []) == 1
    (tmp_path / "map.json").unlink()
    assert refresh.main([str(tmp_path / "map.json"), "--release", "1", "--as-of", "2026-11-20"]) == 1
