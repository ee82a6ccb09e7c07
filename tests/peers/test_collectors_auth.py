"""Mutual TLS and authentication between the sidecar and real Collectors, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from tests.certificates import Certificates, make_certificates
from tests.peers.load import request, send
from tests.peers.otelcol import QUICK_RETRY, Collector
from tests.sidecar import Sidecar

if TYPE_CHECKING:
    from tests.peers.conftest import NewCollector

SECRET = "open-sesame"
HASH = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
EXTENSION = {"bearer": "bearertokenauth", "basic": "basicauth"}
SERVER = {"bearer": {"token": SECRET}, "basic": {"htpasswd": {"inline": f"agent:{HASH}"}}}


def client(way: str, secret: str = SECRET) -> dict[str, Any]:
    """Return the settings of the extension that says who we are."""
    return {"token": secret} if way == "bearer" else {"client_auth": {"username": "agent", "password": secret}}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make an authority and its certificates."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def guarded(config: dict[str, Any], protocol: str, way: str, certificates: Certificates) -> dict[str, Any]:
    """Let a configuration, of either side, take requests only with a certificate and a secret."""
    config["extensions"][f"{EXTENSION[way]}/server"] = SERVER[way]
    config["service"]["extensions"].append(f"{EXTENSION[way]}/server")
    config["receivers"]["otlp"]["protocols"][protocol] |= {
        "auth": {"authenticator": f"{EXTENSION[way]}/server"},
        "tls": {
            "cert_file": str(certificates.server),
            "key_file": str(certificates.server_key),
            "client_ca_file": str(certificates.ca),
        },
    }
    return config


def known(config: dict[str, Any], way: str, certificates: Certificates, secret: str = SECRET) -> dict[str, Any]:
    """Let the `otlp…` exporters of a configuration, of either side, say who they are."""
    config["extensions"][f"{EXTENSION[way]}/client"] = client(way, secret)
    config["service"]["extensions"].append(f"{EXTENSION[way]}/client")
    for name, exporter in config["exporters"].items():
        if name.startswith("otlp"):
            exporter |= {
                "auth": {"authenticator": f"{EXTENSION[way]}/client"},
                "tls": {
                    "ca_file": str(certificates.ca),
                    "cert_file": str(certificates.client),
                    "key_file": str(certificates.client_key),
                },
            }
    return config


def exporter(name: str, grpc: str, http: str) -> dict[str, Any]:
    """Return an exporter to a peer that speaks TLS."""
    endpoint = f"https://{http}" if name == "otlp_http" else grpc
    return {name: {"endpoint": endpoint, "retry_on_failure": QUICK_RETRY}}


def chain(
    new_collector: NewCollector,
    sidecar: Sidecar,
    certificates: Certificates,
    protocol: str,
    way: str,
    secrets: tuple[str, str] = (SECRET, SECRET),
) -> tuple[Collector, Collector]:
    """Start Collector, sidecar and Collector, each guarded; the first and the sidecar show `secrets`."""
    first, last = new_collector("first"), new_collector("last")
    to_us, to_them = {"grpc": ("otlp_grpc", "otlp"), "http": ("otlp_http", "otlp_http")}[protocol]
    last.start(guarded(last.config(), protocol, way, certificates))
    config = guarded(sidecar.config(exporter(to_them, last.grpc, last.http)), protocol, way, certificates)
    sidecar.start(known(config, way, certificates, secrets[1]))
    first.start(known(first.config(exporter(to_us, sidecar.grpc, sidecar.http)), way, certificates, secrets[0]))
    return first, last


@pytest.mark.parametrize("way", ["bearer", "basic"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_spans_pass_with_certificates_and_secrets_on_both_sides(
    new_collector: NewCollector, sidecar: Sidecar, certificates: Certificates, protocol: str, way: str
) -> None:
    """What the Collector demands we show, and what we demand it shows."""
    first, last = chain(new_collector, sidecar, certificates, protocol, way)

    message, span_ids = request(0)
    send(first.grpc, message)

    last.process.wait_until(lambda: set(last.received.ids()) == span_ids)
    assert SECRET not in sidecar.process.log()


@pytest.mark.parametrize(("protocol", "way"), [("grpc", "bearer"), ("http", "basic")])
def test_a_collector_with_a_wrong_secret_does_not_try_again(
    new_collector: NewCollector, sidecar: Sidecar, certificates: Certificates, protocol: str, way: str
) -> None:
    """We refuse it once; the Collector counts its spans as failed."""
    first, last = chain(new_collector, sidecar, certificates, protocol, way, ("wrong", SECRET))

    message, span_ids = request(0)
    send(first.grpc, message)

    failed = "otelcol_exporter_send_failed_spans_total"
    first.process.wait_until(lambda: first.total(failed, error_permanent="true") == len(span_ids))
    assert sidecar.total("spanledger_refused_requests_total", reason="unauthenticated") == 1
    assert not last.received.spans()


@pytest.mark.parametrize(("protocol", "way"), [("grpc", "basic"), ("http", "bearer")])
def test_we_do_not_try_again_with_a_wrong_secret(
    new_collector: NewCollector, sidecar: Sidecar, certificates: Certificates, protocol: str, way: str
) -> None:
    """What the Collector refuses so is counted as dropped, and the log says why but not what we showed."""
    first, last = chain(new_collector, sidecar, certificates, protocol, way, (SECRET, "wrong-secret"))

    message, span_ids = request(0)
    send(first.grpc, message)

    dropped = "spanledger_dropped_items_total"
    sidecar.process.wait_until(lambda: sidecar.total(dropped, reason="permanent") == len(span_ids))
    assert sidecar.total("spanledger_exporter_retries_total") == 0
    assert "wrong-secret" not in sidecar.process.log()
    assert not last.received.spans()
