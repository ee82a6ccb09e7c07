"""What it means for the data when the brokers do not have a message.

Most failures pass: a leader moves, a broker starts, replicas are too few, an answer is lost. So do those that
somebody has to put right (a password, an ACL, a topic that is missing): the data waits while they do. Permanent is
only what is about the message itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from spanledger.exporters.answer import Divided, Permanent, Retryable, SendError, TooLarge
from spanledger.processor.batch import Delivery
from spanledger.processor.kafka_producer import NEVER, TOO_LARGE

if TYPE_CHECKING:
    from spanledger.exporters.kafka.messages import Part
    from spanledger.processor.kafka_producer import Failure

_AROUND: Final = 512
"""Key, headers and lengths around a message."""


def verdict(whole: Delivery, parts: Sequence[Part], failures: Sequence[Failure], max_message_bytes: int) -> SendError:
    """Return what some failed messages of a request mean for it: what the brokers have is not sent again.

    What will pass stays together. What is about a message itself is said of that message alone.
    """
    failed = {id(failure.record): failure for failure in failures}
    lasting: list[Part] = []
    passing: list[Part] = []
    for part in parts:
        if (failure := failed.get(id(part.record))) is not None:
            (lasting if failure.code in NEVER else passing).append(part)
    first = failures[0]
    if len(passing) == len(parts) or len(parts) == 1:
        return _meaning(first, whole.size, max_message_bytes)
    rest = [Delivery(whole.signal, part.data, part.items, whole.received_ns) for part in lasting]
    if passing:
        # Requests one behind the other are one request: all that is in them is repeated fields.
        data, items = b"".join(part.data for part in passing), sum(part.items for part in passing)
        rest.append(Delivery(whole.signal, data, items, whole.received_ns))
    return Divided(_text(first), first.name, rest)


def _meaning(failure: Failure, data_bytes: int, max_message_bytes: int) -> SendError:
    """Return what it means for a request of `data_bytes` (in protobuf) that its message failed.

    The sender splits by the size in protobuf, so a limit is given in that measure: JSON takes more room.
    """
    text = _text(failure)
    if failure.code in TOO_LARGE:
        length = len(failure.record.value)
        limit = max_message_bytes if length > max_message_bytes - _AROUND else length // 2
        return TooLarge(text, failure.name, max(1, (limit - _AROUND) * data_bytes // max(length, data_bytes)))
    return (Permanent if failure.code in NEVER else Retryable)(text, failure.name)


def _text(failure: Failure) -> str:
    return f"{failure.name}: {failure.message}"[:500]
