"""What a panel is, before Grafana's words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from spanledger.service.assets.rule import Board as BoardName

Kind = Literal["stat", "timeseries", "bargauge", "table", "state-timeline"]
Color = Literal["green", "yellow", "orange", "red", "blue", "purple", "text"]


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel."""

    expr: str
    legend: str = ""
    """Name of its series, with labels as `{{label}}`; of a column of a table, its title."""
    instant: bool = False
    """Asks for one moment, the end of the time range."""
    exemplar: bool = False
    """Also asks for the traces behind a histogram."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a number is amber and red, and why."""

    amber: str
    """A number, or the name of one of values.yaml: `errors.ratio`."""
    red: str
    why: str
    """The reason, for the description."""
    low_is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table looks."""

    unit: str = ""
    limits: Limits | None = None
    health: bool = False
    """0, 1, 2 are green, amber, red."""
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. Its description also names its metrics, and the limits with their reason."""

    title: str
    kind: Kind
    says: str
    """What is counted, and what is not: full sentences."""
    queries: tuple[Query, ...]
    unit: str = "short"
    """One of Grafana's unit ids."""
    empty: str = "No runs in this time range"
    """Shown where the query returns nothing: what that means."""
    width: int = 12
    """Of 24."""
    height: int = 8
    limits: Limits | None = None
    leads_to: BoardName | None = None
    """Dashboard that a click goes to, with the labels of the series as its variables."""
    stacked: bool = False
    colors: Mapping[str, Color] | None = None
    """Fixed colours by the name of a series, where that means good or bad."""
    health: bool = False
    """0, 1, 2 are shown as green, amber, red."""
    labels: Mapping[str, str] | None = None
    """Tables: label -> title of its column, in their order."""
    columns: Mapping[str, Column] | None = None
    """Tables: title of a column -> how it looks."""
    sort: str = ""
    """Tables: the column that decides the order, the largest first."""
    least: float | None = None
    most: float | None = None
    """Ends of the scale."""
    decimals: int | None = None
    repeat: str = ""
    """Name of a variable: the panel is there once for each of its values."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, side by side as long as there is room."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    name: BoardName
    title: str
    says: str
    """What it answers, for its description and docs/dashboards.md."""
    rows: tuple[Row, ...]
    since: str = "now-6h"
