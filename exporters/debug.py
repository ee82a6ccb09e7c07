"""Telemetry in the log, for people who look for what arrives.

The one exporter that shows attribute values: everything of others is escaped, shortened and capped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from spanledger.exporters.otlp_json import ITEM, readable
from spanledger.exporters.text import printable
from spanledger.processor.batch import SIGNALS, Outline
from spanledger.processor.component import ComponentConfig, Host, Passive, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from spanledger.processor.batch import Delivery, Signal

MAX_ITEMS: Final = 50
"""Items shown of one request; the rest is only counted, so that a large one does not hold up the loop."""
MAX_LINES: Final = 2000
_MAX_ITEM_BYTES: Final = 1024 * 1024
_MAX_ATTRIBUTES: Final = 64
_NOUN: Final[dict[Signal, str]] = {"traces": "spans", "logs": "log records", "metrics": "data points"}

_Count = Annotated[int, pydantic.Field(ge=0)]


class DebugConfig(ComponentConfig):
    """What to show; keys of the Collector's debug exporter."""

    verbosity: Literal["basic", "normal", "detailed"] = "basic"
    """`basic`: counts. `normal`: a line for each item. `detailed`: all of it."""
    sampling_initial: _Count = 2
    """Requests shown in each second before sampling begins."""
    sampling_thereafter: _Count = 1
    """After those, every n-th request is shown; 1 shows all, 0 none."""
    use_internal_logger: bool = True
    """Write to the log; otherwise to standard output."""


class Sampler:
    """Lets the first `initial` of each second through, then every `thereafter`-th."""

    def __init__(self, initial: int, thereafter: int) -> None:
        self._initial = initial
        self._thereafter = thereafter
        self._second = float("-inf")
        self._seen = 0

    def admits(self, now: float) -> bool:
        """Count one more at `now` (seconds) and tell whether to show it."""
        if now - self._second >= 1:
            self._second, self._seen = now, 0
        self._seen += 1
        beyond = self._seen - self._initial
        return beyond <= 0 or (self._thereafter > 0 and beyond % self._thereafter == 0)


@register("exporter", "debug", config=DebugConfig, signals=SIGNALS, stability="beta")
class DebugExporter(Passive):
    """Writes what arrives to the log."""

    def __init__(self, config: DebugConfig, host: Host) -> None:
        self._host = host
        self._verbosity = config.verbosity
        self._sampler = Sampler(config.sampling_initial, config.sampling_thereafter)
        self._write: Callable[[str], None] = _to_log(host) if config.use_internal_logger else _to_stdout
        self._shown = 0
        self._held_back = 0

    def reserve(self, delivery: Delivery) -> None:
        """Take anything: nothing waits here."""

    def release(self, delivery: Delivery) -> None:
        """Do nothing."""

    def commit(self, delivery: Delivery) -> None:
        """Show `delivery`, at once."""
        if not self._sampler.admits(self._host.monotonic()):
            self._held_back += 1
            return
        self._shown += 1
        try:
            self._write("\n".join(render(delivery, self._verbosity)))
        except (OSError, ValueError) as error:
            # Standard output is closed or full; the pipeline goes on.
            self._host.report("recoverable_error", f"cannot write: {error}")

    def statistics(self) -> Mapping[str, Any]:
        """Return the requests shown and those that sampling held back."""
        return {"shown": self._shown, "held_back": self._held_back}


def _to_log(host: Host) -> Callable[[str], None]:
    return lambda text: host.log.info("%s", text)


