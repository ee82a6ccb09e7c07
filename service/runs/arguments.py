"""What people write on the command line, as values."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from typing import Final

_AGO: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|h|d|w)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_ns(text: str, now_ns: int) -> int:
    """Read a time, or how long before `now_ns` (`90m`, `2h`, `3d`), as nanoseconds since the epoch.

    A time without a zone is UTC. Raises `argparse.ArgumentTypeError`.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return now_ns - int(float(ago[1]) * _SECONDS[ago[2]] * 1e9)
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-11-20T08:00:00Z nor an age such as 30m, 2h or 3d"
        ) from None
