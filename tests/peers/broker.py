"""A real Kafka broker: one node, KRaft mode, on ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.processes import Process, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
QUIET = {"log_level": 0}


class Broker:
    """One broker, which may end and start again: its address and its files stay."""

    process: Process

    def __init__(self, libs: Path, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        port, controller = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._command = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{libs}/*"]
        own = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"CLIENT://{self.address},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(directory / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            **(settings or {}),
        }
        directory.mkdir(parents=True, exist_ok=True)
        self._properties = directory / "server.properties"
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in own.items()))

    def format(self, *arguments: str) -> None:
        """Make the folder a broker's."""
        tool = [*self._command, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties)]
        subprocess.run([*tool, *arguments], check=True, capture_output=True, timeout=60)

    def start(self, **client: Any) -> None:
        """Start it and return when it answers. `client` are settings that reach it, for one that asks who we are."""
        command: list[str | Path] = [*self._command, "kafka.Kafka", self._properties]
        self.process = Process(command, self._directory / "log.txt")
        self.admin = AdminClient({"bootstrap.servers": self.address, **QUIET, **client})
        self.process.wait_until(self._answers, timeout_s=60.0)

    def _answers(self) -> bool:
        with contextlib.suppress(KafkaException):
            return bool(self.admin.list_topics(timeout=1.0).brokers)
        return False

    def topics(self, *names: str, partitions: int = 4, **settings: str) -> None:
        """Make topics."""
        wanted = [NewTopic(name, partitions, 1, config={**settings}) for name in names]
        for made in self.admin.create_topics(wanted).values():
            made.result(30.0)

    def messages(self, topic: str, count: int, partitions: int = 4) -> list[Message]:
        """Return the first `count` messages of a topic."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "looking", **QUIET})
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found: list[Message] = []
        try:
            while len(found) < count:
                batch = consumer.consume(count - len(found), 20.0)
                assert batch, f"{len(found)} messages of {count} are there"
                found += [message for message in batch if message.error() is None]
        finally:
            consumer.close()
        return found

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Return the offsets of a group."""
        (future,) = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        partitions = future.result(30.0).topic_partitions or ()
        return {(one.topic, one.partition): one.offset for one in partitions}

    def assigned(self, group: str) -> dict[str, set[tuple[str, int]]]:
        """Return the partitions of each member of a group, by its `group.instance.id`."""
        (future,) = self.admin.describe_consumer_groups([group]).values()
        return {
            member.group_instance_id: {(one.topic, one.partition) for one in member.assignment.topic_partitions}
            for member in future.result(30.0).members
        }

    def ends(self, topic: str, partitions: int = 4) -> dict[tuple[str, int], int]:
        """Return the offsets that the next messages will have."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "looking", **QUIET})
        try:
            return {
                (topic, number): consumer.get_watermark_offsets(TopicPartition(topic, number), 10.0)[1]
                for number in range(partitions)
            }
        finally:
            consumer.close()


@contextlib.contextmanager
def broker(
    libs: Path, directory: Path, settings: Mapping[str, str] | None = None, formatting: Sequence[str] = ()
) -> Iterator[Broker]:
    """Lend a broker that is formatted and started by the test; it is gone at the end."""
    made = Broker(libs, directory, settings)
    try:
        made.format(*formatting)
        yield made
    finally:
        if hasattr(made, "process"):
            made.process.kill()