def _to_stdout(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def render(delivery: Delivery, verbosity: str) -> list[str]:
    """Return the lines that show `delivery`."""
    count = f"{delivery.items} {_NOUN[delivery.signal]} of {delivery.resources} resources"
    lines = [f"{delivery.signal}: {count}, {len(delivery.data)} bytes"]
    if verbosity != "basic":
        outline = Outline.FromString(delivery.data)
        body = _normal(delivery.signal, outline) if verbosity == "normal" else _detailed(delivery.signal, outline)
        for line in body:
            if len(lines) > MAX_LINES:
                lines.append("  … cut: more lines than are shown")
                break
            lines.append(line)
    return lines


def _items(signal: Signal, scope: Any, shown: list[int]) -> Iterator[dict[str, Any] | str]:
    """Yield the items of a scope as JSON objects, or a remark in place of those not shown."""
    for number, wire in enumerate(scope.items):
        if shown[0] >= MAX_ITEMS:
            yield f"… {len(scope.items) - number} more"
            return
        shown[0] += 1
        item = readable(ITEM[signal], wire) if len(wire) <= _MAX_ITEM_BYTES else None
        yield item if item is not None else f"… an item of {len(wire)} bytes, not read"


def _normal(signal: Signal, outline: Any) -> Iterator[str]:
    shown = [0]
    for resource in outline.resources:
        for scope in resource.scopes:
            for item in _items(signal, scope, shown):
                yield "  " + (item if isinstance(item, str) else _ONE_LINE[signal](item))


def _span(span: Mapping[str, Any]) -> str:
    ids = f"{span.get('traceId', '')} {span.get('spanId', '')}"
    status = " ERROR" if span.get("status", {}).get("code") == 2 else ""
    return f"{printable(span.get('name', ''))} {ids}{status} {_attributes(span)}"


def _record(record: Mapping[str, Any]) -> str:
    name = record.get("eventName") or record.get("severityText") or "-"
    return f"{printable(name)} {printable(_value(record.get('body', {})))} {_attributes(record)}"


def _metric(metric: Mapping[str, Any]) -> str:
    unit = metric.get("unit", "")
    kind = next((k for k in ("gauge", "sum", "histogram", "exponentialHistogram", "summary") if k in metric), "empty")
    points = metric.get(kind, {}).get("dataPoints", [])
    shown = "; ".join(f"{_attributes(point)} {_point(point)}".strip() for point in points[:5])
    more = f"; … {len(points) - 5} more" if len(points) > 5 else ""
    return f"{printable(metric.get('name', ''))} {printable(unit)} {kind} [{shown}{more}]"


_ONE_LINE: Final[dict[Signal, Callable[[Mapping[str, Any]], str]]] = {
    "traces": _span,
    "logs": _record,
    "metrics": _metric,
}


def _point(point: Mapping[str, Any]) -> str:
    if "count" in point:
        return f"count={point['count']} sum={point.get('sum', 0)}"
    return str(point.get("asInt", point.get("asDouble", "")))


def _attributes(item: Mapping[str, Any]) -> str:
    pairs = item.get("attributes", [])
    shown = " ".join(
        f"{printable(pair.get('key', ''), 100)}={printable(_value(pair.get('value', {})))}"
        for pair in pairs[:_MAX_ATTRIBUTES]
    )
    return shown + (f" … {len(pairs) - _MAX_ATTRIBUTES} more" if len(pairs) > _MAX_ATTRIBUTES else "")


def _value(value: Mapping[str, Any]) -> str:
    """Return an AnyValue's JSON object as text."""
    inner = next(iter(value.values()), "")
    return inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)


def _detailed(signal: Signal, outline: Any) -> Iterator[str]:
    shown = [0]
    for resource in outline.resources:
        yield "  resource " + _compact(readable(Resource, resource.resource))
        for scope in resource.scopes:
            yield "  scope " + _compact(readable(InstrumentationScope, scope.scope))
            for item in _items(signal, scope, shown):
                text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, indent=2)
                # JSON escapes line breaks itself: each line here is one of ours.
                yield from ("    " + printable(line, 1000) for line in text.split("\n"))


def _compact(item: Mapping[str, Any] | None) -> str:
    return printable(json.dumps(item or {}, ensure_ascii=False), 1000)
