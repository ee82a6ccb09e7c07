"""LiteLLM's price map, cut to what is certain in it: the second catalogue's data.

`model_prices_and_context_window.json` of github.com/BerriAI/litellm (MIT) covers many hosts that no other list has.
It is also a file that hundreds of people add to. What is left out, and why:

- rows that are free: there, 0 mostly says that somebody did not know;
- chat models with one price of the two, or with input dearer than output: such rows have been wrong by factors;
- prices of more than `MAX_INPUT` and `MAX_OUTPUT`: somebody wrote the price of a thousand tokens for that of one;
- cache reads dearer than input, cache writes cheaper: the call is priced without them;
- prices by the second, image or character of models that are also sold by the token: two ways to count one thing;
- per image where it depends on size or quality, which no span says; hours of the day (the dearest price stays);
- what is no model (searches, file storage, guardrails), and subscriptions (GitHub Copilot, ChatGPT).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeAlias

Rates: TypeAlias = "dict[str, Decimal]"
"""Bucket of `tariff` -> US dollars a million tokens."""

MAX_INPUT: Final = Decimal(200)
MAX_OUTPUT: Final = Decimal(1000)
"""US dollars a million tokens; the dearest models are o1-pro and gpt-4.5, at 150 and 600."""

_MILLION: Final = Decimal(1_000_000)

_BUCKETS: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "cache_read_input_audio_token_cost": "audio_cache_read",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "cache_read_input_image_token_cost": "image_cache_read",
}
_TIERS: Final = {"_batches": "batch", "_flex": "flex", "_priority": "priority"}
_FIELD: Final = re.compile(
    r"(?P<base>[a-z_]+?(?:_above_1hr)?)(?:_above_(?P<above>\d+)k_tokens)?(?P<tier>_batches|_flex|_priority)?"
)
_FEES: Final[Mapping[str, tuple[str, str]]] = {
    # mode -> what it is priced by there, our unit
    "audio_transcription": ("input_cost_per_second", "audio_input_ms"),
    "audio_speech": ("input_cost_per_character", "character"),
    "image_generation": ("output_cost_per_image", "image"),
    "rerank": ("input_cost_per_query", "rerank_search"),
    "ocr": ("ocr_cost_per_page", "page"),
}
_SEARCH: Final = "search_context_cost_per_query"

_ONE_SIDED: Final = frozenset({"embedding", "rerank", "moderation", "audio_speech", "audio_transcription"})
"""Modes that have no price of output, or none of input."""
_MODES: Final = frozenset({"chat", "responses", "completion", "realtime", "image_edit"}) | _ONE_SIDED | {*_FEES}

_SELLERS: Final[Mapping[str, str]] = {
    "ai21": "ai21", "amazon_nova": "aws", "anyscale": "anyscale", "azure": "azure", "azure_ai": "azure",
    "azure_text": "azure", "baseten": "baseten", "bedrock": "aws", "bedrock_converse": "aws", "bedrock_mantle": "aws",
    "bigmodel": "zhipuai", "cerebras": "cerebras", "cohere": "cohere", "cohere_chat": "cohere", "crusoe": "crusoe",
    "dashscope": "dashscope", "databricks": "databricks", "deepgram": "deepgram", "deepinfra": "deepinfra",
    "deepseek": "deepseek", "elevenlabs": "elevenlabs", "featherless_ai": "featherlessai",
    "fireworks_ai": "fireworks", "fireworks_ai-embedding-models": "fireworks", "friendliai": "friendliai",
    "gemini": "google", "gmi": "gmi", "gradient_ai": "gradientai", "groq": "groq", "heroku": "heroku",
    "hyperbolic": "hyperbolic", "inception": "inception", "jina_ai": "jinaai", "lambda_ai": "lambdaai",
    "meta": "meta", "meta_llama": "meta", "minimax": "minimax", "mistral": "mistral", "moonshot": "moonshotai",
    "morph": "morph", "nebius": "nebius", "novita": "novita", "nscale": "nscale", "oci": "oci", "openai": "openai",
    "anthropic": "anthropic", "ovhcloud": "ovhcloud", "perplexity": "perplexity", "replicate": "replicate",
    "sambanova": "sambanova", "scaleway": "scaleway", "snowflake": "snowflake", "text-completion-openai": "openai",
    "together_ai": "together", "v0": "v0", "volcengine": "volcengine", "voyage": "voyageai", "wandb": "wandb",
    "watsonx": "watsonx", "xai": "x-ai", "zai": "zai", "cloudflare": "cloudflare", "assemblyai": "assemblyai",
    "nlp_cloud": "nlpcloud", "sarvam": "sarvam", "writer": "writer",
}  # fmt: skip
"""`litellm_provider` -> seller, by the ids that `sellers.role_of` gives. Others are not read."""

_HEADS: Final[Mapping[str, str]] = {
    "together_ai": "together_ai", "fireworks_ai-embedding-models": "fireworks_ai", "azure_text": "azure",
    "amazon_nova": "amazon-nova", "bedrock_converse": "bedrock",
}  # fmt: skip
"""Labels whose rows begin with something else than the label."""

_REGION: Final = re.compile(r"(?:[a-z]{2}(?:-gov)?-[a-z]+-\d|us-gov)")
_NOT_A_NAME: Final = re.compile(r"\d+-x-\d+|max-x-max|commitment|claude_platform|^(?:hd|standard|low|medium|high)/")
_AZURE_HEADS: Final = ("global-standard/", "global/")


@dataclass(slots=True)
class Cut:
    """What was taken, and how many rows were left for which reason."""

    models: dict[str, dict[str, dict[str, dict[str, Any]]]] = field(default_factory=dict)
    """Seller -> region ("" for none) -> model -> row: `{"": rates, "batch": rates, "above": {"200000": ...}}`."""
    left: Counter[str] = field(default_factory=Counter)

    def count(self) -> int:
        """Return how many prices there are."""
        return sum(len(models) for regions in self.models.values() for models in regions.values())


def cut(document: Mapping[str, Any]) -> Cut:
    """Take what is certain out of LiteLLM's map, as `json.loads(text, parse_float=Decimal)` gives it."""
    made = Cut()
    for key, row in document.items():
        if not isinstance(row, dict) or key == "sample_spec":
            continue
        placed = _place(key, row)
        if isinstance(placed, str):
            made.left[placed] += 1
            continue
        seller, region, name = placed
        priced = _row(row)
        if isinstance(priced, str):
            made.left[priced] += 1
            continue
        # Of two spellings of a model the first counts: `gemini/x` stands after `x`, which is Vertex AI's.
        made.models.setdefault(seller, {}).setdefault(region, {}).setdefault(name, priced)
    return made


