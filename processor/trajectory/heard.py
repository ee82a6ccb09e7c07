"""Log records that are sent again, by a client that got no answer.

A span that comes twice is known by its id. A record of one message has none: it is known by all that it says and when.
Each of them is one more message of a conversation (`conventions.details.merged`), so the second would be said again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

MAX_HEARD: Final = 16_384
"""Records that are remembered, the last. A request is sent again within seconds, as a rule."""


class Heard:
    """Remembers hashes of log records. One owner."""

    def __init__(self) -> None:
        self._hashes: dict[int, None] = {}

    def before(self, record: LogRecord) -> bool:
        """Tell whether just this record came before. One without a time may be another that says the same."""
        if not (record.time_unix_nano or record.observed_time_unix_nano):
            return False
        known = hash(record.SerializeToString(deterministic=True))
        if known in self._hashes:
            return True
        self._hashes[known] = None
        if len(self._hashes) > MAX_HEARD:
            del self._hashes[next(iter(self._hashes))]
        return False
