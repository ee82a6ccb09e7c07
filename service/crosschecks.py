"""What no single block shows: whether the pipelines fit together.

References to what is not configured, components that cannot carry a pipeline's signal, connectors used on
one side only, cycles. The wordings are the Collector's (otelcol/config.go, service/internal/graph).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import pydantic

from spanledger.processor.auth import AuthServer
from spanledger.processor.component import KINDS, ComponentId, Kind, PipelineView, Reference, Registration, Registry
from spanledger.processor.listen import is_loopback
from spanledger.processor.settings import host_and_port
from spanledger.service.nodes import ConfigError, Node, Path
from spanledger.service.suggestions import did_you_mean, for_reference

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal
    from spanledger.service.config import Config, Pipeline, PipelineId, ServiceConfig

Configured = Mapping[Kind, Mapping[ComponentId, Registration | None]]
"""Every configured id by kind; None where its type is not known."""

_ROLES: tuple[Kind, ...] = ("receiver", "processor", "exporter")


def cross_check(service: ServiceConfig, configured: Configured, root: Node, registry: Registry) -> list[ConfigError]:
    """Return what is wrong between the parts."""
    check = _CrossCheck(service, configured, root, registry)
    errors = [*check.presence(), *check.ambiguous_ids(), *check.extensions()]
    for id_, pipeline in service.pipelines.items():
        errors += check.pipeline(id_, pipeline)
    return [*errors, *check.connectors(), *check.cycles()]


def unused(config: Config) -> Iterator[ConfigError]:
    """Yield a warning for each component that nothing uses: it may be there on purpose."""
    for kind in KINDS:
        used = config.used(kind)
        where = "service::extensions" if kind == "extension" else "any pipeline"
        for id_ in getattr(config, f"{kind}s"):
            if id_ not in used:
                yield config.root.trouble((f"{kind}s", str(id_)), f"configured but not used in {where}")


def loops(config: Config) -> list[ConfigError]:
    """Return an error for each exporter that sends to a receiver of the same configuration.

    Such a sidecar hands the same data to itself for ever. Only what pipelines use is looked at; ports chosen
    by the system and host names other than `localhost` are not known here.
    """
    listening = [
        (id_, endpoint, _sockets(endpoint))
        for id_, component in config.used("receiver").items()
        for _, endpoint in _endpoints(component.config)
    ]
    return [
        config.root.trouble(
            ("exporters", str(sender), *path),
            f"exporter {sender} sends to {endpoint}, where receiver {receiver} of the same configuration listens "
            f"({own}): the data would go round for ever",
            "give the address of the next hop, or let one use another port",
        )
        for sender, component in config.used("exporter").items()
        # What has a queue sends; other exporters listen themselves, or have no endpoint.
        if "sending_queue" in type(component.config).model_fields
        for path, endpoint in _endpoints(component.config)
        for receiver, own, sockets in listening
        if _sockets(endpoint) & sockets
    ]


def missing_extensions(config: Config) -> list[ConfigError]:
    """Return an error for each reference to an extension that does not run, or is of no use there."""
    return [
        config.root.trouble((f"{kind}s", str(id_), *reference.path), *problem)
        for kind in KINDS
        for id_, component in getattr(config, f"{kind}s").items()
        for reference in component.config.references()
        if (problem := _unusable(config, reference))
    ]


def _unusable(config: Config, reference: Reference) -> tuple[str, str] | None:
    """Return what is wrong with a reference to an extension, and what to do about it."""
    able = [str(id_) for id_, one in config.extensions.items() if reference.needs in one.registration.offers]
    if (extension := config.extensions.get(reference.id)) is None:
        advice = did_you_mean(str(reference.id), able) or f'add "{reference.id}:" under extensions'
        return f'references extension "{reference.id}" which is not configured', advice
    if reference.needs not in extension.registration.offers:
        return f'extension "{reference.id}" offers no {reference.needs}', f"use {', '.join(able)}" if able else ""
    if reference.id not in config.service.extensions:
        return f'extension "{reference.id}" is configured but does not run', "add it to service::extensions"
    return None


def shared_files(config: Config) -> list[ConfigError]:
    """Return a warning for each file that several exporters write to: their records would run into each other."""
    writers: dict[str, list[str]] = {}
    for id_, component in config.used("exporter").items():
        path = getattr(component.config, "path", None)
        if isinstance(path, str) and not path.startswith("/dev/"):
            writers.setdefault(os.path.realpath(path), []).append(str(id_))
    return [
        config.root.trouble(
            ("exporters", names[-1], "path"),
            f"exporters {' and '.join(names)} write to the same file {path}",
            "give each a path of its own, or name one of them in all pipelines",
        )
        for path, names in writers.items()
        if len(names) > 1
    ]


def open_to_all(config: Config) -> list[ConfigError]:
    """Return a warning for each server that other machines can reach and that asks nobody who they are."""
    kinds: tuple[Kind, ...] = ("receiver", "exporter", "extension")
    return [
        config.root.trouble(
            (*path, "endpoint"),
            f"listens on {server.endpoint}, where other machines reach it, and takes everybody",
            "set auth or tls::client_ca_file beside it, or listen on localhost",
        )
        for kind in kinds
        for id_, component in config.used(kind).items()
        for path, server in _servers(component.config, (f"{kind}s", str(id_)))
        if not is_loopback(host_and_port(server.endpoint)[0])
        and server.auth is None
        and not (server.tls and server.tls.client_ca_file)
    ]


def unread(config: Config) -> list[ConfigError]:
    """Return a warning for each pipeline whose spans reach a reader of calls and agents before they are recognised."""
    return [
        config.root.trouble(
            ("service", "pipelines", str(id_)),
            f"{reader} sees no model call and no agent, for nothing recognises them",
            "list genai_normalizer under processors",
            below=("exporters", str(position)),
        )
        for id_, pipeline in config.pipelines.items()
        if id_.signal == "traces" and all(processor.type != "genai_normalizer" for processor in pipeline.processors)
        for position, reader in enumerate(pipeline.exporters)
        if reader.type in _READERS and reader in config.connectors
    ]


_READERS: Final = frozenset({"genai_metrics", "trajectory"})


def _servers(settings: pydantic.BaseModel, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield every block that says where to listen and whom to let in, with its place."""
    annotation = type(settings).model_fields.get("auth")
    if annotation is not None and AuthServer in get_args(annotation.annotation):
        yield path, settings
    for name in type(settings).model_fields:
        if isinstance(value := getattr(settings, name), pydantic.BaseModel):
            yield from _servers(value, (*path, name))


