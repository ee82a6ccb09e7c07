"""Configurations that come in images and manifests are valid, and the rights they ask for are few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from spanledger.service.config import load

DEPLOY = Path(__file__).parents[2] / "deploy"


def documents(name: str) -> list[Any]:
    """Return the documents of a manifest."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_configuration_of_the_image_is_valid() -> None:
    """It changes where is listened, and nothing else."""
    changed = load(["default:", str(DEPLOY / "docker" / "container.yaml")], [], {}).as_dict()
    default = load([], [], {}).as_dict()
    assert changed["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"
    assert changed["service"] == default["service"]


def test_configuration_of_the_pod_is_valid(tmp_path: Path) -> None:
    """Laid over the default one, as the container's arguments say."""
    config, deployment = documents("kubernetes/sidecar.yaml")
    (tmp_path / "pod.yaml").write_text(config["data"]["pod.yaml"])
    load(["default:", str(tmp_path / "pod.yaml")], [], {})
    (sidecar,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["args"] == ["run", "--config", "default:", "--config", "/etc/spanledger/pod.yaml"]


def test_container_has_no_rights_it_does_not_need() -> None:
    """Not root, nothing to write but its volume, no new privileges."""
    _, deployment = documents("kubernetes/sidecar.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert sidecar["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


@pytest.mark.parametrize("line", ["USER 65532:65532", "VOLUME /data", 'ENTRYPOINT ["spanledger"]'])
def test_image_runs_as_nobody(line: str) -> None:
    """As the Dockerfile says."""
    assert line in (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
