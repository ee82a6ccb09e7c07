"""What no single block shows: exporters that send to their own sidecar, files with two writers, spans unread."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spanledger.service.config import Config, InvalidConfig, load
from spanledger.service.crosschecks import loops, shared_files


def config(receivers: str, exporters: str, used: str = "out") -> Config:
    """Return a configuration of one pipeline."""
    pipelines = f"{{traces: {{receivers: [otlp], exporters: [{used}]}}}}"
    text = f"yaml:{{receivers: {receivers}, exporters: {exporters}, service: {{pipelines: {pipelines}}}}}"
    return load([text], [], {})


GRPC = "{otlp: {protocols: {grpc: {endpoint: 'HOST:4317'}}}}"
HTTP = "{otlp: {protocols: {http: {endpoint: 'HOST:4318'}}}}"


def told(receivers: str, exporters: str, used: str) -> tuple[str, ...]:
    """Return what reading the configuration says of endless loops."""
    try:
        return tuple(loops(config(receivers, exporters, used)))
    except InvalidConfig as invalid:
        return tuple(error.message for error in invalid.errors)


@pytest.mark.parametrize(
    ("receiver", "bound", "exporter", "endpoint", "round_for_ever"),
    [
        (GRPC, "localhost", "otlp", "localhost:4317", True),
        (GRPC, "localhost", "otlp", "http://127.0.0.1:4317", True),
        (GRPC, "127.0.0.1", "otlp", "localhost:4317", True),
        (GRPC, "0.0.0.0", "otlp", "dns:///LOCALHOST:4317", True),
        (GRPC, "[::]", "otlp", "'[::1]:4317'", True),
        (GRPC, "", "otlp", "0.0.0.0:4317", True),
        (GRPC, "10.1.2.3", "otlp", "10.1.2.3:4317", True),
        (GRPC, "localhost", "otlp", "localhost:4327", False),
        (GRPC, "localhost", "otlp", "backend:4317", False),
        (GRPC, "127.0.0.2", "otlp", "127.0.0.1:4317", False),
        (GRPC, "127.0.0.1", "otlp", "'[::1]:4317'", False),
        (GRPC, "localhost", "otlp", "unix:///run/otlp.sock", False),
        (HTTP, "localhost", "otlp_http", "http://localhost:4318", True),
        (HTTP, "localhost", "otlphttp", "'http://me:secret@[::1]:4318/base'", True),
        (HTTP, "localhost", "otlp_http", "http://localhost", False),
        ("{otlp: {protocols: {http: {endpoint: 'HOST:80'}}}}", "localhost", "otlp_http", "http://localhost", True),
        ("{otlp: {protocols: {http: {endpoint: 'HOST:0'}}}}", "localhost", "otlp_http", "http://localhost:1", False),
        (HTTP, "localhost", "prometheus", "localhost:4318", False),
    ],
)
def test_sending_to_oneself_is_found(
    receiver: str, bound: str, exporter: str, endpoint: str, round_for_ever: bool
) -> None:
    """However the address is written; a page that is listened on is not sent to."""
    exporters = f"{{{exporter}/out: {{endpoint: {endpoint}}}, debug: }}"
    used = f"{exporter}/out" if exporter != "prometheus" else "debug"
    found = told(receiver.replace("HOST", bound), exporters, used)
    assert bool(found) is round_for_ever
    for message in found:
        assert f"exporter {exporter}/out" in message
        assert "receiver otlp" in message
        assert "secret" not in message


def test_endpoints_of_one_signal_count_too() -> None:
    """`traces_endpoint` leads as far as `endpoint` does; what no pipeline uses leads nowhere."""
    exporters = "{otlp_http: {traces_endpoint: 'http://localhost:4318/v1/traces'}, debug: }"
    receiver = HTTP.replace("HOST", "localhost")
    assert len(told(receiver, exporters, "otlp_http")) == 1
    assert told(receiver, exporters, "debug") == ()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("a.jsonl", "b.jsonl"), 0),
        (("a.jsonl", "./a.jsonl"), 1),
        (("/dev/stdout", "/dev/stdout"), 0),
    ],
)
def test_two_exporters_on_one_file_are_found(paths: Sequence[str], expected: int) -> None:
    """Two file exporters would empty and overwrite each other's file."""
    exporters = f"{{file/a: {{path: {paths[0]}}}, file/b: {{path: {paths[1]}}}}}"
    found = shared_files(config(GRPC.replace("HOST", "localhost"), exporters, "file/a, file/b"))
    assert len(found) == expected
    assert all("file/a and file/b" in one.message and one.line for one in found)


@pytest.mark.parametrize(("processors", "expected"), [("", 1), ("memory_limiter", 1), ("genai_normalizer/mine", 0)])
def test_counting_spans_that_nothing_recognised_is_a_warning(processors: str, expected: int) -> None:
    """Every call would be missing in the metrics, without a word."""
    text = f"""yaml:
      receivers: {{otlp: {{protocols: {{grpc: }}}}}}
      processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 9}}, genai_normalizer/mine: }}
      connectors: {{genai_metrics: }}
      exporters: {{prometheus: , debug: }}
      service:
        pipelines:
          traces: {{receivers: [otlp], processors: [{processors}], exporters: [genai_metrics, debug]}}
          metrics: {{receivers: [genai_metrics], exporters: [prometheus]}}
    """
    found = [each for each in load([text], [], {}).warnings if "list genai_normalizer" in each]
    assert len(found) == expected
    assert all(": service::pipelines::traces: genai_metrics sees no model call" in each for each in found)
