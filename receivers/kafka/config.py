"""Configuration of the `kafka` receiver: keys, units and defaults of the Collector's kafkareceiver.

On purpose different: a message is marked only after every queue has taken it (`message_marking::after`), one that
is refused is tried again for as long as it takes (`error_backoff`), and one that nobody could ever read is set
aside (`message_marking::on_permanent_error`). The Collector's defaults lose messages in the first two cases and stop
a partition in the third.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic

from spanledger.exporters.retry import RetryConfig
from spanledger.processor.component import Settings
from spanledger.processor.kafka import (
    TOPICS,
    CollectorSettings,
    Encoding,
    KafkaClientConfig,
    milliseconds,
    properties,
)
from spanledger.processor.settings import Duration

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal

_MIB = 1024 * 1024
_Bytes = Annotated[int, pydantic.Field(ge=0, le=1_000_000_000)]
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

Strategy = Literal["range", "roundrobin", "cooperative-sticky"]


class TopicConfig(CollectorSettings):
    """Where the messages of a signal are, and how they are written."""

    unavailable = {  # noqa: RUF012
        "topic": "write topics: [NAME]",
        "exclude_topic": "write exclude_topics: [PATTERN]",
    }

    topics: list[str] = pydantic.Field(default_factory=list)
    """Names of topics, or regular expressions beginning with `^`; the Collector's default topic if empty."""
    encoding: Encoding = "otlp_proto"
    """`otlp_proto` or `otlp_json`: one export request in each message."""
    exclude_topics: list[str] = pydantic.Field(default_factory=list)
    """Regular expressions for topics that a pattern of `topics` finds and that are left out."""

    @pydantic.field_validator("topics")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        for topic in value:
            if not topic.startswith("^") and not _TOPIC.fullmatch(topic):
                raise ValueError(f"{topic[:80]!r} is no topic: letters, digits, . _ and -, or ^ and a pattern")
        return value

    @pydantic.model_validator(mode="after")
    def _excludable(self) -> TopicConfig:
        if self.exclude_topics and not any(topic.startswith("^") for topic in self.topics):
            raise ValueError("exclude_topics needs a pattern in topics (it begins with ^)")
        # librdkafka's list is separated by commas.
        if any(not pattern or "," in pattern for pattern in self.exclude_topics):
            raise ValueError("a pattern of exclude_topics is not empty and has no comma")
        return self


class AutoCommit(Settings):
    """When the group is told how far we are."""

    enable: bool = True
    """Every `interval`, and before a partition goes to another member. When false as soon as it is known, a few
    times a second."""
    interval: Annotated[Duration, pydantic.Field(ge=0.001, le=86400)] = 1.0
    """How often."""


