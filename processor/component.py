"""What every component shares: its identity, its configuration, its errors and how it is found.

Errors a component raises into the pipeline::

    PipelineError
    ├── Refused            not accepted now; the sender keeps the data and tries again
    │   └── ShuttingDown   refused because the process is about to end
    └── Rejected           never acceptable: the data is bad, a retry would be the same again

*Refused* is said before acceptance. What happens to data after acceptance is a *drop*, is counted,
and never travels up as an exception. Configuration problems are `ConfigError` (service/confmap.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pkgutil
import re
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import pydantic

from spanledger.processor.turns import Working

if TYPE_CHECKING:
    from types import ModuleType

    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    from pydantic.fields import FieldInfo

    from spanledger.conventions.detail import Detail
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.span_attributes import Keys
    from spanledger.conventions.step import Bridge, Step
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.batch import Batch, Delivery, Resource, Signal
    from spanledger.processor.metric_store import MetricStore

Kind = Literal["receiver", "processor", "exporter", "connector", "extension"]
KINDS: tuple[Kind, ...] = ("receiver", "processor", "exporter", "connector", "extension")
Stability = Literal["stable", "beta", "alpha", "development"]

_TYPE = re.compile(r"[a-zA-Z][0-9a-zA-Z_]{0,62}")
_NAME = re.compile(r"\S{1,1024}")


RefusalReason = Literal["memory", "in_flight", "queue_full", "not_ready", "shutdown", "timeout", "storage"]


class PipelineError(Exception):
    """A request could not be taken; see the tree in the module docstring."""


class Refused(PipelineError):  # noqa: N818 - the word for it, in the Collector too
    """Not accepted now. `retry_after_s` is when to try again, None to let the sender choose."""

    def __init__(self, message: str, retry_after_s: float | None = 1.0, reason: RefusalReason = "queue_full") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.reason = reason
        """Label of `spanledger_refused_requests_total`."""


class ShuttingDown(Refused):
    """Refused because the process is ending; another replica or the next start will take it."""

    def __init__(self, message: str, retry_after_s: float | None = 1.0) -> None:
        super().__init__(message, retry_after_s, "shutdown")


class Rejected(PipelineError):  # noqa: N818
    """Bad data: the same request would fail again. Nothing of it was kept."""


@dataclass(frozen=True, slots=True, order=True)
class ComponentId:
    """`type` or `type/name`, unique within its section (Collector rules, component/identifiable.go)."""

    type: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> ComponentId:
        """Read `type[/name]`, blanks around both parts allowed. Raises ValueError with what is wrong."""
        type_name, slash, name = text.partition("/")
        type_name, name = type_name.strip(), name.strip()
        if not type_name:
            raise ValueError(f'in "{text}" id: the part before / should not be empty')
        if not _TYPE.fullmatch(type_name):
            raise ValueError(
                f'invalid character(s) in type "{type_name}": it starts with a letter and has at most '
                "63 letters, digits and underscores"
            )
        if slash and not name:
            raise ValueError(f'in "{text}" id: the part after / should not be empty')
        if name and not _NAME.fullmatch(name):
            raise ValueError(f'invalid name in "{text[:80]}": at most 1024 characters, none of them a blank')
        return cls(type_name, name)

    def __str__(self) -> str:
        return f"{self.type}/{self.name}" if self.name else self.type


class Settings(pydantic.BaseModel):
    """Base of every block of configuration: unknown keys are errors, values are frozen.

    Most blocks are of components that nobody chose: what checks them is built when it is first needed.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    def files(self) -> Iterator[str]:
        """Yield the files that this configuration names; when one of them changes, a reload takes it anew."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Settings):
                yield from value.files()
            elif name.endswith("_file") and isinstance(value, str) and value:
                yield value

    def misread(self) -> Iterator[str]:
        """Yield what is wrong inside of the files that this configuration names, where they can be read."""
        return iter(())

    def references(self) -> Iterator[Reference]:
        """Yield the extensions that this configuration refers to."""
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                for below in value.references():
                    yield replace(below, path=(name, *below.path))
            elif isinstance(value, ComponentId):
                yield Reference((name,), value, _needs(info))


@dataclass(frozen=True, slots=True)
class Needs:
    """Annotates a field that names an extension: what it has to offer, one of its `offers`."""

    what: str


def _needs(field_info: FieldInfo) -> str:
    """Find `Needs` among the annotations of a field, of an optional one too."""
    alternatives = typing.get_args(field_info.annotation)
    annotations = [*field_info.metadata, *(each for one in alternatives for each in getattr(one, "__metadata__", ()))]
    return next((each.what for each in annotations if isinstance(each, Needs)), "")


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a configuration that names an extension."""

    path: tuple[str, ...]
    id: ComponentId
    needs: str


class ComponentConfig(Settings):
    """Base of a component's whole configuration: the keys below its id."""


