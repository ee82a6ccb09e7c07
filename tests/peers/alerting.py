"""A real Alertmanager, and what its messages arrive at."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import yaml

from tests.processes import Process, answers, free_ports, http_get

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Webhook:
    """An HTTP server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        """Path, and what Alertmanager says."""
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # its name there
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def alerts(self, path: str) -> dict[str, dict[str, Any]]:
        """Return the alerts that came to a path, by name."""
        return {
            alert["labels"]["alertname"]: alert
            for where, message in list(self.received)
            if where == path
            for alert in message["alerts"]
        }

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """Run a webhook."""
    made = Webhook()
    try:
        yield made
    finally:
        made.close()


class Alertmanager:
    """A running Alertmanager."""

    def __init__(self, process: Process, address: str) -> None:
        self.process = process
        self.address = address

    def post(self, alerts: Sequence[Mapping[str, str]]) -> None:
        """Tell it of alerts, as Prometheus does; each by its labels."""
        connection = http.client.HTTPConnection(self.address, timeout=10.0)
        try:
            body = json.dumps([{"labels": labels} for labels in alerts])
            connection.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
        finally:
            connection.close()

    def silenced(self) -> dict[str, bool]:
        """Return whether each alert is inhibited by another, by name."""
        status, text = http_get(self.address, "/api/v2/alerts")
        assert status == 200, text
        return {alert["labels"]["alertname"]: bool(alert["status"]["inhibitedBy"]) for alert in json.loads(text)}


def with_webhooks(config: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return a configuration whose receivers post to `url/<receiver>`, and which waits for nothing."""

    def hurried(route: Mapping[str, Any]) -> dict[str, Any]:
        routes = [hurried(below) for below in route.get("routes", [])]
        return {**route, "group_wait": "0s", "group_interval": "1s", "routes": routes}

    receivers = [
        {"name": receiver["name"], "webhook_configs": [{"url": f"{url}/{receiver['name']}"}]}
        for receiver in config["receivers"]
    ]
    return {**config, "global": {"resolve_timeout": "5m"}, "route": hurried(config["route"]), "receivers": receivers}


@contextlib.contextmanager
def alertmanager(programs: Path, directory: Path, config: Mapping[str, Any]) -> Iterator[Alertmanager]:
    """Run an Alertmanager that forms no cluster."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    path = directory / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    process = Process(
        [
            # Its templates are found where it is started.
            "env",
            f"--chdir={programs.parent / 'share/prometheus/alertmanager'}",
            programs / "prometheus-alertmanager",
            f"--config.file={path}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
        directory / "alertmanager.log",
    )
    try:
        process.wait_until(lambda: answers(address, "/-/ready"))
        yield Alertmanager(process, address)
    finally:
        process.kill()
