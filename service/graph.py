"""From a configuration to connected components, and their life in the right order.

Components start downstream first, so that whatever is sent to is ready: extensions, exporters,
connectors, processors, receivers. They stop the other way round, so that nothing arrives at a
component that has ended. Within one order, extensions are outermost: the health check speaks from the
first moment to the last.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from spanledger.processor.component import (
    Component,
    ComponentConfig,
    ComponentId,
    Durable,
    Host,
    Kind,
    ServiceView,
    Status,
    Trajectories,
)
from spanledger.processor.turns import Working
from spanledger.processor.watched_files import FileState, file_state
from spanledger.service.flow import Intake, Pipeline, Stage

if TYPE_CHECKING:
    from spanledger.conventions.step import Step
    from spanledger.processor.batch import Signal
    from spanledger.processor.metric_store import MetricStore
    from spanledger.service.config import Config, ResolvedComponent

START_ORDER: tuple[Kind, ...] = ("extension", "exporter", "connector", "processor", "receiver")

Key = tuple[Kind, ComponentId, str]
"""Kind, id and, for processors, the pipeline: each pipeline has processors of its own, as in the Collector."""


class CannotStart(Exception):  # noqa: N818 - says what happened
    """A component could not be built or started; the message names it and says why."""


@dataclass(slots=True)
class Health:
    """What a component last said of itself."""

    status: Status
    why: str
    since_ns: int


@dataclass(slots=True)
class Node:
    """A component in the graph."""

    kind: Kind
    id: ComponentId
    pipeline: str
    """Processors: the pipeline it works in."""
    config: ComponentConfig
    component: Any
    health: Health
    files: Mapping[str, FileState]
    """The files that the configuration names, as they were."""
    started: bool = False

    @property
    def key(self) -> Key:
        """Return its place in `Graph.nodes`."""
        return self.kind, self.id, self.pipeline

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" + (f"@{self.pipeline}" if self.pipeline else "")


@dataclass(slots=True)
class Surroundings:
    """What the service lends to every component."""

    metrics: MetricStore
    view: ServiceView
    clock_ns: Callable[[], int] = time.time_ns
    monotonic: Callable[[], float] = time.monotonic
    recent: deque[Step] = field(default_factory=lambda: deque(maxlen=256))
    shared: dict[ComponentId, Any] = field(default_factory=dict)
    """What the processors of one id have in common; it outlives their configuration."""
    working: Working = field(default_factory=Working)
    """The requests that are worked on."""


@dataclass(slots=True)
class Graph:
    """Every component of one configuration, and the pipelines between them."""

    config: Config
    nodes: dict[Key, Node]
    pipelines: dict[str, Pipeline]

    def connect(self, surroundings: Surroundings) -> None:
        """Point every source at the pipelines that take from it. Replaces all earlier connections at once."""
        for (kind, id_, _), node in self.nodes.items():
            if kind not in {"receiver", "connector"} or not hasattr(node.component, "consumers"):
                continue
            taking: dict[Signal, list[Pipeline]] = {}
            for pipeline_id, configured in self.config.pipelines.items():
                if id_ in configured.receivers:
                    pipeline = self.pipelines[str(pipeline_id)]
                    taking.setdefault(pipeline.signal, []).append(pipeline)
            node.component.consumers = {
                signal: Intake(pipelines, surroundings.recent, surroundings.monotonic, surroundings.working)
                for signal, pipelines in taking.items()
            }


def build(config: Config, surroundings: Surroundings, previous: Graph | None = None) -> Graph:
    """Construct what `config` names, keeping the running components whose configuration is the same.

    Nothing is started and nothing running is touched. Raises `CannotStart`.
    """
    nodes: dict[Key, Node] = {}
    for kind, resolved, pipeline in components(config):
        key = (kind, resolved.id, pipeline)
        known = previous.nodes.get(key) if previous else None
        named: dict[Key, Node] = {}
        for reference in resolved.config.references():
            extension: Key = ("extension", reference.id, "")
            named[extension] = nodes[extension]
        if known is not None and _is_same(known, resolved, named, previous):
            nodes[key] = known
        else:
            extensions = {node.id: node.component for node in named.values()}
            nodes[key] = _construct(kind, resolved, pipeline, surroundings, extensions)
    return Graph(config, nodes, _pipelines(config, nodes, surroundings.metrics))


def _is_same(known: Node, resolved: ResolvedComponent, named: Mapping[Key, Node], previous: Graph | None) -> bool:
    """Tell whether a running component may stay: its settings, its files and the extensions it uses are the same."""
    return (
        known.config == resolved.config
        and known.files == file_states(resolved.config)
        and all(previous is not None and previous.nodes.get(key) is node for key, node in named.items())
    )


def components(config: Config) -> Iterator[tuple[Kind, ResolvedComponent, str]]:
    """Yield what pipelines and the service use, in starting order; the unused is only configured."""
    for kind in START_ORDER:
        if kind == "processor":
            for pipeline_id, pipeline in config.pipelines.items():
                for id_ in pipeline.processors:
                    yield kind, config.processors[id_], str(pipeline_id)
            continue
        used = list(config.used(kind).values())
        if kind == "extension":
            # Whatever the order they are named in: pages need the one that knows their readers, and that needs none.
            used.sort(key=lambda resolved: any(resolved.config.references()))
        for resolved in used:
            yield kind, resolved, ""


def _construct(
    kind: Kind,
    resolved: ResolvedComponent,
    pipeline: str,
    surroundings: Surroundings,
    extensions: Mapping[ComponentId, Any],
) -> Node:
    health = Health("starting", "", surroundings.clock_ns())

    def report(status: Status, why: str) -> None:
        health.status, health.why, health.since_ns = status, why, surroundings.clock_ns()

    host = Host(
        id=resolved.id,
        metrics=surroundings.metrics,
        log=logging.getLogger(f"spanledger.{kind}.{resolved.id}"),
        clock_ns=surroundings.clock_ns,
        monotonic=surroundings.monotonic,
        report=report,
        view=surroundings.view if kind == "extension" else None,
        extensions=extensions,
        shared=partial(_share, surroundings, resolved.id),
        working=surroundings.working,
    )
    try:
        component: Component = resolved.registration.factory(resolved.config, host)
    except Exception as error:
        raise CannotStart(f"cannot build {kind} {resolved.id}: {error}") from error
    return Node(kind, resolved.id, pipeline, resolved.config, component, health, file_states(resolved.config))


def _share(surroundings: Surroundings, id_: ComponentId, make: Callable[[], Any]) -> Any:
    """Return what the processors of one id have in common, made the first time."""
    if id_ not in surroundings.shared:
        surroundings.shared[id_] = make()
    return surroundings.shared[id_]


def file_states(config: ComponentConfig) -> Mapping[str, FileState]:
    """Return what would be different if one of the files that `config` names had changed."""
    return {name: file_state(name) for name in config.files()}


def _pipelines(config: Config, nodes: Mapping[Key, Node], metrics: MetricStore) -> dict[str, Pipeline]:
    incoming = metrics.counter("otelcol_processor_incoming_items_total")
    outgoing = metrics.counter("otelcol_processor_outgoing_items_total")
    pipelines: dict[str, Pipeline] = {}
    for pipeline_id, configured in config.pipelines.items():
        stages: list[Stage] = []
        for id_ in configured.processors:
            labels = (str(id_), pipeline_id.signal)
            processor = nodes["processor", id_, str(pipeline_id)].component
            stages.append(Stage(processor, partial(incoming.add, labels), partial(outgoing.add, labels)))
        ends = [nodes.get(("exporter", id_, "")) or nodes["connector", id_, ""] for id_ in configured.exporters]
        takers = [node.component for node in ends]
        pipelines[str(pipeline_id)] = Pipeline(
            str(pipeline_id),
            pipeline_id.signal,
            tuple(stages),
            sinks=tuple(node.component for node in ends if node.kind == "exporter"),
            trajectories=next((taker for taker in takers if isinstance(taker, Trajectories)), None),
            durable=tuple(taker for taker in takers if isinstance(taker, Durable) and taker.durable),
            connectors=tuple(node.component for node in ends if node.kind == "connector"),
        )
    return pipelines
