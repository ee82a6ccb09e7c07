"""Tell orchestrators whether the sidecar takes requests: the Collector's health_check, v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from spanledger.processor.auth import AuthServer, server_auth
from spanledger.processor.component import ComponentConfig, Host, ServiceView, Status, register
from spanledger.processor.listen import Served, WebServer
from spanledger.processor.settings import Duration, HostPort, TLSServer

_WORDS: dict[Status, str] = {
    "starting": "StatusStarting",
    "ok": "StatusOK",
    "recoverable_error": "StatusRecoverableError",
    "permanent_error": "StatusPermanentError",
    "fatal_error": "StatusFatalError",
    "stopping": "StatusStopping",
    "stopped": "StatusStopped",
}


class HealthCheckConfig(ComponentConfig):
    """Where to answer, and how long a component may be in trouble before that counts."""

    endpoint: HostPort = "localhost:13133"
    """`host:port` to listen on."""
    tls: TLSServer | None = None
    """Answer over HTTPS."""
    path: str = "/"
    """Path of the plain answer: 200 when requests are taken, 503 when not. With a `/` at its end it stands for all
    paths below it that are not `status_path`."""
    status_path: str = "/status"
    """Path of the answer in detail: `?verbose` names every component, `?pipeline=traces` one pipeline."""
    status_auth: AuthServer | None = None
    """Answer on `status_path` only those whom an extension knows; `path` is for everybody, as probes need it."""
    recovery_duration: Duration = 300.0
    """How long a component may report a recoverable error before `status_path` answers 500."""


@register("extension", "health_check", config=HealthCheckConfig, signals=(), stability="beta")
class HealthCheck(Served):
    """Answer 200 while requests are taken, 503 before that and from the first moment of a shutdown."""

    def __init__(self, config: HealthCheckConfig, host: Host) -> None:
        assert host.view is not None
        self._config = config
        self._host = host
        self._view: ServiceView = host.view
        app = web.Application()
        # As the Collector's: any method will do, and a path that ends in / stands for all below it, such as /healthz.
        below = [f"{config.path}{{below:.*}}"] if config.path.endswith("/") else []
        plain = [app.router.add_route("*", path, self._plain).resource for path in (config.path, *below)]
        if config.status_path != config.path:
            app.router.add_get(config.status_path, self._detailed)
        open_paths = {resource.canonical for resource in plain if resource is not None}
        key, auth = f"extensions::{host.id}::endpoint", server_auth(config.status_auth, host.extensions)
        self._server = WebServer(app, config.endpoint, key, config.tls, auth=auth, open_paths=open_paths)

    async def _plain(self, _request: web.Request) -> web.Response:
        if not self._view.ready():
            return web.json_response({"status": "Server not available"}, status=503)
        up_ns = self._host.clock_ns() - self._view.started_ns
        return web.json_response(
            {"status": "Server available", "upSince": _rfc3339(self._view.started_ns), "uptime": f"{up_ns / 1e9:.3f}s"}
        )

    async def _detailed(self, request: web.Request) -> web.Response:
        statuses = dict(self._view.statuses())
        if (wanted := request.query.get("pipeline")) is not None:
            pipeline = self._view.pipelines().get(wanted)
            if pipeline is None:
                return web.json_response({"error": f"pipeline {wanted!r} not found"}, status=404)
            members = {*pipeline["receivers"], *pipeline["exporters"]}
            members.update(f"{name}@{wanted}" for name in pipeline["processors"])
            statuses = {key: status for key, status in statuses.items() if key.partition(":")[2] in members}
        code, word = self._overall(statuses)
        answer: dict[str, Any] = {
            "start_time": _rfc3339(self._view.started_ns),
            "healthy": code == 200,
            "status": word,
        }
        if "verbose" in request.query:
            answer["components"] = {
                key: {
                    "healthy": status in {"ok", "recoverable_error"},
                    "status": _WORDS[status],
                    "status_time": _rfc3339(since_ns),
                    **({"error": why[:300]} if why else {}),
                }
                for key, (status, why, since_ns) in statuses.items()
            }
        return web.json_response(answer, status=code)

    def _overall(self, statuses: Mapping[str, tuple[Status, str, int]]) -> tuple[int, str]:
        """Return the HTTP code and the worst status of several components."""
        if not self._view.ready():
            states = {status for status, _, _ in statuses.values()}
            return 503, _WORDS["stopping" if states & {"stopping", "stopped"} else "starting"]
        worst: Status = "ok"
        code = 200
        for status, _, since_ns in statuses.values():
            if status in {"fatal_error", "permanent_error"}:
                return 500, _WORDS[status]
            if status == "recoverable_error":
                worst = status
                if self._host.clock_ns() - since_ns > self._config.recovery_duration * 1e9:
                    code = 500
        return code, _WORDS[worst]


def _rfc3339(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
