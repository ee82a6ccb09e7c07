# ruff: noqa: E501 - messages are compared whole, and read better so
"""The typed configuration: every kind of mistake, all of them at once, and what a valid one becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.processor.batch import Signal
from spanledger.processor.component import (
    ComponentConfig,
    ComponentId,
    Kind,
    PipelineView,
    Registration,
    Registry,
    Settings,
)
from spanledger.processor.settings import Duration, HostPort, Secret, duration_text, seconds
from spanledger.service.config import Config, InvalidConfig, PipelineId, load
from spanledger.service.masking import masked, scrubbed


class Queue(Settings):
    """A queue."""

    enabled: bool = True
    """Use it."""
    queue_size: Annotated[int, pydantic.Field(gt=0)] = 1000
    """Requests it holds."""
    num_consumers: int = 10
    """Requests sent at once."""


class Grpc(Settings):
    """A listener."""

    endpoint: HostPort = "localhost:4317"
    """Where to listen."""


class Protocols(Settings):
    """Listeners."""

    grpc: Grpc | None = None
    """gRPC, when given."""
    http: Grpc | None = None
    """HTTP, when given."""


class ReceiverConfig(ComponentConfig):
    """A receiver."""

    protocols: Protocols = Protocols()
    """How to listen."""


class BackendConfig(ComponentConfig):
    """An exporter with everything."""

    endpoint: str
    """Where to send. In full."""
    timeout: Duration = 5.0
    """Seconds for one attempt."""
    headers: dict[str, Secret] = pydantic.Field(default_factory=dict)
    """Sent with each request."""
    sending_queue: Queue = Queue()
    """What waits."""
    compression: Literal["gzip", "none"] = "gzip"
    """How to pack."""
    tags: tuple[str, ...] = ()
    """Words."""
    password: str = ""
    """Known to nobody."""
    ratio: float | Literal["auto"] = 1.0
    """A number or auto."""

    @pydantic.field_validator("password")
    @classmethod
    def _long(cls, value: str) -> str:
        if value and len(value) < 12:
            raise ValueError(f"{value!r} is too short, {value[:4]} is no password")
        return value


class EmptyConfig(ComponentConfig):
    """Nothing to set."""


ALL: tuple[Signal, ...] = ("traces", "logs", "metrics")


def only_from_connectors(view: PipelineView) -> str | None:
    """Refuse receivers that are no connectors."""
    others = [str(id_) for id_, registration in view.receivers.items() if registration.kind != "connector"]
    return f"numbers takes metrics of connectors only, not of {', '.join(others)}" if others else None


def registry() -> Registry:
    """Return component types of every kind."""
    made = Registry()

    def add(kind: Kind, name: str, config: type[ComponentConfig], signals: tuple[Signal, ...], **more: Any) -> None:
        made.add(Registration(kind, config, name, lambda config, host: None, signals, "beta", "A fake.", **more))

    add("receiver", "otlp", ReceiverConfig, ALL)
    add("receiver", "spans", EmptyConfig, ("traces",))
    add("processor", "memory_limiter", EmptyConfig, ALL)
    add("processor", "genai_pricing", EmptyConfig, ("traces",))
    add("exporter", "backend", BackendConfig, ALL)
    add("exporter", "debug", EmptyConfig, ALL)
    add("exporter", "numbers", EmptyConfig, ("metrics",), check=only_from_connectors)
    add("connector", "counter", EmptyConfig, ("traces",), feeds=("metrics",))
    add("connector", "echo", EmptyConfig, ALL, feeds=ALL)
    add("connector", "sink", EmptyConfig, ("traces",))
    add("extension", "health_check", Grpc2, ())
    return made


class Grpc2(ComponentConfig):
    """An extension."""

    endpoint: HostPort = "localhost:13133"
    """Where to listen."""


VALID = """\
receivers:
  otlp:
exporters:
  debug:
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [debug]
"""


def read(*files: str, sets: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Load files a.yaml, b.yaml, … with these contents."""
    contents = {f"{chr(ord('a') + position)}.yaml": text.encode() for position, text in enumerate(files)}
    return load(list(contents), sets, environ or {}, registry(), contents.__getitem__)


