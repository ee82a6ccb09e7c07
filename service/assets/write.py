"""The rules as plain files: `python -m spanledger.service.assets.write` writes those of deploy/ anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from spanledger.service.assets import alerts, recording
from spanledger.service.assets.dashboards import files as dashboards
from spanledger.service.assets.rule import Alert, Group, Recording
from spanledger.service.assets.values import Values, fill, read

VALUES: Final = "values.yaml"
README: Final = "README.md"
_HEADER: Final = (
    "# Written by `python -m spanledger.service.assets.write` from deploy/values.yaml; do not edit.\n"
    "# To change a number: `spanledger assets DIR --values values.yaml`.\n"
)
_TABLE: Final = "<!-- {name}: written by `make docs` -->"
_END: Final = "<!-- end -->"


class _Readable(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def render(values: Values) -> dict[str, str]:
    """Return the files that depend on the values: path below deploy/ -> text."""
    return {
        "prometheus/recording.rules.yaml": rules_file(recording.GROUPS, values),
        "prometheus/alerts.rules.yaml": rules_file(alerts.GROUPS, values),
        "prometheus/prometheus.yaml": fill(_PROMETHEUS, values),
        "kubernetes/prometheus-rules.yaml": prometheus_rule((*recording.GROUPS, *alerts.GROUPS), values),
        **dashboards.files(values),
    }


def rules_file(groups: Iterable[Group], values: Values) -> str:
    """Return a file of rules as Prometheus reads it."""
    return _HEADER + _yaml({"groups": [_group(group, values) for group in groups]})


def prometheus_rule(groups: Iterable[Group], values: Values) -> str:
    """Return rules as the object that the Prometheus operator reads."""
    return (
        _HEADER
        + _OPERATOR
        + _yaml(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": "spanledger", "labels": {"app.kubernetes.io/name": "spanledger"}},
                "spec": {"groups": [_group(group, values) for group in groups]},
            }
        )
    )


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Readable, sort_keys=False, width=10_000)


def _group(group: Group, values: Values) -> dict[str, Any]:
    return {
        "name": group.name,
        # Alerts are looked at as often as Prometheus does anyway.
        **({} if isinstance(group.rules[0], Alert) else {"interval": fill("<rules.interval>", values)}),
        "rules": [_recording(r, values) if isinstance(r, Recording) else _alert(r, values) for r in group.rules],
    }


def _recording(rule: Recording, values: Values) -> dict[str, Any]:
    return {"record": rule.record, "expr": fill(rule.expr, values)}


def _alert(alert: Alert, values: Values) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": fill(alert.expr, values),
        **({} if alert.hold == "0m" else {"for": alert.hold}),
        "labels": {"severity": alert.severity, "category": alert.category},
        "annotations": {
            "summary": fill(alert.summary, values),
            "description": fill(alert.description, values),
            "runbook_url": fill(f"<links.runbooks>/{alert.name}.md", values),
            "dashboard_url": fill(f"<links.grafana>/d/spanledger-{alert.board}{_variables(alert)}", values),
        },
    }


def _variables(alert: Alert) -> str:
    """Return what makes the dashboard show what the alert is about: its variables have the names of labels."""
    named = [
        f"var-{label}={{{{ $labels.{label} | urlquery }}}}"
        for label in ("service_name", "agent_name", "instance")
        if f"$labels.{label}" in alert.summary
    ]
    return f"?{'&'.join(named)}" if named else ""


def readme(text: str) -> str:
    """Return deploy/README.md with its tables as the rules are now."""
    series = (
        (f"`{rule.record}`", rule.help)
        for group in recording.GROUPS
        for rule in group.rules
        if isinstance(rule, Recording)
    )
    text = _with_table(text, "series", ("series", "what it says"), series)
    rows = (
        (f"[{alert.name}](runbooks/{alert.name}.md)", alert.severity, alert.category, alert.hold)
        for alert in alerts.all_alerts()
    )
    return _with_table(text, "alerts", ("alert", "severity", "category", "after"), rows)


def _with_table(text: str, name: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    begin = _TABLE.format(name=name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(_END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n\n{table}\n\n{_END}", text)


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Write files below a directory, each whole or not at all. Raises OSError with the name of the file."""
    for path, text in files.items():
        # Prometheus may read it at any time, and a link leads where it led.
        target = (directory / path).resolve()
        part = target.with_name(target.name + ".part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(text)
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            # One that a write ends with does not say of which file.
            raise OSError(error.errno, error.strerror, str(directory / path)) from error


def main(deploy: Path) -> int:
    """Write the files in `deploy` anew from its values."""
    values = read((deploy / VALUES).read_text())
    write(deploy, render(values))
    (deploy / README).write_text(readme((deploy / README).read_text()))
    return 0


_OPERATOR: Final = """\
# For the Prometheus operator: kubectl apply -f prometheus-rules.yaml
# It has to have the labels that your Prometheus selects rules by, often `release`:
#   kubectl get prometheus -A -o jsonpath='{..spec.ruleSelector}'
# The job of the scrape has to be the one in the rules (`scrape::job` of values.yaml): `jobLabel` of a PodMonitor.
"""

_PROMETHEUS: Final = (
    _HEADER
    + """\
#
# Prometheus 2.42 or newer, which takes it as it is:
#   prometheus --config.file=prometheus.yaml --enable-feature=exemplar-storage
# With --enable-feature=exemplar-storage panels have points that lead to traces.

global:
  scrape_interval: <scrape.interval>
  evaluation_interval: <rules.interval>

rule_files:
  - recording.rules.yaml
  - alerts.rules.yaml

alerting:
  alertmanagers:
    - static_configs:
        - targets: [localhost:9093]

scrape_configs:
  - job_name: <scrape.job>
    static_configs:
      - targets: [localhost:9464]
    # The sidecar bounds its series; these bound what a mistake could cost.
    sample_limit: 200000
    label_limit: 40
    label_value_length_limit: 512
    #
    # In Kubernetes, instead of static_configs: every pod with the annotation spanledger/scrape: "true".
    # kubernetes_sd_configs:
    #   - role: pod
    # relabel_configs:
    #   - {source_labels: [__meta_kubernetes_pod_annotation_spanledger_scrape], regex: "true", action: keep}
    #   - {source_labels: [__meta_kubernetes_pod_ip], regex: (.+), target_label: __address__, replacement: "$1:9464"}
    #   - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
    #   - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
"""
)

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[2] / "deploy"))
