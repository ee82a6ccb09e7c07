"""The typed configuration: what `load` makes of its sources, or everything that is wrong with them.

Each component's block is read by the class that its type was registered with; then the pipelines are
checked as a whole (crosschecks.py). Nothing is built here and no port is opened.
"""

from __future__ import annotations

import contextlib
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import pydantic

from spanledger.processor.batch import SIGNALS, Signal
from spanledger.processor.component import (
    KINDS,
    REGISTRY,
    ComponentConfig,
    ComponentId,
    Kind,
    Registration,
    Registry,
    Settings,
)
from spanledger.processor.settings import Duration, IdOfComponent
from spanledger.service.confmap import ConfigError, InvalidConfig, Node, Place, read_file, resolve
from spanledger.service.crosschecks import (
    cross_check,
    loops,
    missing_extensions,
    open_to_all,
    shared_files,
    unread,
    unused,
)
from spanledger.service.presets import PREFIX
from spanledger.service.suggestions import did_you_mean, for_type
from spanledger.service.validation import validate

__all__ = ["Config", "ConfigError", "InvalidConfig", "Pipeline", "PipelineId", "ResolvedComponent", "load"]


@dataclass(frozen=True, slots=True, order=True)
class PipelineId:
    """`signal` or `signal/name`, such as `metrics/genai`."""

    signal: Signal
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> PipelineId:
        """Read `signal[/name]` by the rules of component ids. Raises ValueError with what is wrong."""
        read = ComponentId.parse(text)
        for signal in SIGNALS:
            if read.type == signal:
                return cls(signal, read.name)
        advice = did_you_mean(read.type, SIGNALS) or f"there are {', '.join(SIGNALS)}"
        raise ValueError(f'unknown pipeline signal: "{read.type}" ({advice})')

    def __str__(self) -> str:
        return f"{self.signal}/{self.name}" if self.name else self.signal


def _pipeline_id(value: Any) -> PipelineId:
    return value if isinstance(value, PipelineId) else PipelineId.parse(str(value))


def _once(ids: tuple[ComponentId, ...]) -> tuple[ComponentId, ...]:
    # Naming a receiver or an exporter twice changes nothing, as in the Collector.
    return tuple(dict.fromkeys(ids))


_PipelineKey = Annotated[PipelineId, pydantic.PlainValidator(_pipeline_id), pydantic.PlainSerializer(str)]


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class Pipeline(Settings):
    """The way of one signal: taken from receivers, through processors in order, to every exporter."""

    receivers: Annotated[tuple[IdOfComponent, ...], pydantic.AfterValidator(_once)] = ()
    """Ids of receivers, and of connectors that feed this signal."""
    processors: tuple[IdOfComponent, ...] = ()
    """Ids of processors, in the order they work."""
    exporters: Annotated[tuple[IdOfComponent, ...], pydantic.AfterValidator(_once)] = ()
    """Ids of exporters, and of connectors that take this signal."""


class LogsTelemetry(Settings):
    """The sidecar's own log, on standard error."""

    level: Annotated[Literal["debug", "info", "warn", "error"], pydantic.BeforeValidator(_lower)] = "info"
    """The least important messages to write."""
    encoding: Literal["console", "json"] = "console"
    """`console` for people, `json` for one object a line."""


class Telemetry(Settings):
    """What the sidecar says about itself."""

    logs: LogsTelemetry = LogsTelemetry()
    """Its log."""


class ServiceConfig(Settings):
    """What runs, and how: the `service` section."""

    extensions: tuple[IdOfComponent, ...] = ()
    """Ids of the extensions to run, in starting order; those that others need start before."""
    pipelines: dict[_PipelineKey, Pipeline] = pydantic.Field(default_factory=dict)
    """Pipelines by id: `traces`, `logs` or `metrics`, with `/name` where there are several."""
    telemetry: Telemetry = Telemetry()
    """What the sidecar says about itself."""
    shutdown_timeout: Duration = 15.0
    """How long a shutdown waits for accepted data to be delivered."""


@dataclass(frozen=True, slots=True)
class ResolvedComponent:
    """A configured component: what it is and the settings that it gets."""

    id: ComponentId
    registration: Registration
    config: ComponentConfig


