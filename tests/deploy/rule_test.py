"""Timelines as a file that `promtool test rules` reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.alert_cases import Timeline

SUBJECT = 'label_join(ALERTS{alertstate="firing"}, "subject", "", "service_name", "budget", "instance")'
"""The name of the case that an alert fires in."""
LEVEL = "agent:spanledger_health:level"


def _labels(**labels: str) -> str:
    return "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items() if value) + "}"


def document(timeline: Timeline, rules: Path, scratch: Path) -> dict[str, Any]:
    """Return a test that everything that fires at the end is what the cases say, and nothing else.

    The rules that it plays are written to the directory `scratch`.
    """
    played = scratch / "played.rules.yaml"
    groups = [
        group
        for name in ("recording.rules.yaml", "alerts.rules.yaml")
        for group in yaml.safe_load((rules / name).read_text())["groups"]
        if not timeline.groups or group["name"] in timeline.groups
    ]
    played.write_text(yaml.safe_dump({"groups": groups}, width=10_000))
    expected = [(name, case.name) for case in timeline.cases for name in case.fires]
    minutes = round(timeline.hours * 60)
    last = minutes - minutes % round(timeline.clock.step_minutes) - round(timeline.clock.step_minutes)
    return {
        "rule_files": [str(played)],
        "evaluation_interval": f"{timeline.clock.step_minutes:g}m",
        "tests": [
            {
                "interval": f"{timeline.clock.step_minutes:g}m",
                "input_series": [*timeline.around, *(one for case in timeline.cases for one in case.series)],
                "promql_expr_test": [
                    {
                        "expr": f"group by (alertname, subject) ({SUBJECT})",
                        "eval_time": f"{last}m",
                        "exp_samples": [
                            {"labels": _labels(alertname=name, subject=case), "value": 1} for name, case in expected
                        ],
                    },
                    {
                        "expr": "max by (service_name) ("
                        + LEVEL
                        + '{service_name=~"'
                        + "|".join(timeline.health)
                        + '"})',
                        "eval_time": f"{last}m",
                        "exp_samples": [
                            {"labels": _labels(service_name=case), "value": level}
                            for case, level in timeline.health.items()
                        ],
                    },
                ],
            }
        ],
    }


def write(timeline: Timeline, rules: Path, directory: Path) -> Path:
    """Write the test of a timeline to a file in a directory and return it."""
    target = directory / "test.yaml"
    target.write_text(yaml.safe_dump(document(timeline, rules, directory), sort_keys=False, width=10_000))
    return target


def difference(text: str) -> str:
    """Return what promtool expected and did not get, and the other way round, of what it says about a failed test."""
    expected, _, got = text.partition("got:")
    there, wanted = (set(re.findall(r"{[^}]*} \S+E[+-]\d+", part)) for part in (got, expected.partition("exp:")[2]))
    return f"missing {sorted(wanted - there)}, unexpected {sorted(there - wanted)}" if got else text
