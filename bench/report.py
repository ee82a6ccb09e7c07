"""The tables of a run of the benchmarks, and whether the targets are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.measures.throughput import MAIN, SMALL

Results = Mapping[str, Any]
DASH: Final = "–"


@dataclass(frozen=True, slots=True)
class Target:
    """Something that is to be reached, and what was."""

    what: str
    wanted: str
    measured: str
    met: bool | None
    """None when it was not measured."""


def rows_of(results: Results) -> Iterator[str]:
    """Yield the lines of all tables."""
    for title, build in _TABLES.items():
        if title in results:
            yield from ("", f"## {_TITLES[title]}", "")
            yield from build(results[title])
    yield from ("", "## Targets", "")
    marks = {True: "met", False: "**not met**", None: "not measured"}
    yield from table(
        ("target", "wanted", "measured", ""),
        [(one.what, one.wanted, one.measured, marks[one.met]) for one in targets(results)],
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for number, row in enumerate([heads, *rows]):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def targets(results: Results) -> Iterator[Target]:
    """Yield what issue 7 asks for."""
    sides = results.get("throughput", {}).get(MAIN.name, {})
    ours = _at(sides, "spanledger", "spans_per_cpu_s")
    yield _at_least("spans per CPU second", "a real Collector's", ours, _at(sides, "otelcol", "spans_per_cpu_s"))
    walk = _at(sides, "walk", "spans_per_cpu_s")
    yield _at_least("spans per CPU second", "a third of walk", ours, walk / 3 if walk else None)
    waits = results.get("latency", {}).get(SMALL.name, {})
    yield _below("added latency, P99 at half load", 0.010, _at(waits, "added", "p99_s"), "ms", 1e3)
    rest = results.get("rest", {})
    yield _below("memory at rest", 70 * 2**20, _at(rest, "spanledger", "bytes"), "MiB", 2**-20)
    yield _below("until it takes requests", 1.0, _at(rest, "spanledger", "start_s"), "s", 1.0)
    opened = results.get("open_runs", {}).get("rows", [])
    yield _below("memory of an open step", 1500.0, opened[-1]["bytes_per_open_step"] if opened else None, "B", 1.0)
    for name, phase in results.get("lag", {}).items():
        if isinstance(phase, Mapping):
            yield _below(f"loop lag P99: {name}", 0.020, phase["p99_s"], "ms", 1e3)
    for name in ("open_runs", "series", "attributes"):
        if name in results:
            wanted = "at most linear: exponent 1"
            grown = results[name]["exponent"]
            met = None if grown is None else grown <= 1.1
            yield Target(f"how the cost of a span grows: {name.replace('_', ' ')}", wanted, number(grown, 2), met)


def number(value: float | None, digits: int = 0) -> str:
    """Return a number for people."""
    return DASH if value is None else f"{value:,.{digits}f}"


def _at(results: Results, *path: str) -> float | None:
    found: Any = results
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _at_least(what: str, whose: str, ours: float | None, theirs: float | None) -> Target:
    if ours is None or theirs is None:
        return Target(what, f"at least {whose}", number(ours), None)
    return Target(what, f"at least {whose}: {number(theirs)}", number(ours), ours >= theirs)


def _below(what: str, limit: float, value: float | None, unit: str, factor: float) -> Target:
    wanted = f"at most {limit * factor:,.0f} {unit}"
    if value is None:
        return Target(what, wanted, DASH, None)
    return Target(what, wanted, f"{number(value * factor, 1)} {unit}", value <= limit)


def _throughput(results: Results) -> Iterator[str]:
    others = [(mix, sides) for mix, sides in results.items() if not mix.startswith(MAIN.name)]
    for mix, sides in results.items():
        if (mix, sides) in others:
            continue
        walk = _at(sides, "walk", "spans_per_cpu_s")
        yield from (f"{mix[0].upper()}{mix[1:]}:", "")
        yield from table(
            ("side", "spans/s", "spans/CPU s", "us/span", "of walk", "core used", "delivered"),
            [
                (
                    name,
                    number(side["spans_per_s"]),
                    number(rate := side["spans_per_cpu_s"]),
                    number(1e6 / rate if rate else None, 1),
                    number(rate / walk if rate and walk else None, 3),
                    number(side["cpu_share"], 2),
                    DASH if side["delivered"] is None else f"{side['delivered']:.1%}",
                )
                for name, side in sides.items()
            ],
        )
        yield ""
    if others:
        yield from ("Spans for each second of CPU, other mixes:", "")
        yield from _compared(others)


def _compared(mixes: Sequence[tuple[str, Results]]) -> Iterator[str]:
    def row(mix: str, sides: Results) -> tuple[str, ...]:
        walk, otelcol, ours = (_at(sides, name, "spans_per_cpu_s") for name in ("walk", "otelcol", "spanledger"))
        shares = (ours / rate if ours and rate else None for rate in (walk, otelcol))
        return (mix, number(walk), number(otelcol), number(ours), *(number(share, 3) for share in shares))

    heads = ("mix", "walk", "otelcol", "spanledger", "of walk", "of otelcol")
    yield from table(heads, [row(mix, sides) for mix, sides in mixes])


def _latency(results: Results) -> Iterator[str]:
    def ms(side: Results, key: str) -> str:
        value = _at(side, key)
        return DASH if value is None else f"{value * 1e3:.1f} ms"

    for mix, sides in results.items():
        yield from (f"{mix[0].upper()}{mix[1:]}:", "")
        yield from table(
            ("side", "requests/s", "P50", "P99", "P50 to the backend", "P99 to the backend"),
            [
                (
                    name,
                    number(_at(side, "requests_per_s"), 1),
                    ms(side, "p50_s"),
                    ms(side, "p99_s"),
                    ms(side.get("backend", {}), "p50_s"),
                    ms(side.get("backend", {}), "p99_s"),
                )
                for name, side in sides.items()
            ],
        )
        yield ""


def _rest(results: Results) -> Iterator[str]:
    yield from table(
        ("side", "start", "CPU of the start", "memory at rest", "of it its own", "pages of files"),
        [
            (
                name,
                f"{side['start_s']:.2f} s",
                f"{side['start_cpu_s']:.2f} s",
                *(_mib(side.get(key)) for key in ("bytes", "own_bytes", "file_bytes")),
            )
            for name, side in results.items()
        ],
    )


def _mib(size: float | None) -> str:
    return DASH if size is None else f"{size / 2**20:.0f} MiB"


def _open_runs(results: Results) -> Iterator[str]:
    yield from table(
        ("open runs", "us/span", "per thousand runs", "per open step"),
        [
            (
                number(row["open_runs"]),
                number(row["us_per_span"], 1),
                f"{row['bytes_per_thousand_runs'] / 2**20:.1f} MiB",
                f"{row['bytes_per_open_step']:.0f} B",
            )
            for row in results["rows"]
        ],
    )


def _series(results: Results) -> Iterator[str]:
    yield from table(
        ("series", "us/span", "scrape, text", "", "scrape, OpenMetrics", ""),
        [
            (
                number(row["series"]),
                number(row["us_per_span"], 1),
                *(
                    cell
                    for name in ("text", "openmetrics")
                    for cell in (f"{row[name]['seconds'] * 1e3:.0f} ms", f"{row[name]['bytes'] / 2**20:.1f} MiB")
                ),
            )
            for row in results["rows"]
        ],
    )


def _attributes(results: Results) -> Iterator[str]:
    yield from table(
        ("more attributes", "us/span"),
        [(number(row["attributes"]), number(row["us_per_span"], 1)) for row in results["rows"]],
    )


def _lag(results: Results) -> Iterator[str]:
    yield from table(
        ("meanwhile", "P50", "P99", "most", "P99, by the CPU time of turns"),
        [
            (name, *(f"{phase[key] * 1e3:.1f} ms" for key in ("p50_s", "p99_s", "most_s", "cpu_p99_s")))
            for name, phase in results.items()
            if isinstance(phase, Mapping)
        ],
    )


def _stages(results: Results) -> Iterator[str]:
    costs = results["us_per_span"]
    extra = {"redact", "queue on disk"}
    yield from table(("stage", "us/span"), [(name, f"{cost:.1f}") for name, cost in costs.items()])
    default = sum(cost for name, cost in costs.items() if name not in extra)
    yield from ("", f"All but redaction and the queue on disk, which are not in the default: {default:.0f} us a span.")


_TITLES: Final = {
    "throughput": "Spans a second",
    "latency": "Waiting, at half load",
    "rest": "At rest",
    "open_runs": "More open runs",
    "series": "More series",
    "attributes": "More attributes",
    "lag": "Loop lag",
    "stages": "Cost by stage",
}
_TABLES: Final = {
    "throughput": _throughput,
    "latency": _latency,
    "rest": _rest,
    "open_runs": _open_runs,
    "series": _series,
    "attributes": _attributes,
    "lag": _lag,
    "stages": _stages,
}