@dataclass(slots=True)
class Host:
    """What the service gives to a component: the numbers, the time, and somewhere to say how it is."""

    id: ComponentId
    metrics: MetricStore
    log: logging.Logger
    clock_ns: Callable[[], int]
    """Wall clock, nanoseconds since the epoch."""
    monotonic: Callable[[], float]
    """Seconds; differences only."""
    report: Callable[[Status, str], None] = lambda _status, _why: None
    """Tell the health check of a change: report("recoverable_error", "connection refused")."""
    view: ServiceView | None = None
    """What extensions may look at; None for components of a pipeline."""
    extensions: Mapping[ComponentId, Any] = field(default_factory=dict)
    """The extensions that the component's configuration refers to."""
    shared: Callable[[Callable[[], Any]], Any] = lambda make: make()
    """Return what the processors of one id have in common over all their pipelines; made when first asked for."""
    working: Working = field(default_factory=Working)
    """The requests that are worked on: whoever has time gives way to them."""


Status = Literal["starting", "ok", "recoverable_error", "permanent_error", "fatal_error", "stopping", "stopped"]


class ServiceView(Protocol):
    """What the health check and the diagnostic pages see of the running service."""

    started_ns: int

    def ready(self) -> bool:
        """Tell whether requests are taken now; false from the first moment of a shutdown."""
        ...

    def statuses(self) -> Mapping[str, tuple[Status, str, int]]:
        """Return `kind:id` -> (status, why, since as ns), in starting order."""
        ...

    def pipelines(self) -> Mapping[str, Mapping[str, Any]]:
        """Return pipeline id -> {"receivers", "processors", "exporters": [ids], "mutates": bool}."""
        ...

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return `kind:id` -> the component's own `statistics()`."""
        ...

    def recent(self) -> Sequence[Step]:
        """Return the last GenAI steps that were acknowledged, oldest first."""
        ...


class Component(Protocol):
    """Anything with a life: start before use, shutdown after the last use. Both at most once."""

    async def start(self) -> None:
        """Get ready; raise with a plain message when that is impossible (port taken, bad file)."""
        ...

    async def shutdown(self, deadline: float) -> int:
        """Finish what is accepted until `deadline` (`host.monotonic` seconds); return items lost."""
        ...

    def statistics(self) -> Mapping[str, Any]:
        """Return the state in numbers: plain values, for the pages and for tests."""
        ...


class Passive:
    """A component without a life of its own; the defaults of `Component`."""

    async def start(self) -> None:
        """Do nothing."""

    async def shutdown(self, deadline: float) -> int:
        """Do nothing and lose nothing."""
        return 0

    def statistics(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}


@runtime_checkable
class Successor(Protocol):
    """A component that goes on where one of the same id and type ends, when a reload changes its configuration."""

    def take_over(self, predecessor: Any) -> Awaitable[None]:
        """Get ready for what comes next, at once; what is awaited is done when nothing more comes to `predecessor`."""
        ...


class Processor(Component, Protocol):
    """A stage of a pipeline. It owns the batch while it runs and edits it in place."""

    def process(self, batch: Batch) -> Generator[None, None, None] | None:
        """Work on `batch`; raise `Refused` or `Rejected` to stop the whole request.

        A stage with much to do is a generator that yields every few dozen items: the caller lets other
        requests run there. A bad item is counted and left unchanged; it never raises.
        """
        ...


class Sink(Component, Protocol):
    """The end of a pipeline: an exporter's queue or a connector.

    For each delivery `reserve` is called first. Once every sink of every pipeline has room, and those that
    are `Durable` have it on disk, all are told to `commit`; if any raised, those that had reserved are told to
    `release`. None of the three awaits, so that a request is in every queue or in none. Connectors are told to
    commit a moment after the others, when the answer is on its way.
    """

    def reserve(self, delivery: Delivery) -> None:
        """Hold room for `delivery`, or raise `Refused`."""
        ...

    def commit(self, delivery: Delivery) -> None:
        """Take `delivery`; it is acknowledged when all exporters have. Never raises."""
        ...

    def release(self, delivery: Delivery) -> None:
        """Give the room of `reserve` back."""
        ...


@runtime_checkable
class Durable(Protocol):
    """What a sink may offer besides: it writes a delivery to disk before that is acknowledged."""

    durable: bool
    """Whether it does; the configuration decides."""

    def keep(self, delivery: Delivery) -> Coroutine[Any, Any, None]:
        """Write a reserved delivery, or raise `Refused`. `release` forgets it again; `commit` puts it in line."""
        ...


