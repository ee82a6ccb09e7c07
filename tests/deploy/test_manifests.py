"""What is deployed, by the schemas and with the tools of those who take it. Needs install.sh: `make test-deploy`."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import yaml
from referencing.jsonschema import DRAFT202012

from spanledger.conventions.metrics import METRICS
from spanledger.service.config import load
from tests.deploy.manifests import CHART, PLAIN, ROOT, TOOLS, plain, template

pytestmark = pytest.mark.peers

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")
"""The oldest that has native sidecars, and the newest that there are schemas of."""

ON = {"enabled": True}
EVERYTHING: Mapping[str, Any] = {
    "backend": {"endpoint": "c:4317"}, "monitor": {**ON, "labels": {"release": "p"}}, "autoscaling": ON, "replicas": 3,
    "rules": {**ON, "labels": {"release": "p"}},
    "config": {"exporters": {"debug": {"verbosity": "detailed"}}}, "extraEnv": [{"name": "KEY", "value": "v"}],
    "extraEnvFrom": [{"secretRef": {"name": "keys"}}],
    "extraVolumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    "extraVolumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}], "podLabels": {"a": "b"},
    "imagePullSecrets": [{"name": "registry"}], "nodeSelector": {"kubernetes.io/os": "linux"},
    "podAnnotations": {"c": "d"},
    "tolerations": [{"operator": "Exists"}], "priorityClassName": "high", "persistence": {"storageClassName": "fast"},
    "serviceAccount": {"annotations": {"e": "f"}}, "service": {"annotations": {"g": "h"}}, "sidecar": {"example": ON},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"},
    ],
}  # fmt: skip
VALUES: Mapping[str, Mapping[str, Any]] = {
    f"{mode}-{name}": {"mode": mode, **values}
    for (mode, (name, values)) in itertools.product(
        ("sidecar", "deployment", "statefulset"), {"default": {}, "everything": EVERYTHING}.items()
    )
}


def documents(text: str) -> list[dict[str, Any]]:
    """Return the objects of a manifest."""
    return [one for one in yaml.safe_load_all(text) if one]


@functools.cache
def schema_of(version: str, api_version: str, kind: str) -> jsonschema.protocols.Validator:
    """Return what an object has to look like: by Kubernetes' own schemas, or the operator's resource definitions."""
    group, _, number = api_version.rpartition("/")
    if group == "monitoring.coreos.com":
        (definition,) = documents((TOOLS / "crds" / f"{kind.lower()}s.yaml").read_text())
        (found,) = (one for one in definition["spec"]["versions"] if one["name"] == number)
        return jsonschema.Draft202012Validator(_strict(found["schema"]["openAPIV3Schema"]))
    folder = TOOLS / "kubernetes" / f"v{version}-local-strict"
    name = "-".join(filter(None, (kind.lower(), group.split(".")[0], number)))

    def retrieve(_address: str) -> referencing.Resource[Any]:
        return _definitions(folder)

    registry: referencing.Registry[Any] = referencing.Registry(retrieve=retrieve)  # type: ignore[call-arg]
    return jsonschema.Draft202012Validator(json.loads((folder / f"{name}.json").read_text()), registry=registry)


@functools.cache
def _definitions(folder: Path) -> referencing.Resource[Any]:
    """Return what all schemas of a version refer to, by the address of a server that there is not."""
    return DRAFT202012.create_resource(json.loads((folder / "_definitions.json").read_text()))


def _strict(schema: Any) -> Any:
    """Return a schema that knows no other keys than its own."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    if schema.get("properties", {}).keys() >= {"apiVersion", "kind", "metadata"}:
        made["properties"]["metadata"] = {"type": "object"}
    return made


def valid(manifest: str, version: str) -> None:
    """Check a manifest strictly: every kind has a schema, and no key is one that nobody knows."""
    made = documents(manifest)
    assert made
    for one in made:
        schema_of(version, one["apiVersion"], one["kind"]).validate(one)