def _endpoints(settings: pydantic.BaseModel) -> Iterator[tuple[Path, str]]:
    """Yield every endpoint below a block, without user, password and query, and its keys."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, pydantic.BaseModel):
            yield from (((name, *path), endpoint) for path, endpoint in _endpoints(value))
        elif isinstance(value, str) and value and name.endswith("endpoint"):
            head, _, rest = value.partition("?")[0].rpartition("://")
            yield (name,), f"{head}://{rest.rpartition('@')[2]}" if head else rest


_LOOPBACK: Final = ("127.0.0.1", "::1")


def _sockets(endpoint: str) -> frozenset[tuple[str, int]]:
    """Return the loopback addresses, or else the host, and the port that an endpoint leads to or listens on."""
    scheme, _, rest = endpoint.rpartition("://")
    host, colon, port = rest.lstrip("/").partition("/")[0].rpartition(":")
    if not colon or port.endswith("]"):
        host, port = f"{host}{colon}{port}", {"http": "80", "https": "443"}.get(scheme, "")
    host = host.strip("[]").lower().rstrip(".")
    if not port.isdecimal() or not int(port):
        return frozenset()
    hosts = _LOOPBACK if host in {"", "localhost", "0.0.0.0", "::"} else (host,)  # noqa: S104 - compared, not bound
    return frozenset((each, int(port)) for each in hosts)


class _CrossCheck:
    def __init__(self, service: ServiceConfig, configured: Configured, root: Node, registry: Registry) -> None:
        self._service = service
        self._configured = configured
        self._root = root
        self._registry = registry

    def presence(self) -> Iterator[ConfigError]:
        for kind in ("receiver", "exporter"):
            if self._is_absent((f"{kind}s",)):
                yield self._root.trouble((f"{kind}s",), f"no {kind} configuration specified in config")
        path = ("service", "pipelines")
        if self._is_absent(path):
            yield self._root.trouble(path, "service must have at least one pipeline")

    def ambiguous_ids(self) -> Iterator[ConfigError]:
        for id_ in self._configured["connector"]:
            for kind in ("exporter", "receiver"):
                if id_ in self._configured[kind]:
                    yield self._root.trouble(
                        ("connectors", str(id_)),
                        f'ambiguous ID: Found both "{id_}" {kind} and "{id_}" connector. Change one of the '
                        f'components\' IDs to eliminate ambiguity (e.g. rename "{id_}" connector to "{id_}/connector")',
                    )

    def extensions(self) -> Iterator[ConfigError]:
        path = ("service", "extensions")
        for position, id_ in enumerate(self._service.extensions):
            if id_ not in self._configured["extension"]:
                yield self._undefined("extension", id_, path, position)

    def pipeline(self, id_: PipelineId, pipeline: Pipeline) -> Iterator[ConfigError]:
        path = ("service", "pipelines", str(id_))
        sound = True
        for kind, ids in _references(pipeline):
            sound = sound and (kind == "processor" or bool(ids))
            if kind != "processor" and self._is_absent((*path, f"{kind}s")):
                yield self._root.trouble(path, f"must have at least one {kind}")
            for position, reference in enumerate(ids):
                if self._find(kind, reference) is None:
                    sound = False
                    yield self._undefined(kind, reference, path, position)
                elif reference in ids[:position]:
                    yield self._root.trouble(
                        path, f'references {kind} "{reference}" multiple times', below=(f"{kind}s", str(position))
                    )
                else:
                    yield from self._signal(id_.signal, kind, reference, path, position)
        if sound:
            yield from self._own_checks(id_, pipeline, path)

    def connectors(self) -> Iterator[ConfigError]:
        """Check that what goes into a connector comes out of it where it should, and the reverse."""
        for id_, registration in self._configured["connector"].items():
            if registration is None:
                continue
            into = [str(key) for key, pipeline in self._service.pipelines.items() if id_ in pipeline.exporters]
            out = [str(key) for key, pipeline in self._service.pipelines.items() if id_ in pipeline.receivers]
            message = ""
            if into and registration.feeds and not out:
                message = (
                    f"used as exporter in [{' '.join(into)}] pipeline but not used in any supported receiver pipeline"
                )
            if out and not into:
                message = (
                    f"used as receiver in [{' '.join(out)}] pipeline but not used in any supported exporter pipeline"
                )
            if message:
                yield self._root.trouble(("connectors", str(id_)), f'connector "{id_}" {message}')

    def cycles(self) -> Iterator[ConfigError]:
        """Find pipelines that lead back to themselves; each pipeline is reported at most once."""
        reported: set[PipelineId] = set()
        for start in self._service.pipelines:
            cycle = self._cycle_from(start)
            if cycle and not reported & {id_ for id_, _ in cycle}:
                reported |= {id_ for id_, _ in cycle}
                yield self._root.trouble(
                    ("service", "pipelines", str(start)), f"cycle detected: {self._describe(cycle)}"
                )

    def _is_absent(self, path: Path) -> bool:
        """Tell whether a list or map is missing or empty, and not just of a wrong type, at any level."""
        node, found = self._root.at(path)
        return not node.value or (found != path and isinstance(node.value, dict))

    def _find(self, kind: Kind, id_: ComponentId) -> tuple[Registration | None] | None:
        """Return the registration that a reference leads to; None when it leads nowhere."""
        for candidate in (kind, "connector") if kind != "processor" else (kind,):
            if id_ in self._configured[candidate]:
                return (self._configured[candidate][id_],)
        return None

    def _signal(self, signal: Signal, kind: Kind, id_: ComponentId, path: Path, position: int) -> Iterator[ConfigError]:
        found = self._find(kind, id_)
        registration = found[0] if found else None
        if registration is None:
            return
        supported = registration.signals
        if registration.kind == "connector" and kind == "receiver":
            supported = registration.feeds
        if signal not in supported:
            yield self._root.trouble(
                path,
                f'failed to create "{id_}" {registration.kind} for data type "{signal}": '
                "telemetry type is not supported",
                f"as {kind} it supports {', '.join(supported)}" if supported else f"it cannot be used as {kind}",
                (f"{kind}s", str(position)),
            )

    def _own_checks(self, id_: PipelineId, pipeline: Pipeline, path: Path) -> Iterator[ConfigError]:
        """Ask the types that have something to say about the pipelines they are in."""
        members: dict[Kind, dict[ComponentId, Registration]] = {}
        for kind, ids in _references(pipeline):
            found = {reference: self._find(kind, reference) for reference in ids}
            members[kind] = {reference: entry[0] for reference, entry in found.items() if entry and entry[0]}
        view = PipelineView(str(id_), id_.signal, members["receiver"], members["processor"], members["exporter"])
        for kind in _ROLES:
            for position, registration in enumerate(members[kind].values()):
                if registration.check and (problem := registration.check(view)):
                    yield self._root.trouble(path, problem, below=(f"{kind}s", str(position)))

    def _cycle_from(self, start: PipelineId) -> list[tuple[PipelineId, ComponentId]]:
        """Return the way from `start` back to it: each pipeline with the connector that leads out of it."""
        way: list[tuple[PipelineId, ComponentId]] = []
        seen: set[PipelineId] = set()

        def search(here: PipelineId) -> bool:
            seen.add(here)
            for connector, following in self._next(here):
                way.append((here, connector))
                if following == start or (following not in seen and search(following)):
                    return True
                way.pop()
            return False

        return way if search(start) else []

    def _next(self, here: PipelineId) -> Iterator[tuple[ComponentId, PipelineId]]:
        for connector in self._service.pipelines[here].exporters:
            registration = self._configured["connector"].get(connector)
            for id_, pipeline in self._service.pipelines.items():
                if registration and id_.signal in registration.feeds and connector in pipeline.receivers:
                    yield connector, id_

    def _describe(self, cycle: Sequence[tuple[PipelineId, ComponentId]]) -> str:
        following = [*cycle[1:], cycle[0]]
        parts: list[str] = []
        for (id_, connector), (next_id, _) in zip(cycle, following, strict=True):
            parts.append(f'connector "{connector}" ({id_.signal} to {next_id.signal})')
            processors = self._service.pipelines[next_id].processors
            parts += [f'processor "{processor}" in pipeline "{next_id}"' for processor in processors]
        return " -> ".join([*parts, parts[0]])

    def _undefined(self, kind: Kind, id_: ComponentId, path: Path, position: int) -> ConfigError:
        below = (str(position),) if kind == "extension" else (f"{kind}s", str(position))
        message = f'references {kind} "{id_}" which is not configured'
        return self._root.trouble(path, message, for_reference(kind, id_, self._configured, self._registry), below)


def _references(pipeline: Pipeline) -> Iterable[tuple[Kind, tuple[ComponentId, ...]]]:
    return (
        ("receiver", pipeline.receivers),
        ("processor", pipeline.processors),
        ("exporter", pipeline.exporters),
    )
