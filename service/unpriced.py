"""What has no price: collected from metrics or runs, and written as an override file to fill in.

A blank that is left blank is an error when the file is read, never a price of nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

METRIC: Final = "spanledger_llm_unpriced_tokens_total"


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Calls that have no price, of one model for one reason."""

    provider: str
    model: str
    reason: str
    tokens: int
    services: tuple[str, ...] = ()
    calls: int | None = None
    """None where only tokens were counted."""


def of_samples(samples: Iterable[tuple[Mapping[str, str], float]]) -> list[Unpriced]:
    """Return what samples of `METRIC` say, the most tokens first."""
    tokens: Counter[tuple[str, str, str]] = Counter()
    services: dict[tuple[str, str, str], set[str]] = {}
    for labels, value in samples:
        key = (labels.get("provider", ""), labels.get("model", ""), labels.get("reason", ""))
        if value > 0:
            tokens[key] += int(value)
            services.setdefault(key, set()).add(labels.get("service_name", ""))
    return [Unpriced(*key, count, tuple(sorted(services[key] - {""}))) for key, count in _most(tokens)]


def of_calls(calls: Iterable[tuple[str, str, str, str, int]]) -> list[Unpriced]:
    """Return what calls say, each a provider, a model, a reason, a service and tokens."""
    tokens: Counter[tuple[str, str, str]] = Counter()
    number: Counter[tuple[str, str, str]] = Counter()
    services: dict[tuple[str, str, str], set[str]] = {}
    for provider, model, reason, service, count in calls:
        key = (provider, model, reason)
        tokens[key] += count
        number[key] += 1
        services.setdefault(key, set()).add(service)
    return [Unpriced(*key, count, tuple(sorted(services[key] - {""})), number[key]) for key, count in _most(tokens)]


def _most(tokens: Counter[tuple[str, str, str]]) -> list[tuple[tuple[str, str, str], int]]:
    return sorted(tokens.items(), key=lambda pair: (-pair[1], pair[0]))


def as_json(found: Sequence[Unpriced]) -> str:
    """Return a list of objects."""
    return json.dumps(
        [
            {"provider": one.provider, "model": one.model, "reason": one.reason, "tokens": one.tokens,
             "calls": one.calls, "services": list(one.services)}
            for one in found
        ],
        indent=2,
    )  # fmt: skip


_BY_TOKEN: Final = ("input", "output")
_NOT_A_PRICE: Final = {
    "no_model": "the spans name no model: nothing that a price could be given to",
    "inconsistent": "the counts contradict each other: a matter of the instrumentation, not of a price",
}
_BLOCKS: Final = ("aliases", "prices", "fees", "self_hosted")


def as_yaml(found: Sequence[Unpriced], origin: str) -> str:
    """Return an override file with a blank for each price that is missing."""
    rows: dict[str, list[str]] = {block: [] for block in _BLOCKS}
    left: list[str] = []
    for one in found:
        if why := _NOT_A_PRICE.get(one.reason, "" if one.model else _NOT_A_PRICE["no_model"]):
            left.append(f"# {_name(one)}: {_count(one)}: {why}")
        elif one.model == "__other__":
            left.append(f"# {_count(one)} of models beyond the limit of series: see the log for their names")
        else:
            block, lines = _row(one)
            rows[block] += [f"  # {_count(one)}: {one.reason}", *lines]
    total = sum(one.tokens for one in found)
    head = [
        f"# {len(found)} without a price, {total:,} tokens, according to {origin}.",
        "# Fill in the blanks: US dollars a million tokens, unless it says otherwise. `spanledger prices check FILE`",
        "# tells what is still missing. Then name the file in `overrides` of genai_pricing.",
        "version: 1",
    ]
    body = [line for block in _BLOCKS if rows[block] for line in (f"{block}:", *rows[block])]
    return "\n".join([*head, *body, *left]) + "\n"


def _row(one: Unpriced) -> tuple[str, list[str]]:
    named = [f"  - provider: {_quoted(one.provider)}", f"    model: {_quoted(one.model)}"]
    if one.reason == "self_hosted":
        match = f"{{provider: {_quoted(one.provider)}, model: {_quoted(one.model)}}}"
        return "self_hosted", [
            f"  - match: {match}", "    input:", "    output:  # or gpu_hour_usd, gpus and concurrency instead of both",
        ]  # fmt: skip
    if one.reason == "provisioned":
        return "prices", [*named, "    input: 0  # the capacity is paid for by the hour", "    output: 0"]
    if one.reason in ("not_priced_by_token", "not_priced_by_unit"):
        return "fees", [*named, "    image:  # or page, character, audio_input_minute, ...: dollars for each"]
    if one.reason == "no_audio_price":
        return "prices", [*named, *(f"    {key}:" for key in (*_BY_TOKEN, "audio_input", "audio_output"))]
    if _is_deployment(one):
        return "aliases", [*named, "    use:  # provider/model that it is, such as azure/gpt-4.1"]
    return "prices", [*named, *(f"    {key}:" for key in _BY_TOKEN)]


def _is_deployment(one: Unpriced) -> bool:
    """Tell whether the model is a name that the operator gave to somebody's model."""
    return one.model.startswith("arn:") or (one.provider.startswith(("azure", "az.")) and one.reason == "unknown_model")


def _count(one: Unpriced) -> str:
    calls = f"{one.calls:,} calls, " if one.calls is not None else ""
    services = f" of {', '.join(map(_plain, one.services[:3]))}{', ...' if len(one.services) > 3 else ''}"
    return f"{calls}{one.tokens:,} tokens{services if one.services else ''}"


def _name(one: Unpriced) -> str:
    return _plain(f"{one.provider}/{one.model}")


def _plain(text: str) -> str:
    """Return text from outside so that it cannot end a comment."""
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def _quoted(text: str) -> str:
    """Return text as a scalar of YAML; wildcards in it mean themselves."""
    escaped = "".join(f"[{char}]" if char in "*?[" else char for char in text)
    return json.dumps(escaped)


def samples_of(exposition: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield labels and value of each sample of `METRIC` in what /metrics answered."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = [line for line in exposition.splitlines() if METRIC.removesuffix("_total") in line and "{" in line]
    wanted = "\n".join([f"# TYPE {METRIC} counter", *(line for line in lines if line.startswith(METRIC + "{"))]) + "\n"
    for family in text_string_to_metric_families(wanted):
        for sample in family.samples:
            if sample.name == METRIC:
                yield sample.labels, sample.value


def unpriced_steps(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int, int, int]]:
    """Yield provider, model, service, tokens, input and output of the unpriced steps of a run document."""
    service = str(document.get("service_name") or "")
    for step in document.get("steps") or ():
        if isinstance(step, dict) and step.get("cost_status") == "unpriced":
            usage = step.get("usage") or {}
            tokens_in, tokens_out = (_tokens(usage.get(key)) for key in ("input_tokens", "output_tokens"))
            provider, model = str(step.get("provider") or ""), str(step.get("model") or "")
            yield provider, model, service, tokens_in + tokens_out, tokens_in, tokens_out


def _tokens(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
