"""Keys of real Collector configurations: they work, or the error says why they are not here."""

from __future__ import annotations

import pytest

from spanledger.exporters.otlp_http import OtlpHttpConfig
from spanledger.processor.component import ComponentId
from spanledger.service.config import Config, InvalidConfig, load


def config(exporters: str, receivers: str = "{otlp: {protocols: {grpc: }}}", more: str = "") -> Config:
    """Return a configuration of one pipeline, to the exporter `otlp_http`."""
    service = f"{{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}{more}}}"
    return load([f"yaml:{{receivers: {receivers}, exporters: {exporters}, service: {service}}}"], [], {})


def complaint(exporters: str, receivers: str = "{otlp: {protocols: {grpc: }}}", more: str = "") -> str:
    """Return what is said about a configuration that is not valid."""
    with pytest.raises(InvalidConfig) as error:
        config(exporters, receivers, more)
    return str(error.value)


@pytest.mark.parametrize(
    ("exporter", "reason"),
    [
        ("tls: {include_system_ca_certs_pool: true}", "ca_file replaces the system's authorities"),
        ("read_buffer_size: 1", "size their buffers themselves"),
        ("write_buffer_size: 1", "size their buffers themselves"),
        ("max_idle_conns: 1", "idle connections close by themselves"),
        ("idle_conn_timeout: 90s", "idle connections close by themselves"),
        (
            "sending_queue: {batch: {min_size: 1}}",
            "requests are sent as they came; let the SDKs' batch processor batch",
        ),
    ],
)
def test_keys_of_an_exporter_that_are_not_here_are_explained(exporter: str, reason: str) -> None:
    """One line each."""
    assert reason in complaint(f"{{otlp_http: {{endpoint: 'http://h', {exporter}}}}}")


def test_other_keys_that_are_not_here_are_explained() -> None:
    """Of receivers, of the file exporter, of the log."""
    backend = "otlp_http: {endpoint: 'http://h'}"
    assert "no processor reads a client's headers" in complaint(
        f"{{{backend}}}", "{otlp: {protocols: {grpc: {include_metadata: true}}}}"
    )
    assert "every request is written when it comes" in complaint(
        f"{{{backend}, file: {{path: x, flush_interval: 1s}}}}"
    )
    assert "held back and counted already" in complaint(f"{{{backend}}}", more=", telemetry: {logs: {sampling: {}}}")


def test_the_batch_processor_is_not_said_to_be_in_the_queue() -> None:
    """Both places say the same: nothing batches here."""
    with pytest.raises(InvalidConfig) as error:
        load(["yaml:{processors: {batch: }}"], [], {})
    assert "requests are sent as they came; let the SDKs' batch processor batch" in str(error.value)


def test_headers_as_a_list_and_tls_versions_are_read() -> None:
    """As a file has them: a version is no number, a value is a secret."""
    exporter = "{endpoint: 'https://h', headers: [{name: api-key, value: secret}], tls: {min_version: '1.3'}}"
    read = config(f"{{otlp_http: {exporter}}}").exporters[ComponentId("otlp_http")].config
    assert isinstance(read, OtlpHttpConfig)
    assert read.headers["api-key"].get_secret_value() == "secret"
    assert read.tls.min_version == "1.3"


def test_a_secret_in_a_list_of_headers_is_not_shown() -> None:
    """Whatever is wrong with the rest of it."""
    said = complaint("{otlp_http: {endpoint: 'http://h', headers: [{name: a, value: \"secret\\u0007\"}]}}")
    assert "headers" in said
    assert "secret" not in said


def test_an_endpoint_with_the_path_is_explained() -> None:
    """The most common mistake of all."""
    said = complaint("{otlp_http: {endpoint: 'http://me:secret@h:4318/v1/traces'}}")
    assert "/v1/traces is added to the endpoint: write http://h:4318, or use traces_endpoint" in said
    assert "secret" not in said
