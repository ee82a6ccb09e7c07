"""Diagnostic pages on the Collector's paths: what runs, what it did last, what it is doing now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from spanledger import __version__
from spanledger.extensions.pages import Html, escape, page, table
from spanledger.processor.auth import AuthServer, server_auth
from spanledger.processor.component import ComponentConfig, Host, ServiceView, register
from spanledger.processor.listen import Served, WebServer
from spanledger.processor.settings import HostPort, TLSServer

if TYPE_CHECKING:
    from spanledger.conventions.step import Step

_LINKS = {
    "service": "/debug/servicez",
    "pipelines": "/debug/pipelinez",
    "traces": "/debug/tracez",
    "tasks": "/debug/tasks",
}


class ZPagesConfig(ComponentConfig):
    """Where to serve the pages."""

    endpoint: HostPort = "localhost:55679"
    """`host:port` to listen on. The pages show names of services, agents, tools and models: keep them local."""
    tls: TLSServer | None = None
    """Serve over HTTPS, and demand client certificates where `client_ca_file` is set."""
    auth: AuthServer | None = None
    """Show the pages only to those whom an extension knows."""


@register("extension", "zpages", config=ZPagesConfig, signals=(), stability="beta")
class ZPages(Served):
    """Serve /debug/servicez, /debug/pipelinez, /debug/tracez and /debug/tasks for people who debug."""

    def __init__(self, config: ZPagesConfig, host: Host) -> None:
        assert host.view is not None
        self._host = host
        self._view: ServiceView = host.view
        app = web.Application()
        app.router.add_get("/", self._service)
        app.router.add_get("/debug/servicez", self._service)
        app.router.add_get("/debug/pipelinez", self._pipelines)
        app.router.add_get("/debug/tracez", self._traces)
        app.router.add_get("/debug/tasks", self._tasks)
        app.router.add_get("/{elsewhere:.*}", self._nothing)
        auth = server_auth(config.auth, host.extensions)
        self._server = WebServer(app, config.endpoint, f"extensions::{host.id}::endpoint", config.tls, auth=auth)

    async def _service(self, _request: web.Request) -> web.Response:
        up_s = (self._host.clock_ns() - self._view.started_ns) / 1e9
        rows = [
            ("version", __version__),
            ("up for", f"{up_s:,.0f} s"),
            ("takes requests", _mark("yes" if self._view.ready() else "no", good=self._view.ready())),
        ]
        components = table(
            ("component", "status", "why", "since (UTC)"),
            (
                (key, _mark(status, good=status == "ok"), why, _moment(since_ns))
                for key, (status, why, since_ns) in self._view.statuses().items()
            ),
        )
        return page("Service", {"": table(("", ""), rows), "Components": components}, _LINKS)

    async def _nothing(self, _request: web.Request) -> web.Response:
        raise web.HTTPNotFound(text=f"404 there is no such page; there are {', '.join(_LINKS.values())}\n")

    async def _pipelines(self, _request: web.Request) -> web.Response:
        pipelines = table(
            ("pipeline", "receivers", "processors", "exporters"),
            (
                (
                    name,
                    ", ".join(parts["receivers"]),
                    " → ".join(parts["processors"]),
                    ", ".join(parts["exporters"]),
                )
                for name, parts in self._view.pipelines().items()
            ),
        )
        numbers = table(
            ("component", "", ""),
            (
                (key if first == 0 else "", name.replace("_", " "), _plain(value))
                for key, statistics in self._view.statistics().items()
                for first, (name, value) in enumerate(_flat(statistics))
            ),
        )
        return page("Pipelines", {"": pipelines, "In numbers": numbers}, _LINKS)

    async def _traces(self, _request: web.Request) -> web.Response:
        steps = self._view.recent()
        parts = {"By operation": _latencies(steps)}
        for trace_id, members in _latest_traces(steps):
            depths = _depths(members)
            parts[f"Trace {trace_id} of {members[0].service_name or 'an unnamed service'}"] = table(
                ("start", "kind", "name", "agent", "model", "tokens in", "out", "cost", "took", "status"),
                (
                    _step_row(step, depths[step.span_id])
                    for step in sorted(members, key=lambda step: (step.start_ns, depths[step.span_id]))
                ),
            )
        if not steps:
            parts = {"": Html("<p>No GenAI span has come yet.</p>")}
        return page("Recent traces", parts, _LINKS)

    async def _tasks(self, _request: web.Request) -> web.Response:
        tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())[:200]
        parts = {
            f"{number}. {task.get_name()}": Html(f"<pre>{_whole(_stack(task))}</pre>")
            for number, task in enumerate(tasks, 1)
        }
        return page("Tasks", parts, _LINKS)


def _stack(task: asyncio.Task[object]) -> str:
    """Return where a task stands, innermost last. Frames of compiled code may have no line."""
    return "\n".join(
        f"{frame.f_code.co_filename}:{frame.f_lineno or '?'} {frame.f_code.co_name}"
        for frame in task.get_stack(limit=12)
    )


def _flat(statistics: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield names and values; what is told for each signal has a line each."""
    for name, value in statistics.items():
        if isinstance(value, Mapping) and all(isinstance(inner, Mapping) for inner in value.values()):
            yield from ((f"{name} {key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _whole(text: str) -> str:
    return "\n".join(escape(line) for line in text.splitlines())


def _mark(text: str, *, good: bool) -> Html:
    return Html(f'<span class="{"good" if good else "bad"}">{escape(text)}</span>')


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3] if at_ns < 2**62 else "?"


def _latest_traces(steps: Iterable[Step], limit: int = 20) -> list[tuple[str, list[Step]]]:
    """Group steps by trace, the one that was heard of last first."""
    traces: dict[bytes, list[Step]] = {}
    for step in steps:
        traces[step.trace_id] = [*traces.pop(step.trace_id, []), step]
    latest = list(traces.items())[::-1][:limit]
    return [(trace_id.hex(), members) for trace_id, members in latest]


def _subject(step: Step) -> str:
    """Return what a step is about: an agent by its name, a call by its model."""
    named = {"agent": step.agent_name, "tool": step.tool_name, "workflow": step.workflow_name}
    return named.get(step.kind, step.model) or step.name


def _depths(steps: Iterable[Step]) -> Mapping[bytes, int]:
    """Return how many of the shown steps stand above each of them."""
    parents = {step.span_id: step.parent_span_id for step in steps}
    depths: dict[bytes, int] = {}
    for span_id, parent_id in parents.items():
        above, current = 0, parent_id
        while current in parents and above < 20:
            above, current = above + 1, parents[current]
        depths[span_id] = above
    return depths


def _latencies(steps: Sequence[Step]) -> Html:
    """Return a table of counts, errors and quantiles by kind and name."""
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.kind, _subject(step)), []).append(step)

    def row(key: tuple[str, str], members: list[Step]) -> tuple[object, ...]:
        took = sorted(step.duration_s for step in members if step.duration_s is not None)
        errors = sum(step.status == "error" for step in members)
        quantiles = [took[int(q * (len(took) - 1))] if took else None for q in (0.5, 0.95)]
        return (*key, len(members), errors, *(f"{value:.3f} s" if value is not None else "" for value in quantiles))

    return table(
        ("kind", "name", "seen", "errors", "P50", "P95"),
        (row(key, members) for key, members in sorted(groups.items())),
    )


def _money(step: Step) -> str:
    """Return the cost of a step in dollars, or why there is none."""
    cost = step.cost
    if cost is None:
        return ""
    if cost.status == "rollup":
        return "in the calls"
    amount = cost.status.replace("_", " ") if cost.total_usd is None else f"${cost.total_usd:.6f}"
    return f"{amount} ({cost.reason.replace('_', ' ')})" if cost.reason else amount


def _step_row(step: Step, depth: int) -> tuple[object, ...]:
    usage = step.usage
    return (
        _time(step.start_ns),
        step.kind,
        Html("&emsp;" * depth + escape(step.name)),
        step.agent_name,
        step.model,
        "" if usage is None or usage.input is None else usage.input,
        "" if usage is None or usage.output is None else usage.output,
        _money(step),
        "" if step.duration_s is None else f"{step.duration_s:.3f} s",
        _mark(step.error_type or "ok", good=step.status == "ok"),
    )
