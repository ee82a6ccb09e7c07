"""Configuration of the `kafka` exporter: keys, units and defaults of the Collector's kafkaexporter.

On purpose different: `producer::required_acks` is `all`. What was acknowledged to a client may be forgotten here
only when the brokers will keep it, and with one copy on one broker that is not so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic

from spanledger.exporters.queue import QueueConfig
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
from spanledger.processor.settings import Duration, Headers

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal

BATCH_BYTES: Final = 64 * 1024
"""Messages that go to a partition together; a longer one goes by itself, so that what a broker says of it is about
it alone."""

_NO_METADATA: Final = "what clients send beside their requests is not kept"


class TopicConfig(CollectorSettings):
    """Where the messages of a signal go, and how they are written."""

    unavailable = {  # noqa: RUF012
        "topic_from_metadata_key": _NO_METADATA,
        "message_key_from_metadata_key": _NO_METADATA,
    }

    topic: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9._-]{0,249}$")] = ""
    """Name of the topic; the Collector's default topic if empty."""
    encoding: Encoding = "otlp_proto"
    """`otlp_proto` or `otlp_json`: one export request in each message."""


class CompressionParams(Settings):
    """How hard to compress."""

    level: Annotated[int, pydantic.Field(ge=-1, le=12)] = -1
    """gzip 1 to 9, zstd 1 to 12; -1 for the usual one."""


class ProducerConfig(CollectorSettings):
    """How messages are written."""

    unavailable = {  # noqa: RUF012
        "max_broker_write_bytes": "messages go to a partition 64 KiB at a time, or one by one",
    }

    max_message_bytes: Annotated[int, pydantic.Field(ge=1000, le=1_000_000_000)] = 1_000_000
    """Largest message, in bytes before compression; a longer request is split. Not above the `message.max.bytes` of
    the brokers, or of the topic."""
    required_acks: Literal["all", -1, 0, 1] = "all"
    """Who must have a message before it counts as sent: `all` (or -1) in-sync replicas, 1 the leader, 0 nobody."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """How messages are compressed."""
    compression_params: CompressionParams = CompressionParams()
    """How hard."""
    flush_max_messages: Annotated[int, pydantic.Field(ge=1, le=1_000_000)] = 10_000
    """Messages that go to a partition together."""
    allow_auto_topic_creation: bool = True
    """Let brokers that are set to it create a topic that is missing."""
    linger: Annotated[Duration, pydantic.Field(ge=0, le=900)] = 0.01
    """How long a message waits for others to go with."""

    @pydantic.model_validator(mode="after")
    def _level(self) -> ProducerConfig:
        highest = {"gzip": 9, "zstd": 12, "lz4": 12}.get(self.compression, -1)
        if self.compression_params.level > highest:
            raise ValueError(f"compression_params::level is {highest} at the most with compression {self.compression}")
        return self


class StickyKey(Settings):
    """By the key of the message; without one, one partition after the other for a while each."""

    hasher: Literal["sarama_compat", "murmur2"] = "sarama_compat"
    """`sarama_compat` puts a trace where the Collector does by default, `murmur2` where Java clients do."""


class RecordPartitioner(CollectorSettings):
    """Which partition a message goes to."""

    unavailable = {  # noqa: RUF012
        "round_robin": "it takes no notice of keys; without keys sticky_key does nearly the same",
        "least_backup": "the client library does not tell how much waits for a partition",
        "extension": "there are no extensions that partition",
    }

    sticky_key: StickyKey = StickyKey()
    """By key."""


class KafkaExporterConfig(KafkaClientConfig):
    """Which topics to write, to which brokers."""

    unavailable = {  # noqa: RUF012
        **KafkaClientConfig.unavailable,
        "rack_id": "it is about reading",
        "topic_from_attribute": "names of topics do not come from data",
        "include_metadata_keys": _NO_METADATA,
        "partition_metrics_by_resource_attributes": "the Collector's hash of attributes is its own",
        "partition_logs_by_resource_attributes": "the Collector's hash of attributes is its own; "
        "there is partition_logs_by_trace_id",
    }

    timeout: Duration = 5.0
    """Time for one attempt; 0 for no limit."""
    traces: TopicConfig = TopicConfig()
    """Where traces go: `otlp_spans`."""
    logs: TopicConfig = TopicConfig()
    """Where logs go: `otlp_logs`."""
    metrics: TopicConfig = TopicConfig()
    """Where metrics go: `otlp_metrics`."""
    partition_traces_by_id: bool = False
    """One message for each trace of a request, with the trace id as its key: a trace stays in one partition."""
    partition_logs_by_trace_id: bool = False
    """The same for log records; those without a trace share a message without a key."""
    record_headers: Headers = pydantic.Field(default_factory=dict)
    """Headers of every message."""
    record_partitioner: RecordPartitioner = RecordPartitioner()
    """Which partition a message goes to."""
    producer: ProducerConfig = ProducerConfig()
    """How messages are written."""
    sending_queue: QueueConfig = QueueConfig()
    """What may wait for the brokers."""
    retry_on_failure: RetryConfig = RetryConfig()
    """What to do after a failure that may pass."""

    def of(self, signal: Signal) -> TopicConfig:
        """Return the block of one signal."""
        block: TopicConfig = getattr(self, signal)
        return block

    def topic(self, signal: Signal) -> str:
        """Return where a signal goes."""
        return self.of(signal).topic or TOPICS[signal]

    def splits(self, signal: Signal) -> bool:
        """Tell whether each trace of a signal gets a message of its own."""
        by_trace = {"traces": self.partition_traces_by_id, "logs": self.partition_logs_by_trace_id}
        return by_trace.get(signal, False)

    def librdkafka(self) -> dict[str, Any]:
        """Return the configuration of librdkafka's producer. Raises like `properties`."""
        producer = self.producer
        hasher = self.record_partitioner.sticky_key.hasher
        return {
            **properties(self),
            "acks": -1 if producer.required_acks == "all" else producer.required_acks,
            "message.max.bytes": producer.max_message_bytes,
            "message.timeout.ms": milliseconds(self.timeout),
            "compression.type": producer.compression,
            "compression.level": producer.compression_params.level,
            "batch.num.messages": producer.flush_max_messages,
            "batch.size": BATCH_BYTES,
            "queue.buffering.max.ms": producer.linger * 1000,
            # The sending queue bounds what waits.
            "queue.buffering.max.messages": 0,
            "allow.auto.create.topics": producer.allow_auto_topic_creation,
            "partitioner": {"sarama_compat": "fnv1a_random", "murmur2": "murmur2_random"}[hasher],
        }
