"""The sidecar as a process: from its configuration and its signals to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from spanledger.processor.metric_store import MetricTable
from spanledger.service.config import Config, InvalidConfig, load
from spanledger.service.garbage import sweep, young_only
from spanledger.service.graph import CannotStart
from spanledger.service.sidecar import Sidecar
from spanledger.service.telemetry import LoopErrors, set_up_logging

log = logging.getLogger("spanledger.service")

SWITCH_S = 0.001
"""Seconds that a busy thread keeps the interpreter while the event loop waits for it: Python's five add up, for the
loop waits anew each time it asks for what has arrived."""


async def serve(
    sources: Sequence[str], sets: Sequence[str], act: Callable[[Sidecar], Coroutine[Any, Any, None]] | None = None
) -> int:
    """Run until SIGTERM or SIGINT, or until `act` is through; reload on SIGHUP.

    Returns 0 when everything accepted was delivered, 1 when something was lost or did not start. Raises
    `InvalidConfig`, and what `act` raises.
    """
    config = load(sources, sets, os.environ)
    _speak(config)
    metrics = MetricTable()
    reloads = metrics.counter("spanledger_config_reloads_total")
    stop, wake = asyncio.Event(), asyncio.Event()

    def on_stop(name: str) -> None:
        if stop.is_set():
            log.error("second signal: ending at once, what was not delivered is lost")
            os._exit(1)
        log.info("%s: taking no more requests, delivering what was accepted", name)
        stop.set()
        wake.set()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors(metrics))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number.name)
    # Whoever changes the file while we start is heard when we have started.
    loop.add_signal_handler(signal.SIGHUP, wake.set)
    try:
        sidecar = Sidecar(config, metrics)
        await sidecar.start()
    except CannotStart as error:
        print(f"spanledger: {error}", file=sys.stderr)
        return 1
    with young_only(), _quick_switches():
        beside = [asyncio.create_task(sweep(), name="garbage")]
        if act is not None:
            acting = asyncio.create_task(act(sidecar), name="act")
            acting.add_done_callback(lambda _: None if stop.is_set() else on_stop("done"))
            beside.append(acting)
        while not stop.is_set():
            await wake.wait()
            wake.clear()
            if not stop.is_set():
                reloads.add(("ok" if await _reload(sidecar, sources, sets) else "failed",))
        lost = await sidecar.stop()
        for task in beside:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return 1 if lost else 0


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


async def _reload(sidecar: Sidecar, sources: Sequence[str], sets: Sequence[str]) -> bool:
    """Change to what the configuration says now, or say what is wrong with it and keep the old one."""
    try:
        config = await asyncio.to_thread(load, sources, sets, os.environ)
        await sidecar.reload(config)
    except (InvalidConfig, CannotStart) as error:
        log.error("reload: the new configuration was not taken, the old one runs on\n%s", error)
        return False
    _speak(config)
    return True


def _speak(config: Config) -> None:
    """Log as the configuration says, and what it should be warned of."""
    set_up_logging(config.service.telemetry.logs.level, config.service.telemetry.logs.encoding)
    for warning in config.warnings:
        log.warning("%s", warning)
