"""What it means for the data when the brokers do not have a message.

Most failures pass: a leader moves, a broker starts, replicas are too few, an answer is lost. So do those that
somebody has to put right (a password, an ACL, a topic that is missing): the data waits while they do. Permanent is
only what is about the message itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from spanledger.exporters.answer import Permanent, Retryable, SendError, TooLarge

if TYPE_CHECKING:
    from spanledger.processor.kafka_producer import Failure

TOO_LARGE: Final = frozenset({10, 18})
"""MSG_SIZE_TOO_LARGE, RECORD_LIST_TOO_LARGE (Kafka protocol, error codes)."""
PERMANENT: Final = frozenset({17, 43, 44, 76, 87})
"""INVALID_TOPIC_EXCEPTION, UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION, UNSUPPORTED_COMPRESSION_TYPE,
INVALID_RECORD."""


def verdict(failures: Sequence[Failure], data_bytes: int, max_message_bytes: int) -> SendError:
    """Return what the failed messages of one request of `data_bytes` (in protobuf) mean for it.

    The sender splits by the size in protobuf, so a limit is given in that measure: JSON takes more room.
    """
    worst = min(failures, key=_rank)
    text = f"{worst.name}: {worst.message}"[:500]
    if worst.code in TOO_LARGE:
        longest = max(len(failure.record.value) for failure in failures if failure.code in TOO_LARGE)
        limit = max_message_bytes if longest > max_message_bytes - _AROUND else longest // 2
        return TooLarge(text, worst.name, max(1, (limit - _AROUND) * data_bytes // max(longest, data_bytes)))
    if worst.code in PERMANENT:
        return Permanent(text, worst.name)
    return Retryable(text, worst.name)


_AROUND: Final = 512
"""Key, headers and lengths around a message."""


def _rank(failure: Failure) -> int:
    return 0 if failure.code in TOO_LARGE else 1 if failure.code in PERMANENT else 2