def wrong(*files: str, sets: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> list[str]:
    """Return everything that is wrong with such files."""
    with pytest.raises(InvalidConfig) as caught:
        read(*files, sets=sets, environ=environ)
    return [str(error) for error in caught.value.errors]


# --- a valid configuration ------------------------------------------------------------------------


def test_valid_configuration_becomes_typed_components_and_pipelines() -> None:
    """Ids, defaults, null sections, environment and order."""
    config = read(
        """\
receivers: {otlp: {protocols: {grpc: , http: {endpoint: "0.0.0.0:1"}}}, spans/x: }
processors: {memory_limiter: , genai_pricing: {}}
connectors: {counter: }
exporters:
  backend/a: {endpoint: "${env:HOST}:4317", timeout: 1m30s, headers: {x: "${env:N}"}, tags: "${env:TAGS}"}
  numbers:
extensions: {health_check: }
service:
  extensions: [health_check]
  telemetry: {logs: {level: DEBUG}}
  shutdown_timeout: 2s
  pipelines:
    traces: {receivers: [otlp, spans/x, otlp], processors: [memory_limiter, genai_pricing], exporters: [counter, backend/a]}
    metrics/genai: {receivers: [counter], exporters: [numbers]}
""",
        environ={"HOST": "tempo", "N": "0123", "TAGS": "[a, b]"},
    )
    protocols = config.receivers[ComponentId("otlp")].config.protocols  # type: ignore[attr-defined]
    assert (protocols.grpc, protocols.http) == (Grpc(), Grpc(endpoint="0.0.0.0:1"))
    backend = config.exporters[ComponentId("backend", "a")]
    assert backend.id == ComponentId("backend", "a")
    assert backend.registration.type == "backend"
    assert backend.config == BackendConfig(
        endpoint="tempo:4317",
        timeout="1m30s",
        headers={"x": Secret("0123")},
        tags=("a", "b"),  # type: ignore[arg-type]
    )
    assert list(config.pipelines) == [PipelineId("traces"), PipelineId("metrics", "genai")]
    traces = config.pipelines[PipelineId("traces")]
    assert traces.receivers == (ComponentId("otlp"), ComponentId("spans", "x"))
    assert traces.processors == (ComponentId("memory_limiter"), ComponentId("genai_pricing"))
    assert traces.exporters == (ComponentId("counter"), ComponentId("backend", "a"))
    assert config.service.extensions == (ComponentId("health_check"),)
    assert config.service.telemetry.logs.level == "debug"
    assert config.service.shutdown_timeout == 2.0
    assert config.warnings == ()


def test_configuration_cannot_be_changed() -> None:
    """A running configuration is replaced, never edited."""
    config = read(VALID)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.warnings = ("x",)  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.receivers[ComponentId("x")] = None  # type: ignore[index]
    with pytest.raises(pydantic.ValidationError):
        config.service.shutdown_timeout = 1.0  # type: ignore[misc]


def test_same_text_gives_equal_components() -> None:
    """A reload keeps components whose configuration is the same, so equality must mean that."""
    first, second = read(VALID), read(VALID)
    assert first.receivers[ComponentId("otlp")].config == second.receivers[ComponentId("otlp")].config


def test_unused_components_are_warnings() -> None:
    """They may be there on purpose."""
    config = read(VALID + "processors:\n  memory_limiter:\nextensions:\n  health_check:\n")
    assert config.warnings == (
        "a.yaml:11:3: processors::memory_limiter: configured but not used in any pipeline",
        "a.yaml:13:3: extensions::health_check: configured but not used in service::extensions",
    )


# --- one mistake each -----------------------------------------------------------------------------


def backend(block: str) -> str:
    """Return a valid configuration but for the block of exporter backend, which starts in line 4."""
    lines = "".join(f"    {line}\n" for line in block.splitlines())
    return (
        "receivers: {otlp: }\nexporters:\n  backend:\n" + lines + "service: {pipelines: {traces: "
        "{receivers: [otlp], exporters: [backend]}}}\n"
    )


READING = 'error reading configuration for "backend": '


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "endpoint: x\nsending_queue:\n  num_consumer: 4",
            f"a.yaml:6:7: exporters::backend::sending_queue: {READING}has invalid keys: num_consumer (did you mean num_consumers?)",
        ),
        (
            "endpoint: x\nqueue_size: 4",
            f"a.yaml:5:5: exporters::backend: {READING}has invalid keys: queue_size (did you mean sending_queue::queue_size?)",
        ),
        (
            "endpoint: x\nsendingQueue: {}",
            f"a.yaml:5:5: exporters::backend: {READING}has invalid keys: sendingQueue (did you mean sending_queue?)",
        ),
        (
            "endpoint: x\nsending_queue: {blocking: true}",
            (
                f"a.yaml:5:21: exporters::backend::sending_queue: {READING}has invalid keys: blocking "
                "(a full queue always refuses, so that the sender keeps the data)"
            ),
        ),
        (
            "endpoint: x\nsending_queue: {zzz: 1}",
            (
                f"a.yaml:5:21: exporters::backend::sending_queue: {READING}has invalid keys: zzz "
                "(known keys: enabled, queue_size, num_consumers)"
            ),
        ),
        ("timeout: 1s", f"a.yaml:3:3: exporters::backend::endpoint: {READING}must be specified (Where to send)"),
        ("endpoint:", f"a.yaml:4:5: exporters::backend::endpoint: {READING}must be specified (Where to send)"),
        ("endpont: x", f"a.yaml:4:5: exporters::backend: {READING}has invalid keys: endpont (did you mean endpoint?)"),
        (
            "endpoint: 4317",
            (
                f"a.yaml:4:5: exporters::backend::endpoint: {READING}expected type 'string', got unconvertible type 'int' "
                "(give host:port, such as localhost:4317)"
            ),
        ),
        (
            'endpoint: x\nsending_queue: {queue_size: "10"}',
            (
                f"a.yaml:5:21: exporters::backend::sending_queue::queue_size: {READING}expected type 'int', "
                "got unconvertible type 'string' (write it without quotes)"
            ),
        ),
        (
            "endpoint: x\nsending_queue: {queue_size: 0}",
            f"a.yaml:5:21: exporters::backend::sending_queue::queue_size: {READING}must be greater than 0",
        ),
        (
            "endpoint: x\nsending_queue: {enabled: yes}",
            (
                f"a.yaml:5:21: exporters::backend::sending_queue::enabled: {READING}expected type 'bool', "
                "got unconvertible type 'string' (write true or false)"
            ),
        ),
        (
            "endpoint: x\nsending_queue: 5",
            (
                f"a.yaml:5:5: exporters::backend::sending_queue: {READING}expected type 'map', got unconvertible type 'int' "
                "(it is a block of keys)"
            ),
        ),
        (
            "endpoint: x\nsending_queue: [5]",
            (
                f"a.yaml:5:5: exporters::backend::sending_queue: {READING}expected type 'map', got unconvertible type 'list' "
                "(it is a block of keys)"
            ),
        ),
        (
            "endpoint: x\ntags: {a: b}",
            f"a.yaml:5:5: exporters::backend::tags: {READING}expected type 'list', got unconvertible type 'map'",
        ),
        (
            "endpoint: x\ntags: [a,\n  1]",
            (
                f"a.yaml:6:7: exporters::backend::tags::1: {READING}expected type 'string', got unconvertible type 'int' "
                "(write it in quotes)"
            ),
        ),
        (
            "endpoint: x\nheaders: {a: {b: c}}",
            f"a.yaml:5:15: exporters::backend::headers::a: {READING}expected type 'string', got unconvertible type 'map'",
        ),
        (
            "endpoint: x\ntimeout: 5",
            "a.yaml:5:5: exporters::backend::timeout: missing unit in duration 5: write 5s for seconds",
        ),
        (
            "endpoint: x\ntimeout: 5 s",
            (
                "a.yaml:5:5: exporters::backend::timeout: invalid duration '5 s': a number with a unit, "
                "such as 200ms, 5s or 1m30s"
            ),
        ),
        (
            "endpoint: x\ncompression: gzp",
            f"a.yaml:5:5: exporters::backend::compression: {READING}must be 'gzip' or 'none' (did you mean gzip?)",
        ),
        (
            "endpoint: x\nratio: true",
            f"a.yaml:5:5: exporters::backend::ratio: {READING}must be 'auto'",
        ),
    ],
)
def test_mistake_in_a_block_is_told_with_path_line_and_advice(block: str, expected: str) -> None:
    """One row for each kind of mistake that a class can find."""
    assert wrong(backend(block)) == [expected]


