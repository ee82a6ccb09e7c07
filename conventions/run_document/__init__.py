"""The run document: a `Run` as the JSON object that `spanledger runs export` writes a line of, and back.

Times are UTC with nanoseconds, money is in dollars (a pico-dollar is kept up to a thousand dollars), absent facts
are null. The keys of schema `spanledger.run/1` stay; more may be added, and a reader ignores those it does not
know. Keys that the contract does not show read as unknown where they are missing.

`writing` makes documents, `reading` reads them strictly, with `strict_json` to say what is wrong and where.
"""

from spanledger.conventions.run_document.reading import read_document
from spanledger.conventions.run_document.strict_json import BadDocument
from spanledger.conventions.run_document.writing import (
    canonical_bytes,
    digest,
    document,
    roll_up,
    root_attributes,
    timestamp,
    usd,
)

__all__ = [
    "BadDocument",
    "canonical_bytes",
    "digest",
    "document",
    "read_document",
    "roll_up",
    "root_attributes",
    "timestamp",
    "usd",
]
