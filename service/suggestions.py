"""What was meant: the nearest known name, or what a Collector user should write instead."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import pydantic

from spanledger.processor.component import KINDS, ComponentId, Kind, Registry
from spanledger.service.fields import fields, models
from spanledger.service.nodes import Path

_LEARNED: Final[dict[tuple[Kind, str], str]] = {
    ("processor", "batch"): "remove it: requests are sent as they came; let the SDKs' batch processor batch",
    ("processor", "gen_ai_normalizer"): "here it is called genai_normalizer",
    ("processor", "attributes"): "nothing edits attributes by rule here; do it in a Collector behind",
    ("processor", "resource"): "nothing edits attributes by rule here; do it in a Collector behind",
    ("processor", "transform"): "nothing edits attributes by rule here; do it in a Collector behind",
    ("processor", "filter"): "nothing filters by rule here; do it in a Collector behind",
    ("processor", "probabilistic_sampler"): "every span is needed to count cost; sample in a Collector behind",
    ("processor", "tail_sampling"): "every span is needed to count cost; sample in a Collector behind",
    ("processor", "k8sattributes"): "set OTEL_RESOURCE_ATTRIBUTES in the pod, or do it in a Collector behind",
    ("processor", "resourcedetection"): "set OTEL_RESOURCE_ATTRIBUTES in the app, or do it in a Collector behind",
    ("exporter", "logging"): "the logging exporter has been deprecated, use the debug exporter instead",
    ("exporter", "jaeger"): "Jaeger takes OTLP: use the otlp exporter",
    ("exporter", "zipkin"): "use the otlp exporter, with a Collector for Zipkin behind",
    ("exporter", "prometheusremotewrite"): "use the prometheus exporter and let Prometheus scrape it",
    ("exporter", "loki"): "Loki takes OTLP: use the otlp_http exporter",
    ("exporter", "datadog"): "use the otlp exporter, with the Datadog agent or a Collector behind",
    ("receiver", "jaeger"): "let the app send OTLP to the otlp receiver, or put a Collector in front",
    ("receiver", "zipkin"): "let the app send OTLP to the otlp receiver, or put a Collector in front",
    ("receiver", "prometheus"): "let Prometheus scrape; only OTLP comes in here",
    ("receiver", "hostmetrics"): "run a Collector or node_exporter for the host; only OTLP comes in here",
    ("receiver", "filelog"): "put a Collector in front; only OTLP comes in here",
    ("connector", "spanmetrics"): "use genai_metrics for GenAI spans, or a Collector behind for all others",
    ("connector", "forward"): "name the receiver in both pipelines instead",
    ("extension", "pprof"): "there is no profiling port; look into the process with py-spy",
    ("extension", "memory_ballast"): "remove it: Python has no ballast; limit memory with the memory_limiter processor",
    ("extension", "healthcheckv2"): "here it is called health_check",
}
"""Collector components that are not here, and what to do about it."""

_LEARNED_KEYS: Final[dict[str, str]] = {
    "service::telemetry::metrics": "the prometheus exporter shows the sidecar's own numbers too",
    "service::telemetry::traces": "the sidecar does not trace itself",
    "service::telemetry::resource": "the sidecar's own numbers have no resource; label them in Prometheus",
    "service::telemetry::logs::sampling": "not here because lines that repeat are held back and counted already",
    "tls::include_system_ca_certs_pool": "not here because ca_file replaces the system's authorities: put all in it",
    "read_buffer_size": "not here because Python's libraries size their buffers themselves: remove it",
    "write_buffer_size": "not here because Python's libraries size their buffers themselves: remove it",
    "include_metadata": "not here because no processor reads a client's headers: remove it",
    "max_idle_conns": "not here because idle connections close by themselves; bound all with max_conns_per_host",
    "idle_conn_timeout": "not here because idle connections close by themselves after 15 s: remove it",
    "flush_interval": "not here because every request is written when it comes: remove it",
    "sending_queue::blocking": "a full queue always refuses, so that the sender keeps the data",
}
"""Collector keys that are not here, by the end of their path."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that was most likely meant, or the empty string."""
    flat = {_flat(candidate): candidate for candidate in known}
    match = difflib.get_close_matches(_flat(name), flat, n=1, cutoff=0.65)
    return flat[match[0]] if match else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `did you mean x?`, or the empty string when nothing is near."""
    match = nearest(name, known)
    return did_you_mean_this(match) if match else ""


def did_you_mean_this(name: str) -> str:
    """Return what is said when `name` was most likely meant."""
    return f"did you mean {name}?"


def for_key(path: Path, name: str, annotation: Any) -> str:
    """Return what to do about the unknown key `name` of a block, `path` being the way to the block."""
    full = "::".join((*path, name))
    for ending, advice in _LEARNED_KEYS.items():
        if full == ending or full.endswith("::" + ending):
            return advice
    blocks = list(models(annotation))
    known = [key for block in blocks for key in fields(block)]
    if advice := did_you_mean(name, known):
        return advice
    deeper = sorted("::".join(place) for block in blocks for place in _places(block, name))
    if deeper:
        return did_you_mean_this(deeper[0])
    if not known:
        return "it has no keys"
    return f"known keys: {', '.join(known)}" if len(known) <= 20 else ""


def _places(block: type[pydantic.BaseModel], name: str, depth: int = 4) -> Iterator[Path]:
    """Yield where below `block` a key of that name exists: it was written one level too high."""
    for key, field in fields(block).items():
        for inner in models(field.annotation) if depth else ():
            if name in fields(inner):
                yield key, name
            yield from ((key, *place) for place in _places(inner, name, depth - 1))


def for_type(kind: Kind, type_name: str, registry: Registry) -> str:
    """Return what to do about a component type that is not registered."""
    if advice := _LEARNED.get((kind, type_name)):
        return advice
    for other in KINDS:
        if other != kind and type_name in registry.of(other):
            return f"{type_name} goes under {other}s"
    return did_you_mean(type_name, registry.of(kind))


def for_reference(
    kind: Kind, name: ComponentId, configured: Mapping[Kind, Collection[ComponentId]], registry: Registry
) -> str:
    """Return what to do about a reference to a component that is not configured."""
    usable: tuple[Kind, ...] = (kind, "connector") if kind in ("receiver", "exporter") else (kind,)
    for other, ids in configured.items():
        if other not in usable and name in ids:
            return f"{name} is configured as {_article(other)}"
    if advice := did_you_mean(str(name), [str(known) for other in usable for known in configured[other]]):
        return advice
    for candidate in usable:
        if name.type in registry.of(candidate):
            return f'add "{name}:" under {candidate}s'
    return for_type(kind, name.type, registry)


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _flat(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