def graph(pipelines: str, sections: str = "") -> str:
    """Return a configuration with these pipelines; its line 6 is their first."""
    return (
        "receivers: {otlp: , spans: }\nexporters: {debug: , numbers: }\nprocessors: {memory_limiter: , genai_pricing: }\n"
        "connectors: {counter: , echo: , echo/b: , sink: }\nservice: {pipelines: {\n" + pipelines + "\n}}\n" + sections
    )


PIPELINES = "a.yaml:6:1: service::pipelines::traces: "


@pytest.mark.parametrize(
    ("pipelines", "expected"),
    [
        ("traces: {exporters: [debug]}", PIPELINES + "must have at least one receiver"),
        ("traces: {receivers: [otlp], exporters: []}", PIPELINES + "must have at least one exporter"),
        (
            "traces: {receivers: [otlp], exporters: [debgu]}",
            (
                'a.yaml:6:41: service::pipelines::traces: references exporter "debgu" which is not configured '
                "(did you mean debug?)"
            ),
        ),
        (
            "traces: {receivers: [otlp], processors: [otlp], exporters: [debug]}",
            (
                'a.yaml:6:42: service::pipelines::traces: references processor "otlp" which is not configured '
                "(otlp is configured as a receiver)"
            ),
        ),
        (
            "traces: {receivers: [otlp], exporters: [backend/x]}",
            (
                'a.yaml:6:41: service::pipelines::traces: references exporter "backend/x" which is not configured '
                '(add "backend/x:" under exporters)'
            ),
        ),
        (
            "traces: {receivers: [otlp], processors: [batch], exporters: [debug]}",
            (
                'a.yaml:6:42: service::pipelines::traces: references processor "batch" which is not configured '
                "(remove it: requests are sent as they came; let the SDKs' batch processor batch)"
            ),
        ),
        (
            "traces: {receivers: [otlp], processors: [memory_limiter, memory_limiter], exporters: [debug]}",
            'a.yaml:6:58: service::pipelines::traces: references processor "memory_limiter" multiple times',
        ),
        (
            "logs: {receivers: [spans], exporters: [debug]}",
            (
                'a.yaml:6:20: service::pipelines::logs: failed to create "spans" receiver for data type "logs": '
                "telemetry type is not supported (as receiver it supports traces)"
            ),
        ),
        (
            "logs: {receivers: [otlp], processors: [genai_pricing], exporters: [debug]}",
            (
                'a.yaml:6:40: service::pipelines::logs: failed to create "genai_pricing" processor for data type "logs": '
                "telemetry type is not supported (as processor it supports traces)"
            ),
        ),
        (
            "logs: {receivers: [otlp], exporters: [sink]}",
            (
                'a.yaml:6:39: service::pipelines::logs: failed to create "sink" connector for data type "logs": '
                "telemetry type is not supported (as exporter it supports traces)"
            ),
        ),
        (
            "traces: {receivers: [otlp], exporters: [sink]}, logs: {receivers: [sink], exporters: [debug]}",
            (
                'a.yaml:6:68: service::pipelines::logs: failed to create "sink" connector for data type "logs": '
                "telemetry type is not supported (it cannot be used as receiver)"
            ),
        ),
        (
            "metrics: {receivers: [otlp], exporters: [numbers]}",
            "a.yaml:6:42: service::pipelines::metrics: numbers takes metrics of connectors only, not of otlp",
        ),
        (
            "traces: {receivers: [otlp], exporters: [counter]}",
            (
                'a.yaml:4:14: connectors::counter: connector "counter" used as exporter in [traces] pipeline but not used '
                "in any supported receiver pipeline"
            ),
        ),
        (
            "metrics: {receivers: [counter], exporters: [debug]}",
            (
                'a.yaml:4:14: connectors::counter: connector "counter" used as receiver in [metrics] pipeline but not used '
                "in any supported exporter pipeline"
            ),
        ),
        (
            "traces: {receivers: [otlp, echo], processors: [memory_limiter], exporters: [echo]}",
            (
                "a.yaml:6:1: service::pipelines::traces: cycle detected: "
                'connector "echo" (traces to traces) -> processor "memory_limiter" in pipeline "traces" -> '
                'connector "echo" (traces to traces)'
            ),
        ),
        (
            "traces: {receivers: [otlp, echo/b], exporters: [echo]}, logs: {receivers: [echo], exporters: [echo/b, debug]}",
            (
                "a.yaml:6:1: service::pipelines::traces: cycle detected: "
                'connector "echo" (traces to logs) -> connector "echo/b" (logs to traces) -> '
                'connector "echo" (traces to logs)'
            ),
        ),
        (
            "trace: {receivers: [otlp], exporters: [debug]}",
            'a.yaml:6:1: service::pipelines::trace: unknown pipeline signal: "trace" (did you mean traces?)',
        ),
        (
            "traces: {receiver: [otlp], receivers: [otlp], exporters: [debug]}",
            "a.yaml:6:10: service::pipelines::traces: has invalid keys: receiver (did you mean receivers?)",
        ),
        (
            "traces: {receivers: [otlp/], exporters: [debug]}",
            'a.yaml:6:22: service::pipelines::traces::receivers::0: in "otlp/" id: the part after / should not be empty',
        ),
    ],
)
def test_mistake_between_parts_is_told_with_path_line_and_advice(pipelines: str, expected: str) -> None:
    """One row for each kind of mistake that only the whole shows."""
    assert wrong(graph(pipelines))[:1] == [expected]


