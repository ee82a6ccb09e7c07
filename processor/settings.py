"""Types of configuration values that many components share, with the Collector's spellings."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

import pydantic

from spanledger.processor.component import Settings

_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: Any) -> Any:
    """Read a Go duration (`1m30s`, `200ms`, `0`) as seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a duration is a number with a unit, such as 200ms, 5s or 1m30s")
    text = str(value).strip()
    if isinstance(value, float | int) and value != 0:
        raise ValueError(f"missing unit in duration {value}: write {value}s for seconds")
    if text.strip("+-") in {"0", "0.0"}:
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"invalid duration {text!r}: a number with a unit, such as 200ms, 5s or 1m30s")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if text.startswith("-"):
        raise ValueError(f"negative duration {text!r}")
    return total


def duration_text(value: float) -> str:
    """Write seconds as the shortest Go duration that `seconds` reads back as the same number."""
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count = value / _SECONDS[unit]
        if count >= 1 and count == round(count) and round(count) * _SECONDS[unit] == value:
            return f"{round(count)}{unit}"
    return f"{Decimal(str(value)):f}s" if value else "0s"


Duration = Annotated[
    float, pydantic.BeforeValidator(seconds), pydantic.PlainSerializer(duration_text, return_type=str, when_used="json")
]
"""Seconds, written as a Go duration: `5s`, `200ms`, `1m30s`, `0`."""


def _host_port(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{value!r} is not host:port, such as localhost:4317 or [::1]:4317")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{value!r}: write an IPv6 address in brackets, [::1]:4317")
    return value


HostPort = Annotated[str, pydantic.AfterValidator(_host_port)]
"""`host:port` to listen on."""


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Split a checked `HostPort`; an empty host means all interfaces."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


Secret = pydantic.SecretStr
"""A value that print-config, logs and pages show as `[REDACTED]`."""

Compression = Literal["gzip", "deflate", "zlib", "zstd", "snappy", "none", ""]


class TLSClient(Settings):
    """How an exporter speaks TLS; keys of the Collector's configtls."""

    insecure: bool = False
    """Speak plain text (gRPC; for HTTP the scheme of the endpoint decides)."""
    insecure_skip_verify: bool = False
    """Encrypt, but accept any certificate."""
    ca_file: str = ""
    """PEM file with the authorities to trust; empty for those of the system."""
    cert_file: str = ""
    """PEM file with our certificate, for mutual TLS."""
    key_file: str = ""
    """PEM file with the key of `cert_file`."""
    server_name_override: str = ""
    """Name to expect in the peer's certificate instead of the endpoint's host."""

    @pydantic.model_validator(mode="after")
    def _pairs(self) -> TLSClient:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file go together")
        return self


class TLSServer(Settings):
    """How a receiver or page speaks TLS; keys of the Collector's configtls."""

    cert_file: str
    """PEM file with the server's certificate chain."""
    key_file: str
    """PEM file with its key."""
    client_ca_file: str = ""
    """PEM file with the authorities whose client certificates are demanded (mutual TLS)."""
