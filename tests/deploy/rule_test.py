"""Timelines as a file that `promtool test rules` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.deploy.alert_cases import Timeline

SUBJECT = 'label_join(ALERTS{alertstate="firing"}, "subject", "", "service_name", "budget", "instance")'
"""The name of the case that an alert fires in."""


def _labels(**labels: str) -> str:
    return "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items() if value) + "}"


def document(timeline: Timeline, rules: Path) -> dict[str, Any]:
    """Return a test that everything that fires at the end is what the cases say, and nothing else."""
    expected = [(name, case.name) for case in timeline.cases for name in case.fires]
    minutes = round(timeline.hours * 60)
    last = minutes - minutes % round(timeline.clock.step_minutes) - round(timeline.clock.step_minutes)
    return {
        "rule_files": [str(rules / "recording.rules.yaml"), str(rules / "alerts.rules.yaml")],
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
                    }
                ],
            }
        ],
    }


def write(timeline: Timeline, rules: Path, target: Path) -> Path:
    """Write the test of a timeline to a file and return it."""
    target.write_text(yaml.safe_dump(document(timeline, rules), sort_keys=False, width=10_000))
    return target
