"""What docs/performance.md and the README say of a run of the benchmarks: written from its JSON, between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.measures.throughput import MAIN
from bench.report import number, rows_of, table

BEGIN: Final = "<!-- bench: python -m bench --pages dist/bench.json -->"
END: Final = "<!-- bench: end -->"
_ROOT: Final = Path(__file__).parents[1]
_WHO: Final = {
    "bare": "a gRPC server in Python that drops everything",
    "walk": "the same, but it looks at every attribute",
    "rotel": "Rotel, passing on",
    "otelcol": "OpenTelemetry Collector, nearest equal work",
    "phoenix": "Phoenix, storing in SQLite",
    "spanledger": "**spanledger**, default pipeline, two backends",
}


def write(results: Mapping[str, Any]) -> None:
    """Write both pages."""
    for name, lines in (("docs/performance.md", page(results)), ("README.md", quote(results))):
        path = _ROOT / name
        path.write_text(put(path.read_text(), lines))


def put(text: str, lines: Iterator[str]) -> str:
    """Return `text` with lines in place of what is between the marks. Raises ValueError where one is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the tables: {BEGIN} and {END} are needed")
    return "\n".join([before + BEGIN, *lines, END + after])


def page(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield all tables, and what they were measured on."""
    about = results["machine"]
    yield ""
    yield (
        f"One run of `{results['command']}` on {about['cpu']}, {about['cores']} cores, Python {about['python']}, in "
        f"{results['took_s']} s; load average {_load(results)}."
    )
    for line in rows_of(results):
        yield f"#{line}" if line.startswith("## ") else line
    for what in ("missing", "failed"):
        for name, why in results.get(what, {}).items():
            yield from ("", f"Not measured: {name}: {why}")
    yield ""


def _load(results: Mapping[str, Any]) -> str:
    about = results["machine"]
    return f"{about['load_average_1m']:.1f} before and {about['load_average_1m_at_the_end']:.1f} after"


def quote(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ratios that matter."""
    sides = results.get("throughput", {}).get(MAIN.name, {})
    rates = {name: sides[name]["spans_per_cpu_s"] for name in _WHO if sides.get(name, {}).get("spans_per_cpu_s")}
    ours = rates.get("spanledger")
    yield ""
    yield f"GenAI spans for each second of CPU of one core ([how](docs/performance.md)), by `{results['command']}`,"
    yield from (f"load average {_load(results)}:", "")
    yield from table(
        ("who", "spans", "times ours"),
        [
            (_WHO[name], number(rate), number(rate / ours, 2 if rate < 10 * ours else 0) if ours else number(None))
            for name, rate in sorted(rates.items(), key=lambda item: -item[1])
        ],
    )
    yield ""