def test_connector_that_feeds_nothing_may_end_a_pipeline() -> None:
    """It keeps what it takes: genai_metrics does."""
    assert read(graph("traces: {receivers: [otlp], exporters: [sink]}")).pipelines


def test_line_without_cycle_is_no_cycle() -> None:
    """Traces to logs to metrics goes one way."""
    config = read(
        graph(
            "traces: {receivers: [otlp], exporters: [echo]}, logs: {receivers: [echo, otlp], exporters: [echo/b]},"
            "metrics: {receivers: [echo/b], exporters: [debug]}"
        )
    )
    assert len(config.pipelines) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["a.yaml: empty configuration file"]),
        ("# only a comment", ["a.yaml: empty configuration file"]),
        (
            VALID + "recievers: {}",
            ["a.yaml:10:1: has invalid keys: recievers (did you mean receivers?)"],
        ),
        (
            VALID.replace("debug", "nonesuch"),
            [
                (
                    'a.yaml:4:3: exporters::nonesuch: unknown type: "nonesuch" for id: "nonesuch" '
                    "(valid values: [backend debug numbers])"
                )
            ],
        ),
        (
            VALID + "processors: {batch/x: }",
            [
                (
                    'a.yaml:10:14: processors::batch/x: unknown type: "batch" for id: "batch/x" '
                    "(valid values: [genai_pricing memory_limiter]) "
                    "(remove it: requests are sent as they came; let the SDKs' batch processor batch)"
                )
            ],
        ),
        (
            VALID + "extensions: {pprof: , healthcheck: , otlp: }",
            [
                (
                    'a.yaml:10:14: extensions::pprof: unknown type: "pprof" for id: "pprof" (valid values: [health_check]) '
                    "(there is no profiling port; look into the process with py-spy)"
                ),
                (
                    'a.yaml:10:23: extensions::healthcheck: unknown type: "healthcheck" for id: "healthcheck" '
                    "(valid values: [health_check]) (did you mean health_check?)"
                ),
                (
                    'a.yaml:10:38: extensions::otlp: unknown type: "otlp" for id: "otlp" (valid values: [health_check]) '
                    "(otlp goes under receivers)"
                ),
            ],
        ),
        (
            VALID.replace("service:", "service:\n  extensions: [health_chek]"),
            [
                (
                    'a.yaml:6:16: service::extensions: references extension "health_chek" which is not configured '
                    "(did you mean health_check?)"
                )
            ],
        ),
        (
            VALID.replace("  otlp:\n", "  otlp:\n  otlp/ a:\n  otlp/a :\n  /b:\n  9x:\n"),
            [
                (
                    'a.yaml:4:3: receivers::otlp/a: duplicate name "otlp/a", also at a.yaml:3:3 '
                    "(give one of them a /name of its own)"
                ),
                'a.yaml:5:3: receivers::/b: in "/b" id: the part before / should not be empty (an id is type or type/name)',
                (
                    'a.yaml:6:3: receivers::9x: invalid character(s) in type "9x": it starts with a letter and has at most '
                    "63 letters, digits and underscores (an id is type or type/name)"
                ),
            ],
        ),
        (
            VALID + "connectors: {debug: , counter: }".replace("debug", "echo") + "\n",
            [],
        ),
        (
            "receivers: {}\nservice: {pipelines: {}}",
            [
                "a.yaml:1:1: receivers: no receiver configuration specified in config",
                "a.yaml:1:1: exporters: no exporter configuration specified in config",
                "a.yaml:2:11: service::pipelines: service must have at least one pipeline",
            ],
        ),
        (
            "receivers: [otlp]\nexporters: {debug: }\nservice: 7",
            [
                "a.yaml:1:1: receivers: expected type 'map', got unconvertible type 'list' (it is a block of keys)",
                "a.yaml:3:1: service: expected type 'map', got unconvertible type 'int' (it is a block of keys)",
            ],
        ),
        (
            VALID + "  telemetry: {metrics: {level: all}, logs: {level: warning}}",
            [
                (
                    "a.yaml:10:15: service::telemetry: has invalid keys: metrics "
                    "(the prometheus exporter shows the sidecar's own numbers too)"
                ),
                "a.yaml:10:45: service::telemetry::logs::level: must be 'debug', 'info', 'warn' or 'error' (did you mean warn?)",
            ],
        ),
    ],
)
def test_mistake_in_the_outline_is_told(text: str, expected: list[str]) -> None:
    """Sections, ids, types, the service."""
    if expected:
        assert wrong(text) == expected
    else:
        read(text)


