"""What the Kafka receiver and exporter share: how to reach the brokers, and the words for it.

Keys, defaults and units are the Collector's (contrib, pkg/kafka/configkafka). The client is librdkafka, in the
package confluent-kafka: it speaks to the brokers on threads of its own, so the event loop sees only whole messages.
What the Collector has and librdkafka has not is refused with the reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

import pydantic
from pydantic_core import InitErrorDetails

from spanledger.processor.component import ComponentConfig, Settings
from spanledger.processor.settings import Duration, Secret, TLSClient, any_version

if TYPE_CHECKING:
    from types import ModuleType

    from spanledger.processor.batch import Signal

Encoding = Literal["otlp_proto", "otlp_json"]

TOPICS: Final[dict[Signal, str]] = {"traces": "otlp_spans", "logs": "otlp_logs", "metrics": "otlp_metrics"}
"""The Collector's default topics."""

_PACKAGE: Final = "confluent_kafka"


class CollectorSettings(Settings):
    """A block that has fewer keys than the Collector's: the missing ones are refused with a reason."""

    unavailable: ClassVar[Mapping[str, str]] = {}

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _available(cls, value: Any, handler: pydantic.ModelWrapValidatorHandler[Self]) -> Self:
        found = [key for key in cls.unavailable if key in value] if isinstance(value, dict) else []
        if not found:
            return handler(value)
        errors = [
            InitErrorDetails(
                type="value_error",
                loc=(key,),
                input=value[key],
                ctx={"error": ValueError(f"not available: {cls.unavailable[key]}")},
            )
            for key in found
        ]
        try:
            handler({key: known for key, known in value.items() if key not in found})
        except pydantic.ValidationError as error:
            # All mistakes are told at once.
            errors += [
                InitErrorDetails(type=each["type"], loc=each["loc"], input=each["input"], ctx=each.get("ctx", {}))
                for each in error.errors()
            ]
        raise pydantic.ValidationError.from_exception_data(cls.__name__, errors)


def _broker_tls(tls: TLSClient) -> TLSClient:
    if tls.server_name_override:
        raise ValueError("server_name_override is not available: librdkafka expects the name of the broker itself")
    if tls.reload_interval:
        raise ValueError("reload_interval is not available: librdkafka reads the files once, and again after SIGHUP")
    return any_version(tls)


class SaslConfig(CollectorSettings):
    """Who we are, by SASL."""

    unavailable = {  # noqa: RUF012 - never changed
        "version": "the handshake is negotiated with the brokers",
        "aws_msk": "AWS_MSK_IAM_OAUTHBEARER is not spoken; use SCRAM-SHA-512",
        "oauthbearer_token_source": "OAUTHBEARER is not spoken; use SCRAM-SHA-512, or mutual TLS",
    }

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    """How the password is proven; `PLAIN` sends it as it is, so only over TLS."""
    username: Annotated[str, pydantic.Field(min_length=1)]
    """Who we are."""
    password: Secret
    """Never shown."""

    @pydantic.field_validator("password")
    @classmethod
    def _given(cls, value: Secret) -> Secret:
        if not value.get_secret_value():
            raise ValueError("password is required")
        return value


class KafkaAuth(CollectorSettings):
    """How the brokers know us."""

    unavailable = {  # noqa: RUF012
        "plain_text": "write it as sasl with mechanism: PLAIN",
        "tls": "write it as tls of the component itself",
        "kerberos": "the client library comes without it; use SASL SCRAM, or mutual TLS",
    }

    sasl: SaslConfig | None = None
    """User name and password."""


class KafkaMetadata(CollectorSettings):
    """How the client keeps up with which broker has what."""

    unavailable = {  # noqa: RUF012
        "full": "only the topics in use are asked for",
        "retry": "the client asks until it knows",
    }

    refresh_interval: Annotated[Duration, pydantic.Field(ge=0.01, le=3600)] = 600.0
    """How often the brokers are asked, besides after each error."""


_CLIENT_UNAVAILABLE: Final = {
    "protocol_version": "it is negotiated with the brokers (0.10 and newer); leave it out",
    "resolve_canonical_bootstrap_servers_only": "the Collector ignores it too; leave it out",
    "use_leader_epoch": "it is used whenever the brokers have it; leave it out",
    "profiles": "this sidecar takes traces, logs and metrics",
}


