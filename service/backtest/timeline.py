"""Stored runs as the time series that Prometheus would have scraped, in the notation of `promtool test rules`."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spanledger.service.backtest.counted import Labels, counted, end_ns, step_end_ns

if TYPE_CHECKING:
    from spanledger.conventions.run import Run

TAIL_S: Final = 3600
"""Played on after the last run, so that what it began can end; but not into the future."""
GAUGES: Final = frozenset({"spanledger_open_run_steps_max", "spanledger_open_run_cost_usd_max"})
"""Series of runs that were under way."""
_ALWAYS: Final = {
    "up": "1+0",
    "spanledger_runs_open": "0+0",
    "spanledger_uncounted_steps_total": "0+0",
    "spanledger_price_data_info": "1+0",
}
TAKEN_FOR_GRANTED: Final = frozenset({*_ALWAYS, "otelcol_process_uptime_seconds"})
"""Series of a sidecar that is well: nobody knows whether it was."""
_SIDECAR: Final = ('job="spanledger"', 'instance="backtest"')


@dataclass(frozen=True, slots=True)
class Timeline:
    """Series with one sample every `step_s` seconds, the first at `start_s` (seconds since the epoch)."""

    start_s: int
    step_s: int
    samples: int
    series: dict[str, str]
    """Series -> its values."""


def first_and_last(runs: Iterable[Run]) -> tuple[int, int]:
    """Return when the first of some runs began and the last ended, seconds since the epoch; 0 and 0 without runs."""
    known = [(run.started_at_ns // 10**9, end_ns(run) // 10**9) for run in runs]
    return min((begin for begin, _ in known), default=0), max((end for _, end in known), default=0)


def span(runs: Sequence[Run], step_s: int, now_s: float) -> tuple[int, int]:
    """Return when to begin (seconds since the epoch) and how many samples there are. `runs` are at least one."""
    begin, last = first_and_last(runs)
    start = begin // step_s * step_s - step_s
    end = max(last + step_s, min(last + TAIL_S, int(now_s)))
    return start, (end - start) // step_s + 1


def timeline(runs: Iterable[Run], start_s: int, step_s: int, samples: int) -> Timeline:
    """Return the series of some runs.

    All series of an agent begin at 0 with its first run: what is born with its first event is seen by `increase()`
    as the sidecar's own series with closed labels are.
    """
    grown: dict[tuple[str, Labels], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    born: dict[str, int] = {}
    open_runs: dict[Labels, list[Run]] = defaultdict(list)

    def sample_of(at_ns: int) -> int:
        """Return the first sample that shows what happened then."""
        return min(max(0, -((start_s * 10**9 - at_ns) // (step_s * 10**9))), samples - 1)

    for run in runs:
        first = sample_of(run.started_at_ns)
        born[run.service_name] = min(first, born.get(run.service_name, first))
        open_runs[("service_name", run.service_name), ("agent_name", run.agent_name)].append(run)
        for one in counted(run):
            grown[one.name, one.labels][sample_of(one.at_ns)] += one.amount
    series = {}
    for (name, labels), amounts in grown.items():
        begin = max(0, born[dict(labels)["service_name"]] - 1)
        series[_named(name, labels)] = _counter(amounts, begin, samples)
    for labels, theirs in open_runs.items():
        series |= _gauges(labels, theirs, start_s, step_s, samples)
    always = {**_ALWAYS, "otelcol_process_uptime_seconds": f"86400+{step_s}"}
    series |= {_named(name, ()): f"{values}x{samples - 1}" for name, values in always.items()}
    return Timeline(start_s, step_s, samples, series)


def _named(name: str, labels: Labels) -> str:
    pairs = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels)
    return f"{name}{{{', '.join((*_SIDECAR, *pairs))}}}"


def _counter(amounts: dict[int, float], begin: int, samples: int) -> str:
    """Return a counter that is not there before `begin`, is 0 then, and grows where `amounts` say."""
    tokens = [f"_x{begin - 1}"] if begin else []
    value, at = 0.0, begin
    for sample in sorted(amounts):
        if sample > at:
            tokens.append(f"{value!r}+0x{sample - at - 1}")
            at = sample
        value += amounts[sample]
    tokens.append(f"{value!r}+0x{samples - at - 1}")
    return " ".join(tokens)


def _gauges(labels: Labels, runs: Sequence[Run], start_s: int, step_s: int, samples: int) -> dict[str, str]:
    """Return the worst run under way at each sample: its steps and its dollars so far."""
    steps: dict[int, float] = {}
    dollars: dict[int, float] = {}
    for run in runs:
        ended = sorted((step_end_ns(step), (step.cost_pico_usd or 0) / 1e12) for step in run.steps)
        spent, total = [0.0], 0.0
        for _, cost in ended:
            total += cost
            spent.append(total)
        first = max(0, (run.started_at_ns - start_s * 10**9) // (step_s * 10**9) + 1)
        last = min((end_ns(run) // 10**9 - start_s) // step_s, samples - 1)
        for sample in range(first, last + 1):
            done = bisect_right(ended, ((start_s + sample * step_s) * 10**9, float("inf")))
            steps[sample] = max(steps.get(sample, 0), done)
            dollars[sample] = max(dollars.get(sample, 0), spent[done])
    return {
        _named(name, labels): " ".join(repr(values.get(sample, 0.0)) for sample in range(samples))
        for name, values in (
            ("spanledger_open_run_steps_max", steps),
            ("spanledger_open_run_cost_usd_max", dollars),
        )
        if values
    }