def test_ambiguous_id_is_refused() -> None:
    """A pipeline could not say which of the two it means."""
    both = registry()
    both.add(Registration("connector", EmptyConfig, "debug", lambda config, host: None, ALL, "beta", "A fake."))
    text = VALID + "connectors:\n  debug:\n"
    with pytest.raises(InvalidConfig) as caught:
        load(["a.yaml"], [], {}, both, lambda _: text.encode())
    assert (
        'a.yaml:11:3: connectors::debug: ambiguous ID: Found both "debug" exporter and "debug" connector. Change one of '
        'the components\' IDs to eliminate ambiguity (e.g. rename "debug" connector to "debug/connector")'
    ) in str(caught.value)


# --- all at once ----------------------------------------------------------------------------------


def test_all_errors_of_all_sources_are_reported_together_by_line() -> None:
    """One run of `validate` is enough to mend a file."""
    first = """\
receivers:
  otlp: {protocols: {grpc: {endpoint: nowhere}}}
exporters:
  backend: {timeout: "${1}", endpoint: x, sending_queue: {a: 1, b: 2}}
  debgu:
service:
  pipelines:
    traces: {receivers: [otlp], processors: [nope], exporters: [backend, debug]}
    logs: {receivers: otlp, exporters: 7}
"""
    second = "exporters:\n  backend:\n    tags: 5\n"
    assert [text.split(" (")[0] for text in wrong(first, second, sets=("receivers.otlp.x=1", "service.y=1"))] == [
        'receivers::otlp: error reading configuration for "otlp": has invalid keys: x'.join(
            ["--set receivers.otlp.x: ", ""]
        ),
        "--set service.y: service: has invalid keys: y",
        "a.yaml:2:29: receivers::otlp::protocols::grpc::endpoint: 'nowhere' is not host:port, such as localhost:4317 or [::1]:4317",
        (
            'a.yaml:4:22: exporters::backend::timeout: environment variable "1" has invalid name: must match regex '
            "^[a-zA-Z_][a-zA-Z0-9_]*$"
        ),
        f"a.yaml:4:59: exporters::backend::sending_queue: {READING}has invalid keys: a",
        f"a.yaml:4:65: exporters::backend::sending_queue: {READING}has invalid keys: b",
        'a.yaml:5:3: exporters::debgu: unknown type: "debgu" for id: "debgu"',
        'a.yaml:8:46: service::pipelines::traces: references processor "nope" which is not configured',
        'a.yaml:8:74: service::pipelines::traces: references exporter "debug" which is not configured',
        "a.yaml:9:29: service::pipelines::logs::exporters: expected type 'list', got unconvertible type 'int'",
        f"b.yaml:3:5: exporters::backend::tags: {READING}expected type 'list', got unconvertible type 'int'",
    ]