def test_schemas_are_strict() -> None:
    """What nobody knows is refused, at any depth: else the tests below would prove nothing."""
    (deployment,) = (one for one in documents(plain("deployment")) if one["kind"] == "Deployment")
    (monitor,) = (one for one in documents(plain("deployment")) if one["kind"] == "ServiceMonitor")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    for wrong in (deployment, monitor):
        with pytest.raises(jsonschema.ValidationError, match=r"readynessProbe|intervall"):
            valid(yaml.safe_dump(wrong), VERSIONS[-1])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_chart_makes_valid_manifests(values: Mapping[str, Any], version: str) -> None:
    """In every mode, for the oldest and the newest Kubernetes."""
    valid(template(values), version)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_chart_has_no_lint(values: Mapping[str, Any]) -> None:
    """`helm lint` says nothing but that there is no icon."""
    done = subprocess.run(
        [TOOLS / "bin" / "helm", "lint", "--strict", CHART, "--values", "-"],
        input=json.dumps(values), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"\[(?:INFO|WARNING|ERROR)\].*", done.stdout) == ["[INFO] Chart.yaml: icon is recommended"]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_configuration_in_the_chart_is_valid(values: Mapping[str, Any], tmp_path: Path) -> None:
    """Laid over the default one, as the arguments of the container say."""
    made = documents(template(values))
    (config,) = (one for one in made if one["kind"] == "ConfigMap")
    (tmp_path / "config.yaml").write_text(config["data"]["config.yaml"])
    loaded = load(["default:", str(tmp_path / "config.yaml")], [], {"SPANLEDGER_DATA_DIR": "/data"}).as_dict()
    assert loaded["exporters"]["prometheus"]["endpoint"] == "0.0.0.0:9464"
    wide = loaded["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].startswith("0.0.0.0")
    assert wide is (values["mode"] != "sidecar")
    durable = values["mode"] != "deployment"
    assert (loaded["connectors"]["trajectory"].get("storage") == "/data") is durable
    if "backend" in values:
        assert (loaded["exporters"]["otlp/backend"]["sending_queue"].get("storage") is not None) is durable
        assert "otlp/backend" in loaded["service"]["pipelines"]["traces"]["exporters"]


def pods(manifest: str) -> Iterator[dict[str, Any]]:
    """Yield the specifications of pods."""
    for one in documents(manifest):
        if one["kind"] in {"Deployment", "StatefulSet"}:
            yield one["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_pods_keep_the_restricted_profile(values: Mapping[str, Any]) -> None:
    """Of the Pod Security Standards, and a read-only root file system besides."""
    for pod in pods(template(values)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["limits"]["memory"]
        (ours,) = (
            one
            for one in [*pod.get("initContainers", []), *pod["containers"]]
            if one["image"].startswith("spanledger:")
        )
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= ours.keys()
        assert {"/data", "/tmp"} <= {mount["mountPath"] for mount in ours["volumeMounts"]}


def kinds(values: Mapping[str, Any]) -> set[str]:
    """Return the kinds of objects that the chart makes."""
    return {one["kind"] for one in documents(template(values))}


def test_each_mode_has_the_objects_that_it_needs() -> None:
    """And no more: a sidecar is in pods of others."""
    assert kinds({"mode": "sidecar"}) == {"ConfigMap"}
    assert kinds({"mode": "sidecar", "monitor": ON}) == {"ConfigMap", "PodMonitor"}
    few = {"ConfigMap", "Service", "ServiceAccount", "NetworkPolicy"}
    assert kinds({"mode": "deployment"}) == few | {"Deployment"}
    assert kinds({"mode": "statefulset", "replicas": 2, "monitor": ON, "autoscaling": ON}) == few | {
        "StatefulSet", "ServiceMonitor", "PodDisruptionBudget", "HorizontalPodAutoscaler",
    }  # fmt: skip


def test_chart_brings_the_rules_as_they_are() -> None:
    """What Prometheus fills in is not taken for Helm's."""
    made = documents(template({"rules": {**ON, "labels": {"release": "p"}}}))
    (rules,) = (one for one in made if one["kind"] == "PrometheusRule")
    (plainly,) = documents((KUBERNETES / "prometheus-rules.yaml").read_text())
    assert rules["spec"] == plainly["spec"]
    assert rules["metadata"]["labels"]["release"] == "p"
    assert "{{ $labels." in json.dumps(rules)


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "daemonset"}, {"replica": 2}, {"config": {"exporter": {}}}, {"persistence": {"size": "much"}}],
)
def test_wrong_values_are_refused(wrong: Mapping[str, Any]) -> None:
    """By the schema of the values, before anything is made."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        template(wrong)
    assert "values don't meet the specifications of the schema" in error.value.stderr


@pytest.mark.parametrize("name", PLAIN)
def test_plain_manifests_are_in_step_with_the_chart(name: str) -> None:
    """`make manifests` writes them anew."""
    assert (KUBERNETES / f"{name}.yaml").read_text() == plain(name)


@pytest.mark.parametrize("path", sorted(KUBERNETES.glob("*.yaml")), ids=lambda path: path.stem)
def test_plain_manifests_are_valid(path: Path) -> None:
    """Those that are written by hand, too."""
    if path.stem != "prometheus-adapter":  # values of another chart
        valid(path.read_text(), VERSIONS[-1])


def test_autoscaler_looks_at_metrics_that_there_are() -> None:
    """The adapter makes those that it names, of series that the sidecar has."""
    adapter = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    (scaler,) = (one for one in documents(plain("statefulset")) if one["kind"] == "HorizontalPodAutoscaler")
    assert {one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"]} == {
        one["name"]["as"] for one in adapter
    }
    known = {row.name for row in METRICS}
    for rule in adapter:
        asked = set(re.findall(r"\b(?:otelcol|spanledger)_\w+", rule["seriesQuery"] + rule["metricsQuery"]))
        assert asked <= known, asked - known


def test_compose_file_keeps_its_schema() -> None:
    """That of the Compose specification."""
    schema = json.loads((TOOLS / "compose-spec.json").read_text())
    compose = yaml.safe_load((ROOT / "deploy" / "docker" / "compose.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(compose)


def test_dockerfile_has_no_lint() -> None:
    """By hadolint."""
    done = subprocess.run(
        [TOOLS / "python" / "bin" / "hadolint", ROOT / "deploy" / "docker" / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_unit_is_valid_and_exposes_little(tmp_path: Path) -> None:
    """By systemd itself; 10 is everything, 0 nothing. Verifying looks for the program, which is not there."""
    text = (ROOT / "deploy" / "systemd" / "spanledger.service").read_text()
    unit = tmp_path / "spanledger.service"
    unit.write_text(text.replace("/opt/spanledger/bin/spanledger", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout
