"""How a rule sees the first event of a counter."""

from __future__ import annotations


def happened(series: str, by: str, window: str = "10m", seconds: int = 600) -> str:
    """Return an expression for a counter that must not move: how much it did.

    A series that is born with its first event has nothing that it increased from, so `increase()` says 0. The second
    arm takes those that were not there a window ago, though their sidecar was, or that a sidecar shows which has not
    run for longer: one that was away for a while and comes back with old counts is neither.
    """
    return (
        f"sum by ({by}) (increase({series}[{window}])) > 0\n"
        f"or\n"
        f"sum by ({by}) (\n"
        f"  ({series} unless {series} offset {window})\n"
        f"  and on (job, instance) (up offset {window} == 1 or otelcol_process_uptime_seconds < {seconds})\n"
        f") > 0"
    )