def _place(key: str, row: Mapping[str, Any]) -> tuple[str, str, str] | str:
    """Return seller, region and name of a row; or why it is left out."""
    label = str(row.get("litellm_provider", ""))
    seller = "google" if label.startswith("vertex_ai") else _SELLERS.get(label, "")
    if not seller:
        return "seller_not_read"
    if str(row.get("mode")) not in _MODES:
        return "no_model_call"
    name = key.lower()
    heads = ("vertex_ai/", "gemini/") if seller == "google" else (_HEADS.get(label, label).lower() + "/",)
    for head in heads:
        name = name.removeprefix(head)
    if _NOT_A_NAME.search(name):
        return "not_a_name"
    region, _, rest = name.partition("/")
    if seller == "aws" and rest and _REGION.fullmatch(region):
        return seller, region, rest.removeprefix("invoke/")
    if seller == "aws" and name.startswith("us-gov."):
        return seller, "us-gov", name.removeprefix("us-gov.")
    if seller == "azure" and rest:
        if region == "us-gov":
            return seller, region, rest
        if region in {"us", "eu", "apac"}:
            return "data_zone"  # by the rule for data zones, for all models alike
        for head in _AZURE_HEADS:
            name = name.removeprefix(head)
    return seller, "", name


def _row(row: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the prices of a row; or why it is left out."""
    mode = str(row.get("mode"))
    sides: dict[str, dict[int, Rates]] = {"": {0: {}}}
    for key, value in row.items():
        match = _FIELD.fullmatch(key)
        bucket = _BUCKETS.get(match["base"]) if match else None
        if bucket is None or match is None or not _is_price(value):
            continue
        tier, above = _TIERS.get(match["tier"] or "", ""), int(match["above"] or 0) * 1000
        sides.setdefault(tier, {}).setdefault(above, {})[bucket] = Decimal(value) * _MILLION
    for step in row.get("tiered_pricing") or ():
        if not (isinstance(step, dict) and isinstance(step.get("range"), Sequence) and step["range"]):
            return "unreadable_steps"
        rates = {bucket: Decimal(step[key]) * _MILLION for key, bucket in _BUCKETS.items() if _is_price(step.get(key))}
        sides[""].setdefault(int(step["range"][0]), {}).update(rates)
    base = sides[""][0]
    by_token = any(base.values())
    fees = dict(_fees(row, mode, by_token=by_token))
    if not by_token:
        return {"fees": fees} if fees else "free_or_unknown"
    wrong = _implausible(base, mode)
    if wrong:
        return wrong
    kept: dict[str, Any] = {}
    for tier, steps in sides.items():
        for rates in steps.values():
            _drop_odd_caches(rates, base)
        if tier and (not ({"input", "output"} & {*steps.get(0, {})}) or {*sides[""]} - {*steps}):
            continue  # half a price of a tier is none
        kept[tier] = {str(above): rates for above, rates in sorted(steps.items()) if rates}
    if fees:
        kept["fees"] = fees
    return kept


def _implausible(base: Rates, mode: str) -> str:
    price_in, price_out = base.get("input"), base.get("output")
    if mode not in _ONE_SIDED and mode != "image_generation" and (not price_in or not price_out):
        return "one_price_of_two"
    if (price_in or 0) > MAX_INPUT or (price_out or 0) > MAX_OUTPUT:
        return "too_dear"
    if price_in and price_out and price_in > price_out and mode not in _ONE_SIDED:
        return "input_above_output"
    return ""


def _drop_odd_caches(rates: Rates, base: Rates) -> None:
    price = rates.get("input", base.get("input", Decimal(0)))
    if rates.get("cache_read", price) > price:
        del rates["cache_read"]
    for bucket in ("cache_write", "cache_write_1h"):
        # Databricks' prices are multiples of a unit, and a hair off.
        if bucket in rates and not price * Decimal("0.99") <= rates[bucket] <= price * 4:
            del rates[bucket]


def _fees(row: Mapping[str, Any], mode: str, *, by_token: bool) -> Iterator[tuple[str, Decimal]]:
    key, unit = _FEES.get(mode, ("", ""))
    sized = any(key.startswith("output_cost_per_image_") for key in row)
    if _is_price(row.get(key)) and row[key] and not by_token and not (unit == "image" and sized):
        yield unit, Decimal(row[key])
    searches = row.get(_SEARCH)
    if isinstance(searches, dict) and by_token:
        prices = {price for price in searches.values() if _is_price(price)}
        if len(prices) == 1 and (price := prices.pop()):  # else it depends on what no span says
            yield "web_search", Decimal(price)


def _is_price(value: object) -> bool:
    return isinstance(value, Decimal | int) and not isinstance(value, bool) and value >= 0