def test_report_counts_errors_and_ends_with_warnings() -> None:
    """An unset variable is often the reason for the error above it."""
    with pytest.raises(InvalidConfig) as caught:
        read(backend("endpoint: ${env:GONE}\ntimeout: ${env:GONE}x"))
    assert str(caught.value) == (
        "invalid configuration, 1 error:\n"
        "  a.yaml:5:5: exporters::backend::timeout: invalid duration 'x': a number with a unit, such as 200ms, 5s or 1m30s\n"
        '  warning: a.yaml:4:15: exporters::backend::endpoint: Configuration references unset environment variable "GONE" '
        "(${env:GONE:-x} gives a default)\n"
        '  warning: a.yaml:5:14: exporters::backend::timeout: Configuration references unset environment variable "GONE" '
        "(${env:GONE:-x} gives a default)"
    )


def test_report_of_very_many_errors_is_cut() -> None:
    """A file that is no configuration at all fills no terminal."""
    with pytest.raises(InvalidConfig) as caught:
        read("receivers:\n" + "".join(f"  x{number}:\n" for number in range(150)))
    assert len(caught.value.errors) == 152
    assert str(caught.value).endswith("\n  … and 52 more")


def test_error_carries_its_parts() -> None:
    """Programs read path, source, line and column; people read the text."""
    with pytest.raises(InvalidConfig) as caught:
        read(backend("endpoint: x\nsending_queue: {num_consumer: 4}"))
    (error,) = caught.value.errors
    assert (error.path, error.source, error.line, error.column) == (
        "exporters::backend::sending_queue",
        "a.yaml",
        5,
        21,
    )
    assert (error.message, error.suggestion) == (
        READING + "has invalid keys: num_consumer",
        "did you mean num_consumers?",
    )


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        "endpoint: x\npassword: ${env:PW}",
        "endpoint: x\npassword: hunter2",
        "endpoint: x\nheaders: {authorization: {hunter2: 1}}\npassword: [hunter2]",
        "endpoint: x\nheaders: hunter2",
        "endpoint: x\npassword: hunter2\ntimeout: hunter2",
        "endpoint: x\nheaders: {a: '${env:${env:PW} }'}",
        "endpoint: x\npassword: ${vault:x:${env:PW}}",
        "endpoint: x\ncompression: https://user:hunter2@host",
        "endpoint: x\ntimeout: https://user:hunter2@host",
    ],
)
def test_errors_never_show_a_secret(block: str) -> None:
    """Neither whole nor the part that a careless validator quotes."""
    for text in wrong(backend(block), environ={"PW": "hunter2"}):
        shown = text.replace("headers::authorization::hunter2", "")
        assert "hunt" not in shown


