"""Reads dashboards as Grafana does: panels, their queries, variables, and what is put in place of these."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
DASHBOARDS: Final = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
CATALOGUE: Final = sorted((DEPLOY / "grafana" / "catalogue").glob("*.json"))

_REFERENCE: Final = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LABEL_VALUES: Final = re.compile(r"label_values\((?:(.+), )?(\w+)\)")
_REGEX_SPECIAL: Final = re.compile(r"([\\.^$*+?()\[\]{}|])")

Json = dict[str, Any]
Values = dict[str, str]
"""Variable -> what it is replaced by in a query."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a dashboard."""

    where: str
    expr: str
    instant: bool = False
    exemplar: bool = False
    legend: str = ""
    annotation: bool = False


def load(path: Path) -> Json:
    """Return a dashboard."""
    dashboard: Json = json.loads(path.read_text())
    return dashboard


def panels(dashboard: Json) -> list[Json]:
    """Return its panels, without the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def asked(dashboard: Json) -> Iterator[Asked]:
    """Yield every query of panels and annotations."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            where = f"{dashboard['uid']}: {panel['title']} {target['refId']}"
            yield Asked(where, target["expr"], target["instant"], target["exemplar"], target["legendFormat"])
    for one in dashboard["annotations"]["list"]:
        yield Asked(f"{dashboard['uid']}: annotation {one['name']}", one["expr"], annotation=True)


def variables(dashboard: Json) -> list[Json]:
    """Return the variables that are asked of Prometheus, in their order."""
    return [variable for variable in dashboard["templating"]["list"] if variable["type"] == "query"]


def label_values(variable: Json, values: Mapping[str, str]) -> tuple[str, str]:
    """Return the selector and the label that a variable has its values from."""
    found = _LABEL_VALUES.fullmatch(substituted(variable["query"], values))
    assert found, f"{variable['name']} is not label_values(...)"
    return found[1] or "", found[2]


def everything(variable: Json, found: Sequence[str]) -> str:
    """Return what All means."""
    return str(variable["allValue"]) if "allValue" in variable else one_of(found)


def one_of(found: Sequence[str]) -> str:
    """Return several chosen values as Grafana's data source for Prometheus writes them: a regular expression."""
    escaped = [_REGEX_SPECIAL.sub(r"\\\\\1", value) for value in found]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def windows(range_s: int, step_s: int, scrape_s: int) -> Values:
    """Return Grafana's own variables."""
    return {
        "__interval": f"{step_s}s",
        "__rate_interval": f"{max(step_s + scrape_s, 4 * scrape_s)}s",
        "__range": f"{range_s}s",
        "__range_s": str(range_s),
    }


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Return a query with the values of its variables. Raises KeyError for a variable that there is not."""
    return _REFERENCE.sub(lambda found: values[found[1] or found[2]], text)


def resolved(
    dashboard: Json,
    label_values_of: Callable[[str, str], Sequence[str]],
    choose: Callable[[Json, Sequence[str]], str] = everything,
) -> Values:
    """Return what each variable stands for. `label_values_of(selector, label)` asks Prometheus."""
    values: Values = {"datasource": "prometheus"}
    for variable in variables(dashboard):
        values[variable["name"]] = choose(variable, label_values_of(*label_values(variable, values)))
    return values
