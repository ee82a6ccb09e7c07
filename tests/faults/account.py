"""What was acknowledged against what arrived: the verdict of every test here."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.load import ids_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.backend import Backend
    from tests.peers.load import Load
    from tests.processes import Process


@dataclass
class Arrivals:
    """How often each id arrived at one or more lives of a backend."""

    backends: list[Backend]
    ids: Counter[bytes] = field(default_factory=Counter)
    _read: Counter[tuple[int, str]] = field(default_factory=Counter)

    def look(self) -> Counter[bytes]:
        """Count what came since the last look."""
        for number, backend in enumerate(self.backends):
            for signal in ("traces", "logs", "metrics"):
                new = backend.requests(signal)[self._read[number, signal] :]
                self._read[number, signal] += len(new)
                for data in new:
                    self.ids.update(ids_of(signal, data))
        return self.ids

    def wait_for(self, wanted: Collection[bytes], process: Process, timeout_s: float = 60.0) -> None:
        """Return when all of `wanted` came; fails with the log of the sidecar."""
        process.wait_until(lambda: not set(wanted) - self.look().keys(), timeout_s)


@dataclass(frozen=True)
class Row:
    """One row of docs/reliability.md; items, not requests."""

    part: str
    fault: str
    """What was done."""
    test: str
    times: int
    """How often."""
    acknowledged: int
    delivered: int
    dropped: dict[str, int]
    """Counted by the sidecar as dropped, by reason."""
    lost: int
    """Acknowledged, neither delivered nor counted as dropped."""
    duplicated: int
    """Delivered more than once although the client sent once."""
    repeated: int
    """Delivered more than once that a client had sent more than once, for it got no answer."""
    notes: str = ""
    seconds: float = 0.0


class Accounts:
    """Where tests write their rows; `path` is a file of JSON lines, or None for nowhere."""

    def __init__(self, test: str, path: Path | None) -> None:
        self._test = test
        self._path = path
        self._began = time.monotonic()

    def settle(
        self,
        fault: str,
        acknowledged: Collection[bytes],
        counts: Sequence[Counter[bytes]],
        *,
        times: int = 1,
        repeated: Collection[bytes] = (),
        dropped: dict[str, int] | None = None,
        notes: str = "",
    ) -> Row:
        """Hold what came to each of several places, as (id, how often), against what was acknowledged; write it down.

        Fails when something acknowledged is missing that was not counted as dropped, at any of them.
        """
        dropped = dropped or {}
        wanted = set(acknowledged)
        missing = sum(len(wanted - count.keys()) for count in counts)
        twice: Counter[bool] = Counter()
        for count in counts:
            for each, times_seen in count.items():
                twice[each in repeated] += times_seen - 1
        row = Row(
            part=Path(os.environ["PYTEST_CURRENT_TEST"].split("::")[0]).stem.removeprefix("test_"),
            fault=fault,
            test=self._test,
            times=times,
            acknowledged=len(wanted) * len(counts),
            delivered=len(wanted) * len(counts) - missing,
            dropped=dropped,
            # What is given up at the end may have arrived all the same: only the answer was not waited for.
            lost=max(0, missing - sum(dropped.values())),
            duplicated=twice[False],
            repeated=twice[True],
            notes=notes,
            seconds=round(time.monotonic() - self._began, 1),
        )
        self.write(row)
        assert row.acknowledged, "nothing was acknowledged: this has shown nothing"
        assert row.lost == 0, row
        return row

    def settle_load(self, fault: str, load: Load, arrivals: Arrivals, **more: object) -> Row:
        """Settle what the clients of one load were told."""
        return self.settle(fault, load.acknowledged, [arrivals.look()], repeated=load.repeated, **more)  # type: ignore[arg-type]

    def write(self, row: Row) -> None:
        """Add one row to the file. Several processes may do so at once."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
