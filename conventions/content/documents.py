"""Documents that a retrieval found."""

from __future__ import annotations

from spanledger.conventions.coerce import unquoted
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


def listed_documents(value: Value, reader: Reader) -> list[dict[str, Json]]:
    """Return documents out of JSON: a list of them as LangChain has them, or an object with `documents`."""
    found = reader.looks_structured(value)
    if isinstance(found, dict):
        found = found.get("documents", found.get("output"))
    made: list[dict[str, Json]] = []
    for item in found if isinstance(found, list) else ():
        if not isinstance(item, dict):
            continue
        inner = item.get("kwargs")
        fields = inner if "lc" in item and isinstance(inner, dict) else item
        document: dict[str, Json] = {}
        if isinstance(content := fields.get("page_content", fields.get("content", fields.get("text"))), str):
            document["content"] = content
        if isinstance(identity := fields.get("id"), str):
            document["id"] = identity
        if (score := _score(fields.get("score"))) is not None:
            document["score"] = score
        if isinstance(metadata := fields.get("metadata"), dict) and metadata:
            document["metadata"] = metadata
        if document:
            made.append(document)
    return made


def query_of(value: Value, reader: Reader) -> str | None:
    """Return the query of a retrieval: a text, a JSON string, or the member of an object that holds it."""
    if isinstance(value, str) and value[:1] == '"':
        value = unquoted(value)
    found = reader.looks_structured(value)
    if isinstance(found, dict):
        asked = next(
            (found[key] for key in ("query", "input", "question", "text") if isinstance(found.get(key), str)), None
        )
        if asked is not None:
            return reader.text(asked)
    return reader.text(value)


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
