"""What has no price: collected from metrics or runs, and written as an override file to fill in.

A blank that is left blank is an error when the file is read, never a price of nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

UNPRICED: Final = "spanledger_llm_unpriced_tokens_total"
PARTLY: Final = "spanledger_llm_partly_priced_cost_usd_total"


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Calls that have no price, or one for a part only, of one model for one reason."""

    provider: str
    model: str
    reason: str
    tokens: int
    services: tuple[str, ...] = ()
    calls: int | None = None
    """None where only tokens or dollars were counted."""
    part_usd: float | None = None
    """What the part cost that has a price; None where nothing has one."""


def together(found: Iterable[Unpriced]) -> list[Unpriced]:
    """Return one for each model and reason: the most tokens without a price first, then the most dollars of parts."""
    sums: dict[tuple[str, str, str, bool], Unpriced] = {}
    for one in found:
        key = one.provider, one.model, one.reason, one.part_usd is None
        sums[key] = _plus(sums[key], one) if key in sums else one
    return sorted(sums.values(), key=lambda one: (one.part_usd is not None, -(one.part_usd or 0), -one.tokens))


def _plus(a: Unpriced, b: Unpriced) -> Unpriced:
    return replace(
        a,
        tokens=a.tokens + b.tokens,
        services=tuple(sorted({*a.services, *b.services})),
        calls=None if a.calls is None or b.calls is None else a.calls + b.calls,
        part_usd=None if a.part_usd is None or b.part_usd is None else a.part_usd + b.part_usd,
    )


def as_json(found: Sequence[Unpriced]) -> str:
    """Return a list of objects."""
    return json.dumps(
        [
            {"provider": one.provider, "model": one.model, "reason": one.reason, "tokens": one.tokens,
             "calls": one.calls, "part_usd": one.part_usd, "services": list(one.services)}
            for one in found
        ],
        indent=2,
    )  # fmt: skip


_BY_TOKEN: Final = ("input", "output")
_NOT_A_PRICE: Final = {
    "no_model": "the spans name no model: nothing that a price could be given to",
    "inconsistent": "the counts contradict each other: a matter of the instrumentation, not of a price",
    "input_unknown": "the spans tell no tokens of the input: a matter of the instrumentation, not of a price",
    "output_unknown": "the spans tell no tokens of the output, as those of a stream that was broken off",
    "tokens_unknown": "the spans tell what is billed beside tokens, and no tokens",
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
    whole = [one for one in found if one.part_usd is None]
    parts = len(found) - len(whole)
    head = [
        f"# {len(whole)} without a price, {sum(one.tokens for one in whole):,} tokens, according to {origin}.",
        *([f"# {parts} with a price for a part only: they cost more than is told."] if parts else ()),
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
    if one.reason == "fee_unknown":
        return "fees", [*named, "    web_search:  # or code_execution, file_search, ...: dollars for each"]
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
    calls = f"{one.calls:,} call{'s' if one.calls != 1 else ''}, " if one.calls is not None else ""
    amount = f"{one.tokens:,} tokens" if one.part_usd is None else f"${one.part_usd:,.6f} for a part"
    services = f" of {', '.join(map(_plain, one.services[:3]))}{', ...' if len(one.services) > 3 else ''}"
    return f"{calls}{amount}{services if one.services else ''}"


def _name(one: Unpriced) -> str:
    return _plain(f"{one.provider}/{one.model}")


def _plain(text: str) -> str:
    """Return text from outside so that it cannot end a comment."""
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def _quoted(text: str) -> str:
    """Return text as a scalar of YAML; wildcards in it mean themselves."""
    escaped = "".join(f"[{char}]" if char in "*?[" else char for char in text)
    return json.dumps(escaped)


def of_metrics(exposition: str) -> Iterator[Unpriced]:
    """Yield what each sample of `UNPRICED` and `PARTLY` says in what /metrics answered."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = exposition.splitlines()
    for metric in (UNPRICED, PARTLY):
        own = (line for line in lines if line.startswith(metric + "{"))
        for family in text_string_to_metric_families("\n".join((f"# TYPE {metric} counter", *own, ""))):
            for sample in family.samples:
                if sample.name == metric and sample.value > 0:
                    provider, model, reason, service = (
                        sample.labels.get(name, "") for name in ("provider", "model", "reason", "service_name")
                    )
                    tokens, part_usd = (int(sample.value), None) if metric == UNPRICED else (0, sample.value)
                    yield Unpriced(provider, model, reason, tokens, (service,) if service else (), part_usd=part_usd)


def unpriced_steps(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int, int, int]]:
    """Yield provider, model, service, tokens, input and output of the unpriced steps of a run document."""
    service = str(document.get("service_name") or "")
    for step in document.get("steps") or ():
        if isinstance(step, dict) and step.get("cost_status") == "unpriced":
            usage = step.get("usage") or {}
            tokens_in, tokens_out = (_tokens(usage.get(key)) for key in ("input_tokens", "output_tokens"))
            provider, model = str(step.get("provider") or ""), str(step.get("model") or "")
            yield provider, model, service, tokens_in + tokens_out, tokens_in, tokens_out


def partly_priced_steps(document: Mapping[str, Any]) -> Iterator[Unpriced]:
    """Yield the model calls of a run document that have a price for their input or their output only.

    A run that counts no such call has none: what it says was told whole. A fee that is not known shows in metrics only.
    """
    service = str(document.get("service_name") or "")
    totals = document.get("totals")
    if not isinstance(totals, dict) or not _tokens(totals.get("unpriced_calls")):
        return
    for step in document.get("steps") or ():
        if not isinstance(step, dict) or (step.get("kind"), step.get("cost_status")) != ("llm", "priced"):
            continue
        usage, spent = step.get("usage"), step.get("cost_usd")
        if not isinstance(usage, dict) or not isinstance(spent, int | float):
            continue
        unknown = [name for name in ("input", "output") if usage.get(f"{name}_tokens") is None]
        if unknown:
            reason = f"{unknown[0]}_unknown" if len(unknown) == 1 else "tokens_unknown"
            provider, model = str(step.get("provider") or ""), str(step.get("model") or "")
            yield Unpriced(provider, model, reason, 0, (service,) if service else (), 1, float(spent))


def _tokens(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
