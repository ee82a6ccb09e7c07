"""What the texts of alerts have in common: how they name an agent, and say a second number."""

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
        f"{form}{{{{ else }}}}not known{{{{ end }}}}"
    )


def lookup_usd(series: str) -> str:
    """Return a template that says the value of a series of the same agent as dollars."""
    return lookup(series, '{{ . | first | value | printf "$%.4g" }}')


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