def test_dump_masks_secrets_and_reads_back() -> None:
    """By type, by key, inside URLs; what is left is the same configuration, defaults included."""
    config = read(
        backend(
            "endpoint: https://user:pw@host:1/$$x\npassword: 123456789012\ntimeout: 1500ms\nheaders: {a: b, c: ''}\n"
            "tags: [token]"
        ).replace("123456789012", '"123456789012"')
    )
    shown = masked(config.as_dict())
    assert shown["exporters"]["backend"] == {
        "endpoint": "https://[REDACTED]@host:1/$x",
        "timeout": "1500ms",
        "headers": {"a": "[REDACTED]", "c": ""},
        "sending_queue": {"enabled": True, "queue_size": 1000, "num_consumers": 10},
        "compression": "gzip",
        "tags": ["token"],
        "password": "[REDACTED]",
        "ratio": 1.0,
    }
    unmasked = read(yaml.safe_dump(config.as_dict()).replace("$", "$$").replace("**********", "b"))
    assert unmasked.service == config.service
    assert unmasked.exporters.keys() == config.exporters.keys()
    assert unmasked.receivers[ComponentId("otlp")].config == config.receivers[ComponentId("otlp")].config


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("exporters.a.headers.x-tenant", True),
        ("exporters.a.headers.0.value", True),
        ("a.api_key", True),
        ("a.apiKey", True),
        ("a.access-key", True),
        ("a.bearer_token", True),
        ("a.client_secret", True),
        ("a.basic.password", True),
        ("a.tls.key", True),
        ("a.tls.key_file", False),
        ("a.token_type", False),
        ("a.max_tokens", False),
        ("a.monkey", False),
        ("a.endpoint", False),
    ],
)
def test_keys_tell_what_is_secret(path: str, expected: bool) -> None:
    """Names of files are none, nor are counts of tokens."""
    value: Any = "value"
    for name in reversed(path.split(".")):
        value = {name: value}
    assert ("[REDACTED]" in str(masked(value))) is expected


