"""Alerts that run documents can say nothing of, and why: what stays silent there may well fire in Prometheus.

Rules are looked at as text: enough to see which series they read, through recording rules too, and how far back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanledger.service.backtest.counted import COUNTED
from spanledger.service.backtest.timeline import GAUGES, TAKEN_FOR_GRANTED

_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_MATCHERS: Final = re.compile(r"\{[^{}]*\}")
_LABELS: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_WINDOW: Final = re.compile(r"\[([0-9a-z]+)(?::[0-9a-z]*)?\](?:\s*offset\s+([0-9a-z]+))?")
_OFFSET: Final = re.compile(r"\boffset\s+-?[0-9a-z]+")
_NAME: Final = re.compile(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])")
_WORDS: Final = frozenset(
    (
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "inf",
        "nan",
    )
)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_KNOWN: Final = COUNTED | GAUGES
_LEAST_S: Final = 3600
"""How far back a rule may look beyond what is stored without anything being said of it."""


@dataclass(frozen=True, slots=True)
class Blind:
    """An alert that could not be judged, or not in full."""

    alert: str
    why: str


def blind(groups: Iterable[Mapping[str, Any]], covered_s: int) -> list[Blind]:
    """Return the alerts of some groups of rules that cannot be judged by runs of `covered_s` seconds."""
    rules = [rule for group in groups for rule in group.get("rules") or ()]
    recorded: dict[str, list[str]] = {}
    for rule in rules:
        if "record" in rule:
            recorded.setdefault(rule["record"], []).append(str(rule.get("expr", "")))
    found = []
    for rule in rules:
        if "alert" in rule:
            why = _why(str(rule.get("expr", "")), recorded, covered_s)
            found += [Blind(str(rule["alert"]), why)] if why else []
    return found


def series_of(expr: str, recorded: Mapping[str, list[str]]) -> set[str]:
    """Return the series that an expression reads, what recording rules read in place of what they write."""
    found: set[str] = set()
    waiting, seen = [expr], set()
    while waiting:
        for name in _names(waiting.pop()):
            if name not in recorded:
                found.add(name)
            elif name not in seen:
                seen.add(name)
                waiting += recorded[name]
    return found


def _why(expr: str, recorded: Mapping[str, list[str]], covered_s: int) -> str:
    series = series_of(expr, recorded)
    unknown = sorted(series - _KNOWN - TAKEN_FOR_GRANTED)
    if unknown:
        return f"run documents do not tell {', '.join(unknown)}"
    if not series & _KNOWN:
        return "it is about the sidecar itself, which is taken to have been well"
    back_s = _look_back_s(expr, recorded, ())
    if back_s > covered_s + _LEAST_S:
        return f"it looks back {_shown(back_s)}, and the stored runs cover {_shown(covered_s)}"
    return ""


def _look_back_s(expr: str, recorded: Mapping[str, list[str]], above: tuple[str, ...]) -> int:
    own = max((_seconds(window) + _seconds(offset) for window, offset in _WINDOW.findall(expr)), default=0)
    names = [name for name in _names(expr) if name in recorded and name not in above]
    below = (_look_back_s(one, recorded, (*above, name)) for name in names for one in recorded[name])
    return max(own, max(below, default=0))


def _names(expr: str) -> Iterator[str]:
    bare = _OFFSET.sub(" ", _LABELS.sub(" ", _MATCHERS.sub(" ", _STRINGS.sub('""', expr))))
    for name in _NAME.findall(_WINDOW.sub(" ", re.sub(r"\[[^\]]*\]", " ", bare))):
        if name.lower() not in _WORDS:
            yield name


def _seconds(duration: str) -> int:
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smhdwy])(?!s)", duration))


def _shown(seconds: int) -> str:
    if seconds >= _UNITS["d"]:
        return f"{seconds / _UNITS['d']:.1f} days"
    return f"{seconds / _UNITS['h']:.1f} hours"
