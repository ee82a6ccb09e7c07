"""The `kafka` receiver as a component: one subscription for each signal that a pipeline takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from spanledger.processor.batch import SIGNALS
from spanledger.processor.component import register
from spanledger.processor.kafka import properties
from spanledger.processor.kafka_producer import NEVER, Producer, Record
from spanledger.receivers.kafka.config import KafkaReceiverConfig
from spanledger.receivers.kafka.subscription import Subscription
from spanledger.receivers.otlp.admission import Admission
from spanledger.receivers.otlp.intake import Body, Intake

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal
    from spanledger.processor.component import Consume, Host
    from spanledger.receivers.kafka.consumer import Message
    from spanledger.receivers.otlp.admission import Permit
    from spanledger.receivers.otlp.answers import Answer

_FINISHING_S: Final = 5.0
_DEAD_LETTER_AGAIN_S: Final = 5.0
_QUIET_S: Final = 10.0


@register("receiver", "kafka", config=KafkaReceiverConfig, signals=SIGNALS, stability="beta")
class KafkaReceiver:
    """Take OTLP (protobuf and JSON) from the topics of a Kafka cluster."""

    def __init__(
        self,
        config: KafkaReceiverConfig,
        host: Host,
        *,
        make_consumer: Callable[[dict[str, Any]], Any] | None = None,
        make_producer: Callable[[dict[str, Any]], Any] | None = None,
        **chain: Any,
    ) -> None:
        self._config = config
        self._host = host
        # Twice: a message in JSON is there a second time in protobuf.
        self._admission = Admission(2 * len(SIGNALS) * config.max_in_flight_bytes)
        self._intake = Intake(host, self._admission)
        self._make_consumer = make_consumer
        self._chain = chain
        self._subscriptions: dict[Signal, Subscription] = {}
        self._joining: asyncio.Task[None] | None = None
        self._running = False
        self._log_again = self._letters_again = float("-inf")
        self._dead_letters: Producer | None = None
        if config.dead_letter_topic:
            settings = {**properties(config), "acks": -1, "message.max.bytes": 1_000_000_000}
            self._dead_letters = Producer(settings, make_producer)

    @property
    def consumers(self) -> Mapping[Signal, Consume]:
        """Where each signal goes; the topics of a signal that is missing are left alone."""
        return self._intake.consumers

    @consumers.setter
    def consumers(self, consumers: Mapping[Signal, Consume]) -> None:
        self._intake.consumers = consumers
        if self._running and consumers.keys() != self._subscriptions.keys():
            earlier = self._joining
            self._joining = asyncio.create_task(self._follow_reload(earlier), name=f"{self._host.id} joining")

    async def start(self) -> None:
        """Join the group. Brokers that are away are no reason to fail: the client keeps trying."""
        self._config.warn_of_plain_text(self._host.log)
        if self._dead_letters is not None:
            self._dead_letters.start()
        self._admission.open()
        self._running = True
        try:
            await self._follow()
        except (ValueError, OSError):
            await self.shutdown(self._host.monotonic())
            raise

    async def shutdown(self, deadline: float) -> int:
        """Give up what is not accepted in time (it comes again elsewhere), say how far we are, leave the group.

        Takes a third of the time that is left at most. Loses nothing.
        """
        self._running = False
        left_s = max(0.0, deadline - self._host.monotonic())
        if self._joining is not None:
            await self._joining
        stops = [each.stop(min(_FINISHING_S, left_s / 3)) for each in self._subscriptions.values()]
        self._subscriptions = {}
        await asyncio.gather(*stops)
        self._admission.close()
        await self._intake.close()
        if self._dead_letters is not None:
            await self._dead_letters.close()
        return 0

    def statistics(self) -> Mapping[str, Any]:
        """Return the partitions that are ours and what is in hand, by signal."""
        return {signal: each.statistics() for signal, each in self._subscriptions.items()}

    async def _follow_reload(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await earlier
        try:
            await self._follow()
        except (ValueError, OSError) as error:
            self._host.log.error("not all signals are taken, restart when this is put right: %s", error)
            self._host.report("recoverable_error", str(error))

    async def _follow(self) -> None:
        """Have a subscription for each signal that has a pipeline, and for no other."""
        for signal in SIGNALS:
            wanted = signal in self.consumers
            if wanted and signal not in self._subscriptions:
                self._subscriptions[signal] = self._subscribe(signal)
            elif not wanted and (dropped := self._subscriptions.pop(signal, None)) is not None:
                await dropped.stop(_FINISHING_S)

    def _subscribe(self, signal: Signal) -> Subscription:
        async def take(message: Message) -> Answer:
            return await self._take(signal, message)

        made = Subscription(
            signal, self._config, self._host, take, self._set_aside, make=self._make_consumer, **self._chain
        )
        made.start()
        topics = ", ".join(self._config.topics(signal))
        self._host.log.info("taking %s from the topics %s as group %s", signal, topics, self._config.group_id)
        return made

    async def _take(self, signal: Signal, message: Message) -> Answer:
        body = Body(message.value, "identity", self._config.of(signal).encoding == "otlp_json")

        async def read(permit: Permit) -> Body:
            permit.hold(len(body.data))
            return body

        _, answer = await self._intake.take(signal, "kafka", self._config.max_in_flight_bytes, read)
        return answer

    async def _set_aside(self, message: Message, answer: Answer) -> None:
        """Put a message that nobody can read where somebody can look at it, or leave it out.

        So it is left out when its topic takes none like it, which would stop its partition for ever.
        """
        (topic, partition), offset = message.place, message.offset
        now = self._host.monotonic()
        if now >= self._log_again:
            self._log_again = now + _QUIET_S
            where = self._config.dead_letter_topic or "nowhere (see dead_letter_topic)"
            self._host.log.error(
                "the message %s[%d]@%d cannot be taken (%s) and goes to %s",
                topic,
                partition,
                offset,
                answer.reason,
                where,
            )
        if self._dead_letters is None:
            return
        headers = {"reason": answer.reason, "topic": topic, "partition": str(partition), "offset": str(offset)}
        record = Record(
            self._config.dead_letter_topic,
            message.value,
            message.key,
            tuple((f"spanledger.{name}", value.encode()) for name, value in headers.items()),
        )
        while failures := await self._dead_letters.send([record]):
            if (now := self._host.monotonic()) >= self._letters_again:
                self._letters_again = now + _QUIET_S
                self._host.log.warning("a dead letter cannot be written: %s", failures[0].message)
            if failures[0].code in NEVER:
                return
            await asyncio.sleep(_DEAD_LETTER_AGAIN_S)
