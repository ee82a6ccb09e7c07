"""The table of metrics: names that Prometheus and its users expect, and a page that says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spanledger.conventions.metrics import GENAI, METRICS, SEMCONV, Metric, reference

ROOT = Path(__file__).parent.parent
REGISTRY = ROOT.parent / "shared/semconv/derived/resolved-2026-10-09.json"
REPLACED = "gen_ai_client_token_usage"
"""Of semantic-conventions 1.41, whose dashboards go on; the registry has others in its place."""

rows = pytest.mark.parametrize("row", METRICS, ids=lambda row: row.name)


def test_names_are_unique() -> None:
    """Samples of one family cannot be taken for another's."""
    names = [
        row.name.removesuffix("_total") + suffix
        for row in METRICS
        for suffix in {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}[row.type]
    ]

    assert len(names) == len(set(names))


@rows
def test_names_follow_the_rules_of_prometheus(row: Metric) -> None:
    """Snake case, `_total` on counters only, the unit last, no suffix that means something else."""
    assert re.fullmatch(r"(spanledger|gen_ai|otelcol)(_[a-z0-9]+)+", row.name)
    assert row.name.endswith("_total") == (row.type == "counter")
    base = row.name.removesuffix("_total")
    assert not base.endswith(("_bucket", "_count", "_sum", "_created"))
    if row.unit:
        assert base.endswith(f"_{row.unit}")
    if row.name.endswith(("_seconds", "_bytes")):
        assert row.unit


@rows
def test_help_is_a_sentence(row: Metric) -> None:
    """On one line, ended by a full stop."""
    assert re.fullmatch(r"[A-Z1][^\n]*\.", row.help)


@rows
def test_labels_are_allowed(row: Metric) -> None:
    """No id, user, session or content is a label of anything."""
    assert len(set(row.label_names)) == len(row.labels)
    for name in row.label_names:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert not re.search(r"(^|_)(id|user|session|conversation|run|span|trace|prompt|message|content)($|_)", name)
        assert name not in {"le", "quantile", "job", "instance"}


@rows
def test_buckets_ascend(row: Metric) -> None:
    """Histograms have bounds, without +Inf; nothing else has."""
    assert bool(row.buckets) == (row.type == "histogram")
    assert list(row.buckets) == sorted(set(row.buckets))
    assert not row.buckets or 0 < row.buckets[0] <= row.buckets[-1] < float("inf")


@pytest.mark.parametrize("row", [*GENAI, *SEMCONV], ids=lambda row: row.name)
def test_what_comes_from_spans_tells_whose_it_is(row: Metric) -> None:
    """One sidecar serves several services. What spans are read as is a number about the sidecar."""
    assert row.label_names[0] == "service_name" or row.name == "spanledger_spans_total"


@pytest.mark.skipif(not REGISTRY.exists(), reason="the semantic conventions as data are not here")
@pytest.mark.parametrize("row", [row for row in SEMCONV if row.name != REPLACED], ids=lambda row: row.name)
def test_the_conventions_names_units_and_buckets_are_theirs(row: Metric) -> None:
    """Translated to Prometheus: dots to underscores, units spelled out, `_total` on counters."""
    units = {"s": "_seconds"}
    theirs = {
        name.replace(".", "_")
        + units.get(metric["unit"], "")
        + ("_total" if metric["instrument"] == "counter" else ""): metric
        for name, metric in json.loads(REGISTRY.read_text())["metrics"].items()
    }

    assert row.type == theirs[row.name]["instrument"]
    assert list(row.buckets) == theirs[row.name].get("bucket_boundaries", [])
    attributes = {name.replace(".", "_") for name in theirs[row.name]["attributes"]}
    assert set(row.label_names) - {"service_name"} <= attributes


def test_the_page_is_what_the_table_says() -> None:
    """If not: `make docs`."""
    assert (ROOT / "docs/metrics.md").read_text() == reference()
