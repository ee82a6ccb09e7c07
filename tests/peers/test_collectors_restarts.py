"""Collector, sidecar, Collector: each ends under load and comes back, and nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.load import Load, request, send
from tests.peers.otelcol import QUICK_RETRY, SIGNALS, Collector, limited, to_sidecar
from tests.sidecar import Sidecar, to_backend, with_storage

if TYPE_CHECKING:
    from tests.peers.conftest import NewCollector, Start

ON_DISK = {"storage": "file_storage"}
FOR_EVER = {**QUICK_RETRY, "max_elapsed_time": "0s"}


def sidecar_config(sidecar: Sidecar, last: Collector, durable: bool) -> dict[str, Any]:
    """Return the configuration of a sidecar that sends to a Collector."""
    exporter = to_backend(last.grpc, **({"sending_queue": ON_DISK} if durable else {}))
    config = sidecar.config({"otlp": exporter})
    return with_storage(config, sidecar.directory / "queues") if durable else config


def send_some(address: str, count: int = 20) -> set[bytes]:
    """Send requests and return the ids of their spans."""
    sent: set[bytes] = set()
    for number in range(count):
        message, span_ids = request(number)
        send(address, message)
        sent |= span_ids
    return sent


def arrived_once(last: Collector, wanted: set[bytes]) -> None:
    """Wait until every wanted span is there, and see that none is there twice."""
    last.process.wait_until(lambda: wanted <= set(last.received.ids()))
    assert last.received.ids().total() == len(wanted)


def test_a_collectors_queue_on_disk_waits_for_the_sidecar(new_collector: NewCollector, sidecar: Sidecar) -> None:
    """What it took while the sidecar was away, and kept over `kill -9`, it delivers."""
    first, last = new_collector("first"), new_collector("last")
    exporter = to_sidecar(sidecar.grpc, sending_queue=ON_DISK) | {"retry_on_failure": FOR_EVER}
    first.start(first.config({"otlp_grpc": exporter}))
    sent = send_some(first.grpc)
    first.process.kill()

    last.start(last.config())
    sidecar.start(sidecar_config(sidecar, last, durable=False))
    first.start()

    arrived_once(last, sent)


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "disk"])
def test_our_queue_waits_for_a_collector_that_is_away(
    new_collector: NewCollector, sidecar: Sidecar, durable: bool
) -> None:
    """What we took while the Collector was away arrives once when it comes; from disk after `kill -9` too."""
    last = new_collector("last")
    config = sidecar_config(sidecar, last, durable)
    sidecar.start(config)
    sent = send_some(sidecar.grpc)
    if durable:
        sidecar.process.kill()
        sidecar.start(config)

    last.start(last.config())

    arrived_once(last, sent)


@pytest.mark.parametrize("exporter", ["otlp", "otlp_http"])
def test_a_collector_that_refuses_gets_it_when_it_can(new_collector: NewCollector, start: Start, exporter: str) -> None:
    """Its memory limiter refuses at first; we try again and nothing is dropped."""
    last = new_collector("last")
    last.start(limited(last.config(), limit_mib=2))
    endpoint = {"otlp": last.grpc, "otlp_http": f"http://{last.http}"}[exporter]
    sidecar = start({exporter: to_backend(endpoint)})
    sent = send_some(sidecar.grpc, 3)
    sidecar.process.wait_until(lambda: sidecar.total("spanledger_exporter_retries_total", exporter=exporter) >= 3)
    assert not last.received.spans()

    last.reload(last.config())

    arrived_once(last, sent)
    assert sidecar.total("spanledger_dropped_items_total") == 0


@pytest.mark.parametrize("durable", [False, True], ids=["sigterm", "kill-9"])
def test_each_of_three_ends_under_load_and_nothing_is_lost(
    new_collector: NewCollector, sidecar: Sidecar, record_property: pytest.RecordProperty, durable: bool
) -> None:
    """With queues in memory each is asked to end, with queues on disk each is killed; both at every place in turn."""
    first, last = new_collector("first"), new_collector("last")
    last.start(last.config())
    config = sidecar_config(sidecar, last, durable)
    sidecar.start(config)
    queue = {"sending_queue": ON_DISK} if durable else {}
    first.start(first.config({"otlp_grpc": to_sidecar(sidecar.grpc, **queue) | {"retry_on_failure": FOR_EVER}}))

    with Load(first.grpc, clients=3, signals=SIGNALS, pause_s=0.02).running() as load:
        for one, again in ((first, first.start), (sidecar, lambda: sidecar.start(config)), (last, last.start)):
            load.wait_for(30)
            if durable:
                one.process.kill()
            else:
                assert one.process.stop() == 0, one.process.log()
            if one is not first:  # Without the first the clients have nobody to send to.
                load.wait_for(30)
            again()
        load.wait_for(30)
    with contextlib.suppress(AssertionError):
        last.process.wait_until(lambda: load.acknowledged <= set(last.received.ids()))

    arrived = last.received.ids()
    assert load.acknowledged - set(arrived) == set()
    twice = {each for each, count in arrived.items() if count > 1}
    record_property("acknowledged", len(load.acknowledged))
    record_property("twice", len(twice))
    print(f"{len(load.acknowledged)} spans, log records and data points acknowledged, none lost, {len(twice)} twice")