class KafkaClientConfig(ComponentConfig, CollectorSettings):
    """How to reach the brokers."""

    unavailable = _CLIENT_UNAVAILABLE

    brokers: Annotated[list[str], pydantic.Field(min_length=1)] = ["localhost:9092"]  # noqa: RUF012
    """`host:port` of some brokers; they name the others."""
    client_id: str = "otel-collector"
    """The name that quotas and the brokers' logs know this client by."""
    rack_id: str = ""
    """Where this client stands, to read from replicas that are near."""
    conn_idle_timeout: Annotated[Duration, pydantic.Field(ge=0.001, le=86400)] = 540.0
    """Close a connection that was not used for this long."""
    tls: Annotated[TLSClient, pydantic.AfterValidator(_broker_tls)] | None = None
    """Speak TLS (an empty block will do); plain text without."""
    auth: KafkaAuth = KafkaAuth()
    """Say who we are."""
    metadata: KafkaMetadata = KafkaMetadata()
    """How the client keeps up with the cluster."""

    @pydantic.field_validator("brokers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @pydantic.field_validator("brokers")
    @classmethod
    def _reachable(cls, value: list[str]) -> list[str]:
        for broker in value:
            host, colon, port = broker.rpartition(":")
            if "/" in broker or "," in broker or (colon and not (host and port.isdecimal() and int(port) < 65536)):
                raise ValueError(f"{broker!r} is not host:port, such as localhost:9092")
        return value

    @pydantic.model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        # `tls:` alone means its defaults, as in the Collector.
        return {**value, "tls": {}} if isinstance(value, dict) and value.get("tls", "") is None else value

    @pydantic.model_validator(mode="after")
    def _installed(self) -> KafkaClientConfig:
        if importlib.util.find_spec(_PACKAGE) is None:
            raise ValueError("kafka needs the package confluent-kafka: pip install 'spanledger[kafka]'")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls is not None and not self.tls.insecure

    def warn_of_plain_text(self, log: logging.Logger) -> None:
        """Say so when a password goes over the network as it is."""
        if self.auth.sasl is not None and self.auth.sasl.mechanism == "PLAIN" and not self.encrypted:
            log.warning("auth::sasl::mechanism PLAIN without tls: the password can be read on the network")


def library() -> ModuleType:
    """Return the client library; configurations that need it were refused without it."""
    return importlib.import_module(_PACKAGE)


def properties(config: KafkaClientConfig) -> dict[str, Any]:
    """Return the configuration of librdkafka for a connection.

    Raises ValueError or OSError naming the key at fault: librdkafka itself would only say so in its log.
    """
    made: dict[str, Any] = {
        "bootstrap.servers": ",".join(config.brokers),
        "client.id": config.client_id,
        "client.rack": config.rack_id,
        "connections.max.idle.ms": milliseconds(config.conn_idle_timeout),
        "topic.metadata.refresh.interval.ms": milliseconds(config.metadata.refresh_interval),
        "reconnect.backoff.max.ms": 5000,
        "socket.keepalive.enable": True,
        # What goes wrong comes by `error_cb`; its own lines go to stderr, past our log.
        "log_level": 0,
    }
    sasl = config.auth.sasl
    made["security.protocol"] = ("sasl_" if sasl else "") + ("ssl" if config.encrypted else "plaintext")
    if sasl is not None:
        made |= {
            "sasl.mechanism": sasl.mechanism,
            "sasl.username": sasl.username,
            "sasl.password": sasl.password.get_secret_value(),
        }
    if config.tls is not None and config.encrypted:
        made |= _tls(config.tls)
    return made


def _tls(tls: TLSClient) -> dict[str, Any]:
    made: dict[str, Any] = {"enable.ssl.certificate.verification": not tls.insecure_skip_verify}
    if tls.ca_file:
        made["ssl.ca.location"] = tls.ca_file
    if tls.cert_file:
        made |= {"ssl.certificate.location": tls.cert_file, "ssl.key.location": tls.key_file}
    for key, path in (("ca_file", tls.ca_file), ("cert_file", tls.cert_file), ("key_file", tls.key_file)):
        if path:
            with Path(path).open("rb") as file:
                text = file.read()
            if b"-----BEGIN" not in text:
                raise ValueError(f"tls::{key}: {path} is not a PEM file")
    if tls.cert_file:
        try:
            ssl.create_default_context().load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"tls::cert_file, tls::key_file: cannot use them: {error}") from error
    return made


def milliseconds(duration_s: float) -> int:
    """Return a duration as librdkafka takes it."""
    return round(duration_s * 1000)