def test_urls_are_shown_without_user_password_and_query() -> None:
    """In what is printed, and in what is said about a mistake."""
    url = "https://me:hunter2@host:1/v1/traces?token=abc&x=1"
    without = "https://[REDACTED]@host:1/v1/traces?[REDACTED]"
    assert masked({"endpoint": url, "path": "a?b"}) == {"endpoint": without, "path": "a?b"}
    assert scrubbed(f"'{url}': gRPC has no path", ()) == f"'{without}': gRPC has no path"


# --- any input ------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["receivers", "exporters", "connectors", "service", "pipelines", "traces", "metrics/x", "otlp", "debug", "backend",
     "echo", "numbers", "endpoint", "headers", "sending_queue", "queue_size", "timeout", "5s", "x", "${A}", "${", "a::b"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=25,
)


@settings(deadline=None, max_examples=300)
@given(VALUES, WORDS, VALUES)
def test_anything_is_a_configuration_or_invalid(value: Any, key: str, other: Any) -> None:
    """Whatever YAML says, the answer is a Config or InvalidConfig with errors that can be shown."""
    try:
        config = read(yaml.safe_dump(value), sets=(f"{key}={yaml.safe_dump(other)}",), environ={"A": "[1, a]"})
    except InvalidConfig as invalid:
        shown = str(invalid)
    else:
        shown = str(masked(config.as_dict()))
    assert shown


@given(st.floats(0, 1e9) | st.integers(0, 10**6).map(float) | st.integers(1, 10**12).map(lambda count: count * 1e-9))
def test_duration_reads_back_as_the_same_seconds(value: float) -> None:
    """print-config writes what a configuration reads."""
    assert seconds(duration_text(value)) == value
