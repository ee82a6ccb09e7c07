"""How a rule, or a panel, sees the first event of a counter.

A series that is born with its first event has nothing that it increased from, so `increase()` says 0.
"""

from __future__ import annotations


def born(series: str, window: str, seconds: str | int) -> str:
    """Return an expression for the counters that were born within a window.

    They were not there a window ago, though their sidecar was, or their sidecar has not run for longer: one that was
    away for a while and comes back with old counts, or that Prometheus has just begun to scrape, is neither.
    """
    return (
        f"({series} unless {series} offset {window})\n"
        f"  and on (job, instance) (up offset {window} == 1 or otelcol_process_uptime_seconds < {seconds})"
    )


def happened(series: str, by: str, window: str = "10m", seconds: int = 600) -> str:
    """Return an expression for a counter that must not move: how much it did."""
    return (
        f"sum by ({by}) (increase({series}[{window}])) > 0\n"
        f"or\n"
        f"sum by ({by}) (\n  {born(series, window, seconds)}\n) > 0"
    )
