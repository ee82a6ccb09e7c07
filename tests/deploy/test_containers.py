"""Configurations that come in images, and the rights that images and units ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from spanledger.service.config import load

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())


def test_configuration_of_the_image_is_valid() -> None:
    """It changes where is listened, and nothing else."""
    changed = load(["default:", str(DEPLOY / "docker" / "container.yaml")], [], {}).as_dict()
    default = load([], [], {}).as_dict()
    assert changed["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"
    assert changed["service"] == default["service"]


@pytest.mark.parametrize(
    "line", ["USER 65532:65532", "VOLUME /data", 'ENTRYPOINT ["spanledger"]', 'CMD ["run", "--config", "default:",']
)
def test_image_runs_as_nobody(line: str) -> None:
    """As the Dockerfile says."""
    assert any(one.startswith(line) for one in (DEPLOY / "docker" / "Dockerfile").read_text().splitlines())


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_no_service_of_the_compose_file_has_rights_it_does_not_need(name: str) -> None:
    """Not even those that are not ours."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_compose_file_opens_ports_on_the_loopback_address_only() -> None:
    """And every service is either watched, or says that it is not."""
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 7
    assert all(port.startswith("127.0.0.1:") for port in ports)
    unwatched = {name for name, service in COMPOSE["services"].items() if "healthcheck" not in service}
    assert unwatched == {"spanledger"}  # its health check is in the image


def test_what_the_compose_file_mounts_is_there() -> None:
    """Paths are relative to its folder; the rest are its volumes."""
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / "docker" / source).exists(), source


def test_configuration_of_the_unit_is_valid(tmp_path: Path) -> None:
    """It adds queues on disk."""
    path = DEPLOY / "systemd" / "spanledger.yaml"
    config = load(["default:", str(path)], [], {"SPANLEDGER_DATA_DIR": str(tmp_path)}).as_dict()
    assert config["extensions"]["file_storage"]["directory"] == f"{tmp_path}/queues"
