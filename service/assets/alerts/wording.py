"""What alerts have in common: how they name an agent, look up a second number, and see a first event."""

from __future__ import annotations

from typing import Final

AGENT: Final = (
    "{{ with $labels.agent_name }}Agent {{ . }}{{ else }}An agent without a name{{ end }} of {{ $labels.service_name }}"
)
INSTANCE: Final = "The sidecar {{ $labels.instance }}"

USD: Final = '{{ $value | printf "$%.4g" }}'
PERCENT: Final = "{{ $value | humanizePercentage }}"
NUMBER: Final = '{{ $value | printf "%.4g" }}'


def lookup(series: str, form: str = '{{ . | first | value | printf "%.4g" }}') -> str:
    """Return a template that says the value of a series of the same agent."""
    selector = f"{series}{{service_name=%q, agent_name=%q}}"
    return (
        f"{{{{ with printf {_quoted(selector)} $labels.service_name $labels.agent_name | query }}}}"
        f"{form}{{{{ else }}}}unknown{{{{ end }}}}"
    )


def lookup_usd(series: str) -> str:
    """Return a template that says the value of a series of the same agent as dollars."""
    return lookup(series, '{{ . | first | value | printf "$%.4g" }}')


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


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
