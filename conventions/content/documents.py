"""Documents that a retrieval found."""

from __future__ import annotations

from spanledger.conventions.content.flattened import Fields, in_order
from spanledger.conventions.content.parse import Json, Reader
from spanledger.conventions.values import Value


def flattened_documents(items: dict[int, Fields], reader: Reader) -> list[dict[str, Json]]:
    """Return retrieved documents: `id` and `score`, and what the conventions leave open: content and metadata."""
    made: list[dict[str, Json]] = []
    for fields in in_order(items, reader):
        found: dict[str, Json] = {}
        for key, value in sorted(fields.items()):
            word = key.removeprefix("document.")
            if word == "score":
                if (score := _score(value)) is not None:
                    found["score"] = score
            elif word in ("id", "content"):
                if (said := reader.text(value)) is not None:
                    found[word] = said
            elif word == "metadata" and (metadata := reader.document(value)) is not None:
                found["metadata"] = metadata
        made.append(found)
    return made


def _score(value: Value) -> float | int | None:
    if isinstance(value, str) and len(value) < 32:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN and the infinities have no JSON; no score is that large.
    return value if abs(value) < 1e308 else None