@runtime_checkable
class Trajectories(Protocol):
    """What a sink may offer besides: it asks for more on each step, and says on spans what it knows by then."""

    def detail(self, span: Span, reading: Reading, resource: Resource) -> Detail:
        """Return what joins this step to others. Never raises because of data."""
        ...

    def judgements(self, span: Span, keys: Keys | None = None) -> Sequence[Judgement]:
        """Return what a span that is no GenAI work says of others. Never raises because of data."""
        ...

    def annotate(self, batch: Batch, steps: Sequence[Step], bridges: Sequence[Bridge]) -> Generator[None, None, None]:
        """Write on the batch's spans what is known of their runs, before the batch is serialised.

        Yields now and then, as a processor does. The request may still be refused and come again, so nothing
        may be remembered here but pure functions of what was seen.
        """
        ...


Consume = Callable[["Batch"], Awaitable[None]]
"""What a receiver hands a decoded batch to. Returns when every sink took it; raises PipelineError."""


class Receiver(Component, Protocol):
    """A source of batches. `consumers` is set by the service before `start` and may change on reload."""

    consumers: Mapping[Signal, Consume]
    """One entry for each signal that some pipeline takes from this receiver."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A component type that configurations may name."""

    kind: Kind
    config: type[ComponentConfig]
    type: str
    factory: Callable[[Any, Host], Any]
    signals: tuple[Signal, ...]
    stability: Stability
    summary: str
    feeds: tuple[Signal, ...] = field(default=())
    """Connectors: the signals of the pipelines that they are a receiver of."""
    check: Callable[[PipelineView], str | None] | None = None
    """Says what is wrong with a pipeline that names this component, or None."""

    @property
    def offers(self) -> frozenset[str]:
        """Extensions: what other components may use them for."""
        return getattr(self.factory, "offers", frozenset())


@dataclass(frozen=True, slots=True)
class PipelineView:
    """A configured pipeline, as `Registration.check` sees it before anything is built."""

    id: str
    signal: Signal
    receivers: Mapping[ComponentId, Registration]
    """Receivers, and connectors that feed this pipeline (`registration.kind` tells)."""
    processors: Mapping[ComponentId, Registration]
    exporters: Mapping[ComponentId, Registration]


_T = TypeVar("_T")


class Registry:
    """Every component type by kind and name, filled by `@register` when its module is imported."""

    def __init__(self, packages: Mapping[Kind, str] | None = None) -> None:
        """With the package of each kind, types are imported when they are asked for."""
        self._packages = packages or {}
        self._by_kind: dict[Kind, dict[str, Registration]] = {kind: {} for kind in KINDS}
        self._complete = not self._packages

    def add(self, registration: Registration) -> None:
        """Add one type; the same name twice is a mistake in our code."""
        known = self._by_kind[registration.kind]
        if registration.type in known and known[registration.type].factory is not registration.factory:
            raise ValueError(f"{registration.kind} {registration.type!r} is registered twice")
        known[registration.type] = registration

    def find(self, kind: Kind, type_name: str) -> Registration | None:
        """Return one type. Of modules whose name is that of the type no other is imported: that takes memory."""
        known = self._by_kind[kind]
        if type_name not in known and not self._complete and type_name.isidentifier():
            name = f"{self._packages[kind]}.{type_name}"
            if importlib.util.find_spec(name) is not None:
                _import_all(importlib.import_module(name))
        return known.get(type_name) or self.of(kind).get(type_name)

    def of(self, kind: Kind) -> Mapping[str, Registration]:
        """Return the types of one kind, by name."""
        self.discover()
        return dict(sorted(self._by_kind[kind].items()))

    def discover(self) -> Registry:
        """Import every module of the component packages, so that each has registered itself."""
        if not self._complete:
            for name in set(self._packages.values()):
                _import_all(importlib.import_module(name))
            self._complete = True
        return self


def _import_all(module: ModuleType) -> None:
    """Import all that is in a package; nothing is in another module."""
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ()), module.__name__ + "."):
        _import_all(importlib.import_module(inner.name))


REGISTRY = Registry(
    {
        "receiver": "spanledger.receivers",
        "processor": "spanledger.processor",
        "connector": "spanledger.processor",
        "exporter": "spanledger.exporters",
        "extension": "spanledger.extensions",
    }
)


def register(
    kind: Kind,
    type_name: str,
    *,
    config: type[ComponentConfig],
    signals: tuple[Signal, ...],
    stability: Stability = "alpha",
    feeds: tuple[Signal, ...] = (),
    check: Callable[[PipelineView], str | None] | None = None,
) -> Callable[[type[_T]], type[_T]]:
    """Make the class below known as component `type_name`.

    It is constructed as `cls(config, host)`. The first line of its docstring is its summary in
    `spanledger components` and in docs/configuration.md. `check` is asked about every pipeline that
    names such a component and answers what is wrong, or None.
    """

    def add(cls: type[_T]) -> type[_T]:
        summary = (cls.__doc__ or "").strip().partition("\n")[0]
        REGISTRY.add(Registration(kind, config, type_name, cls, signals, stability, summary, feeds, check))
        return cls

    return add
