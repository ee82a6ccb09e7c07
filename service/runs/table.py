"""Columns that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spanledger.service.runs.terminal import Style, Terminal, cells

GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title and side, and how it gives way when the terminal is narrow."""

    title: str
    right: bool = False
    at_least: int | None = None
    """Cells that it may be cut to; None: never cut."""
    leaves: int = 0
    """It leaves, those with the highest number first, when cutting is not enough; 0: never."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a column."""

    text: str
    style: Style = ""


def render(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], terminal: Terminal, indent: str = ""
) -> Iterator[str]:
    """Yield a line of titles and one for each row. A column in which no row says anything is left out."""
    used = [i for i in range(len(columns)) if any(row[i].text for row in rows)]
    if not used:
        return
    widths = {i: max(cells(columns[i].title), *(cells(row[i].text) for row in rows)) for i in used}
    room = terminal.width - len(indent)
    while _least(columns, widths) > room and (leaves := [i for i in widths if columns[i].leaves]):
        del widths[max(leaves, key=lambda i: columns[i].leaves)]
    used = list(widths)
    _cut(columns, widths, room)
    yield indent + _line(columns, [Cell(columns[i].title, "dim") for i in used], used, widths, terminal)
    for row in rows:
        yield indent + _line(columns, [row[i] for i in used], used, widths, terminal)


def _least(columns: Sequence[Column], widths: Mapping[int, int]) -> int:
    """Return the cells that a line takes when everything is cut as far as it may be."""
    bounds = ((width, columns[i].at_least) for i, width in widths.items())
    return sum(width if least is None else min(width, least) for width, least in bounds) + len(GAP) * (len(widths) - 1)


def _cut(columns: Sequence[Column], widths: dict[int, int], room: int) -> None:
    """Make columns narrower until a line fits, those that have most to give first."""
    over = sum(widths.values()) + len(GAP) * (len(widths) - 1) - room
    while over > 0:
        slack = {i: width - least for i, width in widths.items() if (least := columns[i].at_least) is not None}
        most = max(slack, key=lambda i: slack[i], default=None)
        if most is None or slack[most] <= 0:
            return
        widths[most] -= 1
        over -= 1


def _line(
    columns: Sequence[Column], row: Sequence[Cell], used: Sequence[int], widths: dict[int, int], terminal: Terminal
) -> str:
    parts = []
    for i, cell in zip(used, row, strict=True):
        last = i == used[-1] and not columns[i].right
        text = terminal.fit(cell.text, widths[i])
        blanks = " " * (widths[i] - cells(text))
        painted = terminal.paint(text, cell.style)
        parts.append(blanks + painted if columns[i].right else painted if last else painted + blanks)
    return GAP.join(parts).rstrip()
