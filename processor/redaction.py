"""The processor that takes out of spans and log records what should not be kept, before anything is kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from spanledger.conventions.redaction.detectors import Entity
from spanledger.conventions.redaction.patterns import PIECE, compiled
from spanledger.conventions.redaction.rules import HashFunction, Redactor, hashing
from spanledger.conventions.values import attributes_of, key_value
from spanledger.processor.batch import MAX_HEAD_BYTES, MAX_NAME_CHARS, PAUSE_EVERY
from spanledger.processor.component import ComponentConfig, Host, Passive, PipelineView, register
from spanledger.processor.settings import Secret

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.redaction.rules import Found
    from spanledger.processor.batch import Batch, ScopeGroup

Field = Literal["attributes", "resource", "scope", "event", "link", "body", "name", "status"]
_Head = tuple[bytes, Mapping[str, Any]] | None

BYTES_PER_WORK: Final = 1_024
_MAX_DEPTH: Final = 64
_OWN: Final = "redaction."
"""What a summary writes."""
_ALWAYS: Final = frozenset({"service.name"})
"""Of a resource that cannot be read, what is kept."""


def _pattern(text: str) -> str:
    compiled(text)
    return text


_Pattern = Annotated[str, pydantic.Field(min_length=1, max_length=1_024), pydantic.AfterValidator(_pattern)]


class RedactionConfig(ComponentConfig):
    """The Collector's keys, and `detect`.

    In a configuration::

    processors:
      redaction: {allow_all_keys: true, detect: [secrets, emails, cards]}
    """

    allow_all_keys: bool = False
    """Keep attributes whatever their key. Without it, only those in `allowed_keys` stay."""
    allowed_keys: list[str] = pydantic.Field(default_factory=list)
    """Keys of attributes to keep; their values are looked at all the same."""
    ignored_keys: list[str] = pydantic.Field(default_factory=list)
    """Keys of attributes that pass as they are."""
    ignored_key_patterns: list[_Pattern] = pydantic.Field(default_factory=list)
    """The same as regular expressions."""
    blocked_key_patterns: list[_Pattern] = pydantic.Field(default_factory=list)
    """Regular expressions of keys whose values are masked, in attributes and in JSON."""
    blocked_values: list[_Pattern] = pydantic.Field(default_factory=list)
    """Regular expressions of what is masked within values."""
    allowed_values: list[_Pattern] = pydantic.Field(default_factory=list)
    """Regular expressions of values that are left alone, whatever else is in them."""
    detect: list[Entity] = pydantic.Field(default_factory=list)
    """What is looked for beside: keys and passwords, e-mail addresses, card numbers, telephone numbers, addresses of
    computers."""
    hash_function: HashFunction | None = None
    """Put a hash in the place of what is found, rather than `****`: equal things stay equal. Short ones can be guessed
    from it, but for those with a key."""
    hmac_key: Secret | None = None
    """Key of `hmac-sha256` and `hmac-sha512`."""
    summary: Literal["debug", "info", "silent"] = "silent"
    """Say on spans and log records how many attributes were removed and masked, with `debug` also which."""

    @pydantic.model_validator(mode="after")
    def _keyed(self) -> RedactionConfig:
        if (self.hash_function or "").startswith("hmac") and self.hmac_key is None:
            raise ValueError(f"{self.hash_function} needs hmac_key")
        return self

    def redactor(self) -> Redactor:
        """Return the rules."""
        key = self.hmac_key.get_secret_value() if self.hmac_key is not None else ""
        return Redactor(
            entities=tuple(self.detect),
            blocked_values=tuple(map(re.compile, self.blocked_values)),
            allowed_values=tuple(map(re.compile, self.allowed_values)),
            blocked_keys=tuple(map(re.compile, self.blocked_key_patterns)),
            hashed=hashing(self.hash_function, key) if self.hash_function is not None else None,
        )


def check(pipeline: PipelineView) -> str | None:
    """Demand that nothing has read the spans before."""
    types = [one.type for one in pipeline.processors]
    if "genai_normalizer" in types[: types.index("redaction")]:
        return "redaction comes after genai_normalizer, which has read by then what is to be taken out: list it before"
    return None


@register("processor", "redaction", config=RedactionConfig, signals=("traces", "logs"), check=check)
class Redaction(Passive):
    """Takes secrets and personal data out of spans and log records."""

    def __init__(self, config: RedactionConfig, host: Host) -> None:
        self._config = config
        self._redactor = config.redactor()
        self._allowed = None if config.allow_all_keys else frozenset(config.allowed_keys)
        self._ignored = frozenset(config.ignored_keys)
        self._ignored_patterns = tuple(map(re.compile, config.ignored_key_patterns))
        self._counter = host.metrics.counter("spanledger_redactions_total")
        self._action = "hashed" if config.hash_function is not None else "masked"

    def process(self, batch: Batch) -> Iterator[None]:
        """Redact every item, and the resources and scopes they have in common; pauses now and then."""
        heads: dict[int, _Head] = {}
        work = 0
        for group in batch.groups:
            self._heads(group, heads)
            self._drop_unread(batch, group)
            for index, item in enumerate(group.items):
                work += 1 + len(group.raw[index]) // BYTES_PER_WORK
                if work >= PAUSE_EVERY:
                    work = 0
                    yield
                if self._span(item) if batch.signal == "traces" else self._record(item):
                    group.changed.add(index)

    def _drop_unread(self, batch: Batch, group: ScopeGroup) -> None:
        """Leave out what is too large to be read: it may hold anything."""
        kept = [index for index, item in enumerate(group.items) if item is not None]
        dropped = len(group.items) - len(kept)
        if dropped:
            batch.count -= dropped
            batch.reject("too large to be redacted", dropped)
            group.keep(kept)

    # -- what there is --

    def _span(self, span: Span) -> bool:
        changed = self._attributes(span.attributes, "attributes", summarize=True)
        for event in span.events:
            changed |= self._attributes(event.attributes, "event")
        for link in span.links:
            changed |= self._attributes(link.attributes, "link")
        changed |= self._field(span, "name", "name")
        changed |= self._field(span.status, "message", "status")
        for event in span.events:
            changed |= self._field(event, "name", "event")
        return changed

    def _record(self, record: LogRecord) -> bool:
        found: Found = Counter()
        self._any(record.body, found, 0)
        self._count(found, "body")
        return self._attributes(record.attributes, "attributes", summarize=True) or bool(found)

    def _heads(self, group: ScopeGroup, known: dict[int, _Head]) -> None:
        """Redact what the items of a group have in common; a resource once for all its groups."""
        head = known.get(id(group.parent))
        if id(group.parent) not in known:
            head = known[id(group.parent)] = self._head(ResourceMessage, group.parent.resource, "resource")
            if head is not None:
                group.parent.resource = head[0]
        if head is not None:
            group.rewritten = True
            name = head[1].get("service.name")
            group.resource = replace(
                group.resource,
                attributes=head[1],
                service_name=name[:MAX_NAME_CHARS] if isinstance(name, str) else group.resource.service_name,
            )
        scope = self._head(InstrumentationScope, group.node.scope, "scope")
        if scope is not None:
            group.node.scope, group.rewritten = scope[0], True
            group.scope = replace(group.scope, attributes=scope[1])

    def _head(self, kind: Any, wire: bytes, field: Field) -> _Head:
        """Return a resource or scope without what should not be kept, and its attributes; None where it stays."""
        if len(wire) > MAX_HEAD_BYTES:  # nobody reads it: it may hold anything
            self._counter.add(("key", field, "removed"))
            return b"", {}
        message = kind.FromString(wire)
        if not self._attributes(message.attributes, field):
            return None
        return message.SerializeToString(), attributes_of(message.attributes)

    # -- what is done --

    def _attributes(self, attributes: Any, field: Field, *, summarize: bool = False) -> bool:
        """Redact attributes in place; tell whether any changed."""
        removed: list[str] = []
        masked: list[str] = []
        for place in range(len(attributes) - 1, -1, -1):
            pair = attributes[place]
            key = pair.key
            if key in self._ignored or key.startswith(_OWN) or _matches(self._ignored_patterns, key):
                continue
            if self._allowed is not None and key not in self._allowed and not (field == "resource" and key in _ALWAYS):
                del attributes[place]
                removed.append(key)
                continue
            found: Found = Counter()
            if self._redactor.key_is_blocked(key):
                self._block(pair.value, found)
            else:
                self._any(pair.value, found, 0)
            if found:
                masked.append(key)
                self._count(found, field)
        if removed:
            self._counter.add(("key", field, "removed"), len(removed))
        if summarize and self._config.summary != "silent":
            self._summarize(attributes, removed, masked)
        return bool(removed or masked)

    def _any(self, value: AnyValue, found: Found, depth: int) -> None:
        """Redact a value in place."""
        kind = value.WhichOneof("value")
        if depth > _MAX_DEPTH:
            self._block(value, found)
        elif kind == "string_value":
            text = self._redactor.text(value.string_value, found)
            if text is not value.string_value and text != value.string_value:
                value.string_value = text
        elif kind == "int_value":
            number = self._redactor.number(value.int_value, found)
            if isinstance(number, str):
                value.string_value = number
        elif kind == "bytes_value":
            text = value.bytes_value.decode("utf-8", "replace")
            if self._redactor.text(text, found) != text:
                value.string_value = self._redactor.text(text, Counter())
        elif kind == "array_value":
            for one in value.array_value.values:
                self._any(one, found, depth + 1)
        elif kind == "kvlist_value":
            for pair in value.kvlist_value.values:
                if self._redactor.key_is_blocked(pair.key):
                    self._block(pair.value, found)
                else:
                    self._any(pair.value, found, depth + 1)

    def _block(self, value: AnyValue, found: Found) -> None:
        """Mask a value whatever it is."""
        said = value.string_value if value.WhichOneof("value") == "string_value" else str(value)
        text = self._redactor.blocked(said, found)
        if text != said:
            value.string_value = text

    def _field(self, message: Any, name: str, field: Field) -> bool:
        text = getattr(message, name)
        found: Found = Counter()
        if not text or (changed := self._redactor.text(text, found)) == text:
            return False
        setattr(message, name, changed)
        self._count(found, field)
        return True

    def _count(self, found: Found, field: Field) -> None:
        for entity, count in found.items():
            self._counter.add((entity, field, self._action), count)

    def _summarize(self, attributes: Any, removed: list[str], masked: list[str]) -> None:
        for name, keys in (("redacted", removed), ("masked", masked)):
            if keys:
                if self._config.summary == "debug":
                    attributes.append(key_value(f"{_OWN}{name}.keys", ",".join(sorted(keys))))
                attributes.append(key_value(f"{_OWN}{name}.count", len(keys)))


def _matches(patterns: tuple[re.Pattern[str], ...], key: str) -> bool:
    return any(pattern.search(key[:PIECE]) for pattern in patterns)
