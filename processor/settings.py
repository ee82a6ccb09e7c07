"""Types of configuration values that many components share, with the Collector's spellings."""

from __future__ import annotations

import re
import ssl
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import pydantic

from spanledger.processor.component import ComponentId, Needs, Settings

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
    if not colon or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{value!r} is not host:port, such as localhost:4317 or [::1]:4317")
    if len(port) > 5 or int(port) > 65535:
        raise ValueError(f"{value!r}: port above 65535")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{value!r}: write an IPv6 address in brackets, [::1]:4317")
    return value


HostPort = Annotated[str, pydantic.AfterValidator(_host_port)]
"""`host:port` to listen on."""


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Split a checked `HostPort`; an empty host means all interfaces."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _component_id(value: Any) -> ComponentId:
    if isinstance(value, ComponentId):
        return value
    if not isinstance(value, str):
        raise ValueError("must be the id of a component, type or type/name")
    return ComponentId.parse(value)


IdOfComponent = Annotated[ComponentId, pydantic.PlainValidator(_component_id), pydantic.PlainSerializer(str)]
"""`type` or `type/name`."""
StorageId = Annotated[IdOfComponent, Needs("storage")]
"""The id of an extension that keeps data on disk, such as `file_storage`."""

Secret = pydantic.SecretStr
"""A value that print-config, logs and pages show as `[REDACTED]`."""

Compression = Literal["gzip", "deflate", "zlib", "zstd", "snappy", "none", ""]


def _named(value: Any) -> Any:
    """Read the Collector's newer form of a map, a list of `name` and `value`."""
    if not isinstance(value, list):
        return value
    named: dict[Any, Any] = {}
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"name", "value"}:
            raise ValueError("each item of the list is {name: ..., value: ...}")
        if item["name"] in named:
            raise ValueError("a name is there twice")
        named[item["name"]] = item["value"]
    return named


Headers = Annotated[dict[str, Secret], pydantic.BeforeValidator(_named)]
"""A map of names to values, or a list of `{name, value}`; values are never shown."""


class TLSVersions(Settings):
    """Which versions of TLS are spoken."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest version of TLS to speak. Not with gRPC, which speaks 1.2 and 1.3."""
    max_version: Literal["1.2", "1.3", ""] = ""
    """Newest version of TLS to speak; empty for the newest there is. Not with gRPC."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_version and self.max_version < self.min_version:
            raise ValueError(f"max_version {self.max_version} is below min_version {self.min_version}")
        return self

    def limit(self, context: ssl.SSLContext) -> None:
        """Let `context` speak these versions only."""
        context.minimum_version = _VERSIONS[self.min_version]
        context.maximum_version = _VERSIONS[self.max_version]


_VERSIONS: Final = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
    "": ssl.TLSVersion.MAXIMUM_SUPPORTED,
}
_V = TypeVar("_V", bound=TLSVersions)


def any_version(tls: _V) -> _V:
    """Refuse what gRPC cannot do: its Python library has no setting for the versions of TLS."""
    if (tls.min_version, tls.max_version) not in {("1.2", ""), ("1.2", "1.3")}:
        raise ValueError("gRPC in Python speaks TLS 1.2 and 1.3 and cannot be limited: use HTTP for that")
    return tls


class TLSClient(TLSVersions):
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
    reload_interval: Duration = 0.0
    """How often the files are looked at for newer ones; 0 only when the configuration is reloaded."""

    @pydantic.model_validator(mode="after")
    def _pairs(self) -> TLSClient:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file go together")
        return self


class TLSServer(TLSVersions):
    """How a receiver or page speaks TLS; keys of the Collector's configtls."""

    cert_file: str
    """PEM file with the server's certificate chain."""
    key_file: str
    """PEM file with its key."""
    client_ca_file: str = ""
    """PEM file with the authorities whose client certificates are demanded (mutual TLS)."""
    reload_interval: Duration = 0.0
    """How often the files are looked at for newer ones; 0 only when the configuration is reloaded."""


GrpcTLSServer = Annotated[TLSServer, pydantic.AfterValidator(any_version)]
"""`TLSServer` of a gRPC server."""
