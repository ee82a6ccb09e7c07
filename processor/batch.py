"""One request on its way through a pipeline.

The three OTLP signals have the same shape: resources hold scopes, scopes hold items (spans, log
records, metrics). A request is read in two steps. The *outline* is read first: it stops above the
items and keeps each of them, and each resource and scope, as the bytes that came. Then every item is
read by itself. Three things follow:

* an item that does not decode takes no neighbour with it;
* what nobody changed leaves byte for byte as it came, unknown fields included;
* reading a request of any size can pause between two items, so the event loop is never held up.

A `Batch` has one owner at a time. What leaves the pipeline is a `Delivery`: immutable, shared by all
sinks.
"""

from __future__ import annotations

import functools
import io
import json
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.values import Attributes, Value, attributes_of
from spanledger.processor.component import Rejected
from spanledger.processor.outline_limit import check_parts, has_few_parts, shape_of

if TYPE_CHECKING:
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.span_attributes import Keys
    from spanledger.conventions.step import Bridge, Step
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.outline_limit import Shape

Signal = Literal["traces", "logs", "metrics"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs", "metrics")

PAUSE_EVERY = 8
"""Items handled between two pauses of a long stage: a millisecond or two. A pause costs a look at the clock."""

MAX_ITEM_BYTES = 16 * 1024 * 1024
MAX_ITEM_PARTS: Final[dict[Signal, int]] = {"traces": 50_000, "logs": 50_000, "metrics": 250_000}
"""An item with more bytes or more fields, nested ones included, is passed on unread: reading one hostile item
must not hold up the loop. A metric has many data points."""

MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_PARTS = 4096
"""A resource or scope with more is passed on unread; an attribute has about four parts."""
MAX_HEADS_BYTES = 4 * 1024 * 1024
"""Different resources and scopes of one request that are read: their attributes take thirty times the room."""

MAX_NAME_CHARS = 256
"""Names of services and scopes are cut to this: much is remembered by them."""

_UNCOUNTED_BYTES = 64 * 1024
"""A smaller item cannot have so many parts that it would hold up the loop."""
_BYTES_PER_WORK = 1024

_MEMO_SIZE = 256
_MEMO_MAX_BYTES = 4096


def _outline_class() -> Any:
    """Build the message type of an outline: OTLP's three levels, everything below kept as bytes."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="spanledger/outline.proto", package="spanledger", syntax="proto2")

    def message(name: str, *fields: tuple[str, int, bool, str]) -> None:
        made = file.message_type.add(name=name)
        for field_name, number, repeated, type_name in fields:
            made.field.add(
                name=field_name,
                number=number,
                label=types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL,
                type=types.TYPE_MESSAGE if type_name else types.TYPE_BYTES,
                type_name=type_name or None,
            )

    message("Scope", ("scope", 1, False, ""), ("items", 2, True, ""), ("schema_url", 3, False, ""))
    message(
        "Resource",
        ("resource", 1, False, ""),
        ("scopes", 2, True, ".spanledger.Scope"),
        ("schema_url", 3, False, ""),
    )
    message("Request", ("resources", 1, True, ".spanledger.Resource"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spanledger.Request"))


Outline = _outline_class()


@dataclass(frozen=True, slots=True)
class Resource:
    """Who sent it. Shared between batches: never change it."""

    attributes: Attributes
    service_name: str
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which instrumentation made it. Shared between batches: never change it."""

    name: str
    version: str
    attributes: Attributes = field(default_factory=dict)
    schema_url: str = ""


@dataclass(slots=True)
class ScopeGroup:
    """The items of one scope of one resource, in the order they came."""

    resource: Resource
    scope: Scope
    items: list[Any]
    """Decoded items: `Span`, `LogRecord` or `Metric`; None where an item was too large to read."""
    raw: list[bytes]
    """`raw[i]` is item i as it came."""
    changed: set[int]
    """Indexes of the items whose message was edited and must be serialised anew."""
    readings: list[Reading | None]
    """Traces: what genai_normalizer read on each span; None for spans that no dialect claims."""
    node: Any
    """The group in the outline; `Batch.serialize` takes it apart."""
    parent: Any
    """The resource in the outline, which it has in common with its other groups."""
    schema_url: str | None = None
    """Set to replace the scope's schema URL."""
    rewritten: bool = False
    """The resource or the scope was edited, in `parent` or `node`, and so the request is written anew."""
    keys: dict[int, Keys] = field(default_factory=dict)
    """Traces: by index the keys, as they came, of spans that genai_normalizer found to be no GenAI work."""

    def like(self, scope: str) -> ScopeGroup:
        """Return an empty group of the same resource, and of the scope of that name, that is not sent on."""
        known = self.scope if scope == self.scope.name else Scope(scope, self.scope.version)
        return ScopeGroup(self.resource, known, [], [], set(), [], None, None)

    def keep(self, kept: Sequence[int]) -> None:
        """Leave out all items but those at these indexes, which are in order."""
        self.items[:] = [self.items[index] for index in kept]
        self.raw[:] = [self.raw[index] for index in kept]
        self.readings[:] = [self.readings[index] for index in kept]
        self.changed = {at for at, index in enumerate(kept) if index in self.changed}
        self.keys = {at: self.keys[index] for at, index in enumerate(kept) if index in self.keys}

    def add(self, item: Any, reading: Reading) -> None:
        """Add an item that did not come as such."""
        self.items.append(item)
        self.raw.append(b"")
        self.readings.append(reading)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a pipeline hands to its sinks: made once, shared by all, never changed."""

    signal: Signal
    data: bytes
    """A serialised `Export<Signal>ServiceRequest`."""
    items: int
    """Spans, log records or data points in `data`."""
    received_ns: int
    steps: tuple[Step, ...] = ()
    """One for each GenAI span, or for each log record that stands for one."""
    bridges: tuple[Bridge, ...] = ()
    """Traces: one for each other span, so that parent links stay whole."""
    resources: int = 0
    """Resources in `data`, for those who tell what arrives."""
    judgements: tuple[Judgement, ...] = ()
    """Traces: what spans that are no GenAI work say of others."""

    @property
    def size(self) -> int:
        """Bytes of `data`."""
        return len(self.data)


class Pace:
    """Says when a long stage should pause: every `PAUSE_EVERY` items, sooner when they are large."""

    __slots__ = ("_work",)

    def __init__(self) -> None:
        self._work = 0

    def due(self, size_bytes: int) -> bool:
        """Count one item of `size_bytes` and tell whether it is time."""
        self._work += 1 + size_bytes // _BYTES_PER_WORK
        if self._work < PAUSE_EVERY:
            return False
        self._work = 0
        return True


@dataclass(slots=True)
class Batch:
    """A decoded request; see the module docstring."""

    signal: Signal
    wire: bytes
    received_ns: int
    groups: list[ScopeGroup]
    outline: Any
    rejected: Counter[str] = field(default_factory=Counter)
    """Items left out, by reason; the receiver answers them as partial success."""
    transport: str = ""
    """`grpc`, `http`: the label of the receiver's own counters."""
    count: int = 0
    """Spans, log records or data points in `groups`: whoever takes items out subtracts them."""
    unread_heads: int = 0
    """Resources and scopes that were passed on unread."""
    reports: list[ScopeGroup] = field(default_factory=list)
    """Logs: the spans that records stand for, as genai_normalizer found them. They are not sent on."""

    @property
    def work(self) -> list[ScopeGroup]:
        """The spans of the batch: its own, or those that its log records stand for."""
        return self.groups if self.signal == "traces" else self.reports

    def items(self) -> int:
        """Return the number of spans, log records or data points in the batch."""
        return self.count

    def reject(self, reason: str, count: int = 1) -> None:
        """Count items that were left out; `reason` is for people and must hold nothing secret."""
        self.rejected[reason] += count

    def partial_success(self) -> tuple[int, str]:
        """Return (items rejected, why) for the answer to the client; (0, "") when all were taken."""
        total = sum(self.rejected.values())
        shown = self.rejected.most_common(5)
        why = "; ".join(f"{count} x {reason}" for reason, count in shown)
        return total, why + ("; ..." if len(self.rejected) > len(shown) else "")

    def discard(self) -> Generator[None, None, None]:
        """Give the items up, some at a time: freeing all messages of a large request at once takes 40 ms."""
        pace = Pace()
        for group in self.groups:
            while group.items:
                group.items.pop()
                group.readings.pop()
                if pace.due(len(group.raw.pop())):
                    yield

    def serialize(self) -> Generator[None, None, bytes]:
        """Return the batch as one OTLP request. Without changes these are the bytes that came.

        Call it once: it takes the outline apart. Written by hand, because protobuf would take 80 ms for 40 MB.
        """
        for group in self.groups:
            if group.schema_url is not None:
                group.node.schema_url = group.schema_url.encode()
        edited = any(group.changed or group.rewritten or group.schema_url is not None for group in self.groups)
        if not self.rejected and not edited:
            return self.wire
        parts: list[bytes] = []
        for _, groups in groupby(self.groups, lambda group: id(group.parent)):
            scopes: list[bytes] = []
            for group in groups:
                parent = group.parent
                scopes += _delimited(_SCOPE_KEY, (yield from _group_parts(group)))
            # What is left is the resource itself, and fields of the future.
            del parent.scopes[:]
            parts += _delimited(_RESOURCE_KEY, [parent.SerializeToString(), *scopes])
        del self.outline.resources[:]
        parts.append(self.outline.SerializeToString())
        out = io.BytesIO()
        pace = Pace()
        for part in parts:
            out.write(part)
            if pace.due(len(part)):
                yield
        return out.getvalue()


_RESOURCE_KEY: Final = b"\x0a"
_SCOPE_KEY: Final = b"\x12"
_ITEM_KEY: Final = b"\x12"


def _group_parts(group: ScopeGroup) -> Generator[None, None, list[bytes]]:
    """Return what the group is on the wire, items that nobody changed as they came."""
    node, changed, raw = group.node, group.changed, group.raw
    del node.items[:]
    parts = [node.SerializeToString()]
    piece: list[bytes] = []
    pace = Pace()
    for index, wire in enumerate(raw):
        if index in changed:
            wire = group.items[index].SerializeToString()  # noqa: PLW2901
        piece += (_ITEM_KEY, _size(len(wire)), wire)
        if pace.due(len(wire)):
            parts.append(b"".join(piece))
            piece.clear()
            yield
    parts.append(b"".join(piece))
    return parts


def _delimited(key: bytes, parts: list[bytes]) -> list[bytes]:
    return [key, _size(sum(map(len, parts))), *parts]


def _size(value: int) -> bytes:
    """Return a length in base 128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ITEM: Final[dict[Signal, type[Message]]] = {"traces": Span, "logs": LogRecord, "metrics": Metric}
_SHAPE: Final = {signal: shape_of(message) for signal, message in _ITEM.items()}
_SERVICE: Final[dict[Signal, str]] = {"traces": "Trace", "logs": "Logs", "metrics": "Metrics"}
_NOUN: Final[dict[Signal, str]] = {"traces": "span", "logs": "log record", "metrics": "metric"}
_OTHER_FORMATS: Final = {
    b"{": "it begins like JSON, which is sent as application/json",
    b"\x1f\x8b": "it begins like gzip, which is sent with Content-Encoding: gzip",
}


def decode(signal: Signal, wire: bytes, received_ns: int) -> Generator[None, None, Batch]:
    """Read a serialised `Export<Signal>ServiceRequest`.

    Yields between items; the result is the generator's return value. Items that do not decode or have
    impossible ids are left out and counted in `Batch.rejected`. Raises `Rejected` when not even the
    outline decodes.
    """
    yield from check_parts(wire)
    outline = Outline()
    try:
        outline.ParseFromString(wire)
    except DecodeError as error:
        # Protobuf's own text would name `Outline`, which nobody who sends knows.
        advice = next((f": {what}" for head, what in _OTHER_FORMATS.items() if wire.startswith(head)), "")
        raise Rejected(f"the body is not a protobuf Export{_SERVICE[signal]}ServiceRequest{advice}") from error
    batch = Batch(signal, wire, received_ns, [], outline)
    resources = _Heads(_RESOURCE_SHAPE, _resource, lambda wire: Resource({}, _service_name(wire)))
    scopes = _Heads(_SCOPE_SHAPE, _scope, lambda _wire: Scope("", ""))
    for resource_node in outline.resources:
        resource = resources.get(resource_node.resource, resource_node.schema_url)
        for scope_node in resource_node.scopes:
            scope = scopes.get(scope_node.scope, scope_node.schema_url)
            yield from _read_group(batch, resource, scope, scope_node, resource_node)
        yield
    batch.unread_heads = resources.unread + scopes.unread
    return batch


def _read_group(
    batch: Batch, resource: Resource | None, scope: Scope | None, node: Any, parent: Any
) -> Generator[None, None, None]:
    yield
    signal = batch.signal
    noun = _NOUN[signal]
    if resource is None or scope is None:
        what = "resource" if resource is None else "scope"
        batch.reject(f"{noun} under a {what} that does not decode", len(node.items))
        return
    parse = _ITEM[signal].FromString
    check = _CHECK[signal]
    items: list[Any] = []
    kept: list[bytes] = []
    pace = Pace()
    for wire in node.items:
        if pace.due(len(wire)):
            yield
        item: Any = None
        if len(wire) <= _UNCOUNTED_BYTES or (yield from is_readable(signal, wire)):
            try:
                item = parse(wire)
            except DecodeError:
                batch.reject(f"{noun} that does not decode (bad UTF-8, wrong types or nested too deep)")
                continue
            if (problem := check(item)) is not None:
                batch.reject(problem)
                continue
        items.append(item)
        kept.append(wire)
        batch.count += data_points(item) if signal == "metrics" else 1
    batch.groups.append(ScopeGroup(resource, scope, items, kept, set(), [None] * len(items), node, parent))


def is_readable(signal: Signal, wire: bytes) -> Generator[None, None, bool]:
    """Tell whether an item may be read; see `MAX_ITEM_PARTS`."""
    if len(wire) > MAX_ITEM_BYTES:
        return False
    return (yield from has_few_parts(wire, _SHAPE[signal], MAX_ITEM_PARTS[signal]))


def _check_span(span: Span) -> str | None:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return f"span with a trace id of {len(span.trace_id)} bytes, 16 not all zero are needed"
    if len(span.span_id) != 8 or not any(span.span_id):
        return f"span with a span id of {len(span.span_id)} bytes, 8 not all zero are needed"
    if span.parent_span_id and len(span.parent_span_id) != 8:
        return f"span with a parent span id of {len(span.parent_span_id)} bytes, 8 or none are needed"
    return None


def _check_log_record(record: LogRecord) -> str | None:
    if record.trace_id and len(record.trace_id) != 16:
        return f"log record with a trace id of {len(record.trace_id)} bytes, 16 or none are needed"
    if record.span_id and len(record.span_id) != 8:
        return f"log record with a span id of {len(record.span_id)} bytes, 8 or none are needed"
    return None


_CHECK: Final[dict[Signal, Callable[[Any], str | None]]] = {
    "traces": _check_span,
    "logs": _check_log_record,
    "metrics": lambda _metric: None,
}


def data_points(metric: Metric | None) -> int:
    """Return the number of data points of one metric; a metric too large to read counts as one."""
    kind = metric.WhichOneof("data") if metric is not None else None
    return len(getattr(metric, kind).data_points) if kind else 1


_K = TypeVar("_K")


def _memo(read: Callable[[bytes, bytes], _K]) -> Callable[[bytes, bytes], _K]:
    """Remember recent results: a process sends the same resource and scopes with each request."""
    remembered = functools.lru_cache(_MEMO_SIZE)(read)

    def look_up(wire: bytes, schema_url: bytes) -> _K:
        small = len(wire) + len(schema_url) <= _MEMO_MAX_BYTES
        return remembered(wire, schema_url) if small else read(wire, schema_url)

    return look_up


@_memo
def _resource(wire: bytes, schema_url: bytes) -> Resource | None:
    try:
        message = ResourceMessage.FromString(wire)
    except DecodeError:
        return None
    attributes = attributes_of(message.attributes)
    return Resource(attributes, _name(attributes.get("service.name")), schema_url.decode(errors="replace"))


@_memo
def _scope(wire: bytes, schema_url: bytes) -> Scope | None:
    try:
        message = InstrumentationScope.FromString(wire)
    except DecodeError:
        return None
    return Scope(
        _name(message.name),
        _name(message.version),
        attributes_of(message.attributes),
        schema_url.decode(errors="replace"),
    )


_RESOURCE_SHAPE: Final = shape_of(ResourceMessage)
_SCOPE_SHAPE: Final = shape_of(InstrumentationScope)
_SERVICE_NAME: Final = b"\x0a\x0cservice.name\x12"
"""The attribute on the wire, up to the length of its value."""


class _Heads(Generic[_K]):
    """The resources, or the scopes, of one request: equal ones are read once, and all within limits."""

    def __init__(self, shape: Shape, read: Callable[[bytes, bytes], _K | None], unread: Callable[[bytes], _K]) -> None:
        self.unread = 0
        self._shape = shape
        self._read = read
        self._make_unread = unread
        self._left_bytes = MAX_HEADS_BYTES
        self._known: dict[tuple[bytes, bytes], _K | None] = {}

    def get(self, wire: bytes, schema_url: bytes) -> _K | None:
        """Return one; None when it does not decode."""
        size = len(wire) + len(schema_url)
        key = (wire, schema_url)
        if size <= MAX_HEAD_BYTES and key in self._known:
            return self._known[key]
        if size > min(MAX_HEAD_BYTES, self._left_bytes) or (
            size > _MEMO_MAX_BYTES and not finish(has_few_parts(wire, self._shape, MAX_HEAD_PARTS))
        ):
            self.unread += 1
            return self._make_unread(wire)
        self._left_bytes -= size
        read = self._known[key] = self._read(wire, schema_url)
        return read


def _name(value: Value) -> str:
    """Return what stands for a name; a number is one too."""
    if isinstance(value, str):
        return value[:MAX_NAME_CHARS]
    return json.dumps(value) if isinstance(value, int | float) else ""


def _service_name(wire: bytes) -> str:
    """Return the service's name in a resource that is not read, when it is easy to find."""
    start = wire.find(_SERVICE_NAME, 0, MAX_HEAD_BYTES) + len(_SERVICE_NAME)
    if start < len(_SERVICE_NAME):
        return ""
    size = int.from_bytes(wire[start : start + 1])
    try:
        return AnyValue.FromString(wire[start + 1 : start + 1 + size]).string_value if size < 0x80 else ""
    except DecodeError:
        return ""


def finish(work: Generator[None, None, _K]) -> _K:
    """Run a generator stage to its end without pausing and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: _K = done.value
            return result


def split(delivery: Delivery) -> tuple[Delivery, Delivery] | None:
    """Halve a delivery by items, for a peer that takes only smaller messages; None if it has just one.

    The halves carry no steps: what they say was counted when the whole was committed.
    """
    outline = Outline.FromString(delivery.data)
    nodes = [scope for resource in outline.resources for scope in resource.scopes]
    total = sum(len(node.items) for node in nodes)
    if total < 2:
        return None
    second = Outline.FromString(delivery.data)
    _keep(outline, range(total // 2))
    _keep(second, range(total // 2, total))
    return _part(delivery, outline), _part(delivery, second)


def _keep(outline: Any, wanted: range) -> None:
    position = 0
    for resource in outline.resources:
        for scope in resource.scopes:
            items = list(scope.items)
            del scope.items[:]
            scope.items.extend(item for offset, item in enumerate(items, position) if offset in wanted)
            position += len(items)
        kept = [scope for scope in resource.scopes if scope.items]
        del resource.scopes[:]
        resource.scopes.extend(kept)
    kept_resources = [resource for resource in outline.resources if resource.scopes]
    del outline.resources[:]
    outline.resources.extend(kept_resources)


def _part(whole: Delivery, outline: Any) -> Delivery:
    data = outline.SerializeToString()
    return Delivery(whole.signal, data, count_items(whole.signal, outline), whole.received_ns)


def _metric(wire: bytes) -> Metric | None:
    # As `decode` does: what was too large to read then was never checked, and may not decode.
    return Metric.FromString(wire) if finish(is_readable("metrics", wire)) else None


def count_items(signal: Signal, outline: Any) -> int:
    """Return the spans, log records or data points below an outline."""
    scopes = [scope for resource in outline.resources for scope in resource.scopes]
    if signal == "metrics":
        return sum(data_points(_metric(item)) for scope in scopes for item in scope.items)
    return sum(len(scope.items) for scope in scopes)
