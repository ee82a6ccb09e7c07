"""OTLP in the topics of a Kafka cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from spanledger.exporters.kafka.config import KafkaExporterConfig
from spanledger.exporters.kafka.messages import parts_of
from spanledger.exporters.kafka.outcome import verdict
from spanledger.exporters.sender import Sender
from spanledger.processor.batch import SIGNALS
from spanledger.processor.component import register
from spanledger.processor.kafka_producer import Producer

if TYPE_CHECKING:
    from spanledger.processor.batch import Delivery
    from spanledger.processor.component import Host

_QUICK_BYTES: Final = 16 * 1024
_VERDICT_S: Final = 1.0
"""The library gives a message up after `timeout`; so much later than it, the chain would."""


@register("exporter", "kafka", config=KafkaExporterConfig, signals=SIGNALS, stability="beta")
class KafkaExporter(Sender):
    """Sends traces, logs and metrics to the topics of a Kafka cluster."""

    def __init__(
        self,
        config: KafkaExporterConfig,
        host: Host,
        *,
        make: Callable[[dict[str, Any]], Any] | None = None,
        **chain: Any,
    ) -> None:
        timeout_s = config.timeout and config.timeout + _VERDICT_S
        super().__init__(host, config.sending_queue, config.retry_on_failure, timeout_s, **chain)
        self._config = config
        self._make = make
        self._producer: Producer | None = None

    async def connect(self) -> None:
        """Begin to connect. Brokers that are away are no reason to fail."""
        self._config.warn_of_plain_text(self.host.log)
        self._producer = Producer(self._config.librdkafka(), self._make)
        self._producer.start()

    async def disconnect(self) -> None:
        """End the client; what it still has is given up."""
        if self._producer is not None:
            await self._producer.close()

    async def push(self, delivery: Delivery) -> None:
        """Write the messages of one request and wait until the brokers have them all."""
        assert self._producer is not None
        config, signal = self._config, delivery.signal
        plain = config.of(signal).encoding == "otlp_proto" and not config.splits(signal)
        if plain or delivery.size <= _QUICK_BYTES:
            parts = parts_of(config, delivery)
        else:
            parts = await self.in_thread(parts_of, config, delivery)
        if failures := await self._producer.send([part.record for part in parts]):
            raise verdict(delivery, parts, failures, config.producer.max_message_bytes)