_Section = Mapping[ComponentId, ResolvedComponent]


def _empty() -> _Section:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Config:
    """A whole valid configuration. It never changes: a reload makes a new one."""

    service: ServiceConfig
    receivers: _Section = field(default_factory=_empty)
    processors: _Section = field(default_factory=_empty)
    exporters: _Section = field(default_factory=_empty)
    connectors: _Section = field(default_factory=_empty)
    extensions: _Section = field(default_factory=_empty)
    warnings: tuple[str, ...] = ()
    root: Node = field(default=Node({}, Place("")), repr=False, compare=False)
    """What it was read from, for the places of what is wrong with it."""

    @property
    def pipelines(self) -> Mapping[PipelineId, Pipeline]:
        """The pipelines of the service section."""
        return MappingProxyType(self.service.pipelines)

    def used(self, kind: Kind) -> Mapping[ComponentId, ResolvedComponent]:
        """Return what pipelines and the service use of a kind, in the order of its configuration.

        Extensions are in the order of their list. What is left out does not run.
        """
        section: _Section = getattr(self, f"{kind}s")
        if kind == "extension":
            return {id_: section[id_] for id_ in self.service.extensions}
        roles = ("receivers", "exporters") if kind == "connector" else (f"{kind}s",)
        named = {id_ for pipeline in self.pipelines.values() for role in roles for id_ in getattr(pipeline, role)}
        return {id_: component for id_, component in section.items() if id_ in named}

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration with all defaults, in the form that a file has. Holds secrets by key."""
        sections: dict[str, _Section] = {
            "receivers": self.receivers,
            "processors": self.processors,
            "exporters": self.exporters,
            "connectors": self.connectors,
            "extensions": self.extensions,
        }
        dumped = {
            name: {str(id_): _dump(component.config) for id_, component in section.items()}
            for name, section in sections.items()
            if section
        }
        return {**dumped, "service": _dump(self.service)}


def _dump(settings: Settings) -> dict[str, Any]:
    # A null block would read as "with defaults" where here it is off.
    return settings.model_dump(mode="json", by_alias=True, exclude_none=True)


class _Root(Settings):
    """The top level; only its keys matter."""

    receivers: dict[str, Any] = pydantic.Field(default_factory=dict)
    processors: dict[str, Any] = pydantic.Field(default_factory=dict)
    exporters: dict[str, Any] = pydantic.Field(default_factory=dict)
    connectors: dict[str, Any] = pydantic.Field(default_factory=dict)
    extensions: dict[str, Any] = pydantic.Field(default_factory=dict)
    service: ServiceConfig = ServiceConfig()


DEFAULT: Final = "default:"
"""The source that is the packaged default."""


def packaged_config() -> str:
    """Return the path of the default configuration, which comes with the package."""
    return str(importlib.resources.files("spanledger").joinpath("otel-config.yaml"))


def load(
    sources: Sequence[str],
    sets: Sequence[str],
    environ: Mapping[str, str],
    registry: Registry | None = None,
    read: Callable[[str], bytes] = read_file,
) -> Config:
    """Read, merge, type and check a configuration (`confmap.resolve` says what sources and sets are).

    `default:` is the packaged default; without sources, or with presets only, it is below them. Raises
    `InvalidConfig` with everything that is wrong.
    """
    registry = REGISTRY if registry is None else registry
    if all(source.startswith(PREFIX) for source in sources):
        sources = [DEFAULT, *sources]
    named = [packaged_config() if source == DEFAULT else source for source in sources]
    resolution = resolve(named, sets, environ, read)
    root = resolution.root
    if not root.value:
        raise InvalidConfig([ConfigError((), Place(", ".join(named)), "empty configuration file")], resolution.warnings)
    _, errors = validate(_Root, root, ())
    sections: dict[Kind, dict[ComponentId, Node]] = {}
    registrations: dict[Kind, dict[ComponentId, Registration | None]] = {}
    resolved: dict[Kind, dict[ComponentId, ResolvedComponent]] = {}
    for kind in KINDS:
        sections[kind], found = _ids(root, kind)
        errors += found
        registrations[kind], found = _registrations(sections[kind], kind, registry)
        errors += found
        resolved[kind], found = _resolved(sections[kind], kind, registrations[kind])
        errors += found
    service = _service(root)
    errors += cross_check(service, registrations, root, registry)
    # A reference that leads nowhere leaves a value that fits nowhere: one report of it is enough.
    broken = {error.keys for error in resolution.errors}
    errors = [*resolution.errors, *(error for error in errors if error.keys not in broken)]
    if errors:
        raise InvalidConfig(sorted(errors, key=_position), resolution.warnings)
    config = Config(
        service,
        **{f"{kind}s": MappingProxyType(components) for kind, components in resolved.items()},
        warnings=(),
        root=root,
    )
    found = [*unused(config), *shared_files(config), *open_to_all(config), *unread(config)]
    warnings = (*resolution.warnings, *map(str, found))
    if late := [*missing_extensions(config), *loops(config)]:
        raise InvalidConfig(sorted(late, key=_position), warnings)
    return replace(config, warnings=warnings)


def _position(error: ConfigError) -> tuple[str, int, int]:
    return error.source, error.line, error.column


def _ids(root: Node, kind: Kind) -> tuple[dict[ComponentId, Node], list[ConfigError]]:
    """Read the ids of a section."""
    section = root.child(f"{kind}s")
    found: dict[ComponentId, Node] = {}
    errors: list[ConfigError] = []
    for name, node in section.value.items() if section and isinstance(section.value, dict) else ():
        path = (f"{kind}s", name)
        try:
            id_ = ComponentId.parse(name)
        except ValueError as error:
            errors.append(ConfigError(path, node.where, str(error), "an id is type or type/name"))
            continue
        if id_ in found:
            message = f'duplicate name "{id_}", also at {found[id_].where}'
            errors.append(ConfigError(path, node.where, message, "give one of them a /name of its own"))
        found[id_] = node
    return found, errors


def _registrations(
    section: Mapping[ComponentId, Node], kind: Kind, registry: Registry
) -> tuple[dict[ComponentId, Registration | None], list[ConfigError]]:
    """Find the type of every component of a section; None for those of an unknown type."""
    found = {id_: registry.find(kind, id_.type) for id_ in section}
    errors = [
        ConfigError(
            (f"{kind}s", str(id_)),
            node.where,
            f'unknown type: "{id_.type}" for id: "{id_}" (valid values: [{" ".join(registry.of(kind))}])',
            for_type(kind, id_.type, registry),
        )
        for id_, node in section.items()
        if found[id_] is None
    ]
    return found, errors


def _resolved(
    section: Mapping[ComponentId, Node], kind: Kind, registrations: Mapping[ComponentId, Registration | None]
) -> tuple[dict[ComponentId, ResolvedComponent], list[ConfigError]]:
    """Read the block of every component of a known type."""
    resolved: dict[ComponentId, ResolvedComponent] = {}
    errors: list[ConfigError] = []
    for id_, node in section.items():
        if registration := registrations[id_]:
            about = f'error reading configuration for "{id_}"'
            config, found = validate(registration.config, node, (f"{kind}s", str(id_)), about)
            errors += found
            if config is not None:
                resolved[id_] = ResolvedComponent(id_, registration, config)
    return resolved, errors


def _service(root: Node) -> ServiceConfig:
    """Return as much of the service section as can be read: what cannot was reported with the root."""
    node = root.child("service") or Node({}, root.place)
    service, _ = validate(ServiceConfig, node, ("service",))
    if service is not None:
        return service
    pipelines: dict[PipelineId, Pipeline] = {}
    section = node.child("pipelines")
    for name, child in section.value.items() if section and isinstance(section.value, dict) else ():
        with contextlib.suppress(ValueError):
            lists = {key: _readable_ids(child.child(key)) for key in Pipeline.model_fields}
            pipelines[PipelineId.parse(name)] = Pipeline(**lists)
    return ServiceConfig(extensions=_readable_ids(node.child("extensions")), pipelines=pipelines)


def _readable_ids(node: Node | None) -> tuple[ComponentId, ...]:
    ids: list[ComponentId] = []
    for item in node.value if node and isinstance(node.value, tuple) else ():
        with contextlib.suppress(ValueError):
            ids.append(ComponentId.parse(str(item.value)))
    return tuple(ids)