class MessageMarking(CollectorSettings):
    """When a message counts as consumed."""

    after: Literal[True] = True
    """Only true: when every queue has it, on disk where `storage` is set."""
    on_error: Literal[False] = False
    """Only false: a message that is refused now is tried again."""
    on_permanent_error: Literal[True] = True
    """Only true: a message that nobody can read is set aside, and does not stop its partition."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _safe(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        only = info.field_name != "on_error"
        if isinstance(value, bool) and value is not only:
            raise ValueError(f"only {str(only).lower()} is available: {_MARKING[str(info.field_name)]}")
        return value


_MARKING: Final = {
    "after": "marked before it is taken, a message would be lost with the process",
    "on_error": "a full queue would lose what comes meanwhile",
    "on_permanent_error": "one message that nobody can read would stop its partition; see dead_letter_topic",
}


class ErrorBackoff(RetryConfig):
    """How long to wait before a message that is refused is tried again."""

    initial_interval: Duration = 1.0
    """Wait after the first refusal."""
    max_interval: Duration = 10.0
    """Largest interval, before jitter."""
    max_elapsed_time: Duration = 0.0
    """Only 0: giving up would lose the message."""

    @pydantic.model_validator(mode="after")
    def _patient(self) -> ErrorBackoff:
        if not self.enabled or self.max_elapsed_time:
            raise ValueError("a message is tried until it is taken: leave enabled true and max_elapsed_time 0")
        return self


class KafkaReceiverConfig(KafkaClientConfig):
    """Which topics to take from which brokers, as a member of which group."""

    unavailable = {  # noqa: RUF012
        **KafkaClientConfig.unavailable,
        "group_rebalance_strategy": "write group_rebalance_strategies: [NAME]",
        "header_extraction": "headers of messages are not read",
        "telemetry": "see spanledger_kafka_lag_messages",
    }

    group_id: Annotated[str, pydantic.Field(min_length=1)] = "otel-collector"
    """The consumer group; its members share the partitions. A Collector with this id takes a share too."""
    group_instance_id: str = ""
    """Name of this member for good, and of no other: its partitions wait `session_timeout` for it to come back. The
    signal is put before it."""
    group_rebalance_strategies: Annotated[list[Strategy], pydantic.Field(min_length=1)] = ["cooperative-sticky"]  # noqa: RUF012
    """How partitions are shared out; the members of a group must agree. `cooperative-sticky` moves only those that
    have to, `range` and `roundrobin` stop all members while they move."""
    initial_offset: Literal["latest", "earliest"] = "latest"
    """Where a group begins that has no offset: after what is there, or with the first message."""
    session_timeout: Annotated[Duration, pydantic.Field(ge=0.001, le=3600)] = 10.0
    """A member that was not heard of for this long has lost its partitions."""
    heartbeat_interval: Annotated[Duration, pydantic.Field(ge=0.001, le=3600)] = 3.0
    """How often a member is heard of; a third of `session_timeout` at most."""
    min_fetch_size: _Bytes = 1
    """Bytes that a broker waits for, up to `max_fetch_wait`."""
    max_fetch_size: _Bytes = 1_048_576
    """Bytes of one answer; a larger message comes whole."""
    max_fetch_wait: Annotated[Duration, pydantic.Field(ge=0, le=300)] = 0.25
    """How long a broker waits for `min_fetch_size`."""
    max_partition_fetch_size: Annotated[_Bytes, pydantic.Field(ge=1)] = 1_048_576
    """Bytes of one partition in one answer; a larger message comes whole."""
    traces: TopicConfig = TopicConfig()
    """Where traces are: `otlp_spans`."""
    logs: TopicConfig = TopicConfig()
    """Where logs are: `otlp_logs`."""
    metrics: TopicConfig = TopicConfig()
    """Where metrics are: `otlp_metrics`."""
    autocommit: AutoCommit = AutoCommit()
    """When the group is told how far we are."""
    message_marking: MessageMarking = MessageMarking()
    """When a message counts as consumed."""
    error_backoff: ErrorBackoff = ErrorBackoff()
    """How long to wait before a message that is refused is tried again."""
    dead_letter_topic: str = ""
    """Where messages go that nobody can read, with the reason in their headers; empty to leave them out, counted."""
    max_in_flight_mib: Annotated[int, pydantic.Field(ge=1, le=1024)] = 32
    """Messages of a signal taken from the brokers and not accepted yet, in MiB; at this much no more are asked for.
    A message that alone is larger is set aside."""

    @pydantic.field_validator("dead_letter_topic")
    @classmethod
    def _named(cls, value: str) -> str:
        if value and not _TOPIC.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is no topic: letters, digits, . _ and -")
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> KafkaReceiverConfig:
        if self.max_fetch_size < self.min_fetch_size:
            raise ValueError("max_fetch_size is less than min_fetch_size")
        if self.heartbeat_interval >= self.session_timeout:
            raise ValueError("heartbeat_interval must be less than session_timeout: a third of it is usual")
        eager = [name for name in self.group_rebalance_strategies if name != "cooperative-sticky"]
        if eager and len(eager) < len(self.group_rebalance_strategies):
            raise ValueError("cooperative-sticky cannot be offered together with others")
        names: dict[str, Signal] = {}
        for signal in TOPICS:
            for topic in self.topics(signal):
                if names.setdefault(topic, signal) != signal:
                    raise ValueError(f"the topic {topic} is named for {names[topic]} and for {signal}: one of them")
        return self

    def of(self, signal: Signal) -> TopicConfig:
        """Return the block of one signal."""
        block: TopicConfig = getattr(self, signal)
        return block

    def topics(self, signal: Signal) -> list[str]:
        """Return what to subscribe to."""
        return self.of(signal).topics or [TOPICS[signal]]

    @property
    def max_in_flight_bytes(self) -> int:
        """`max_in_flight_mib` in bytes."""
        return self.max_in_flight_mib * _MIB

    def consumer(self, signal: Signal) -> dict[str, Any]:
        """Return the configuration of librdkafka's consumer for one signal. Raises like `properties`."""
        made = {
            **properties(self),
            "group.id": self.group_id,
            "auto.offset.reset": self.initial_offset,
            "session.timeout.ms": milliseconds(self.session_timeout),
            "heartbeat.interval.ms": milliseconds(self.heartbeat_interval),
            "max.poll.interval.ms": max(300_000, milliseconds(self.session_timeout)),
            "partition.assignment.strategy": ",".join(self.group_rebalance_strategies),
            # What is committed is what `store_offsets` was told, and that is told after acceptance.
            "enable.auto.offset.store": False,
            "enable.auto.commit": self.autocommit.enable,
            "auto.commit.interval.ms": milliseconds(self.autocommit.interval),
            "fetch.min.bytes": max(1, self.min_fetch_size),
            # A million at the least: the library raises it to its `message.max.bytes`.
            "fetch.max.bytes": self.max_fetch_size,
            "max.partition.fetch.bytes": self.max_partition_fetch_size,
            "fetch.wait.max.ms": milliseconds(self.max_fetch_wait),
            "receive.message.max.bytes": max(100_000_000, self.max_fetch_size + 1024),
            # What the library keeps ready, beside what is in our hands: a quarter of that.
            "queued.max.messages.kbytes": self.max_in_flight_mib * 1024 // 4,
            "statistics.interval.ms": 5000,
        }
        if self.group_instance_id:
            # Each signal is a member by itself, and the brokers cut off the first of two with one name. In front, so
            # that the members of each signal stand in the same order: `range` then gives one sidecar the partitions of
            # one number in all topics.
            made["group.instance.id"] = f"{signal}-{self.group_instance_id}"
        if excluded := self.of(signal).exclude_topics:
            made["topic.blacklist"] = ",".join(excluded)
        return made
