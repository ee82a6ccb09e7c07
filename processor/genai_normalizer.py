"""Makes spans of every GenAI dialect say the same things in the same words.

Log records that report work, as those of coding agents do, are read as the spans that they stand for
(`spanledger.conventions.log_reports`); they themselves pass unchanged.

What a span says is decided by `spanledger.conventions` (pure); this stage applies it: it leaves a `Reading`
for each GenAI span in the batch and writes the edits into the span. Spans of no dialect are not touched.

Originals stay unless `remove_originals` is set, and what is overwritten is kept under
`spanledger.original.<name>`. So the scope's schema URL stays true for what the instrumentation wrote, and is left
alone; with `overwrite_schema_url` it is replaced where something was written, for backends that migrate
attributes by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

import pydantic

from spanledger.conventions.dialect import FINISH_REASONS, PROVIDER, REQUEST_MODEL, Dialect
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lending import Lending
from spanledger.conventions.log_reports import LogReports
from spanledger.conventions.lookup import DIALECT, ORIGINAL, Tuning
from spanledger.conventions.profile import PROFILES, ProfileName
from spanledger.conventions.providers import provider_of_model
from spanledger.conventions.reader import Reader
from spanledger.conventions.running_totals import RunningTotals, Told
from spanledger.conventions.span_attributes import SpanAttributes
from spanledger.conventions.values import Value, any_value
from spanledger.processor.batch import PAUSE_EVERY
from spanledger.processor.component import ComponentConfig, Host, Passive, Settings, register

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.log_reports import Report
    from spanledger.conventions.reading import Reading
    from spanledger.processor.batch import Batch, ScopeGroup

MAX_ATTRIBUTES: Final = 1024
"""A span with more is passed on unread; the SDKs' own limit is 128."""

BYTES_PER_WORK: Final = 4096
"""A span that is larger counts as several towards the next pause."""

LOG_INTERVAL_S: Final = 60.0

_INPUT: Final = "gen_ai.usage.input_tokens"
_OUTPUT: Final = "gen_ai.usage.output_tokens"
_TOTAL: Final = "gen_ai.usage.total_tokens"
_ASKS: Final = re.compile(r"tool|function|none", re.IGNORECASE)
"""In why a model stopped: it asked for a tool, or nobody knows. Gemini and Ollama say `stop` then, too."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,62}")


class SourceConfig(Settings):
    """One dialect: a built-in one to tune, or your own under any other name."""

    name: str
    """`otel`, `openinference`, `openllmetry`, ... or the name of your own, which becomes `spanledger.dialect`."""
    remove_originals: bool | None = None
    """Delete attributes whose fact now stands under its current name; not set: as at the top."""
    overwrite: bool = False
    """Prefer this dialect's attributes to current ones that are present too."""
    mappings: dict[str, str] = pydantic.Field(default_factory=dict)
    """Attribute -> the attribute of the conventions that it is."""
    value_mappings: dict[str, dict[str, str]] = pydantic.Field(default_factory=dict)
    """Attribute of the conventions -> value -> value it stands for."""
    scopes: list[str] = pydantic.Field(default_factory=list)
    """Own dialects: prefixes of the instrumentation scopes that speak it."""
    evidence: list[str] = pydantic.Field(default_factory=list)
    """Own dialects: attributes that show it, or prefixes ending in a dot; by default those in `mappings`."""

    @pydantic.model_validator(mode="after")
    def _own_or_built_in(self) -> SourceConfig:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a dialect: lower case letters, digits and _.-, at most 63")
        built_in = any(dialect.name == self.name for dialect in DIALECTS)
        if built_in and (self.scopes or self.evidence):
            raise ValueError(f"{self.name} is built in: scopes and evidence are for dialects of your own")
        if not built_in and not self.mappings:
            known = ", ".join(dialect.name for dialect in DIALECTS)
            raise ValueError(f"{self.name} is none of the built-in dialects ({known}), so it needs mappings")
        return self


class GenaiNormalizerConfig(ComponentConfig):
    """Keys of the Collector's gen_ai_normalizer, and some more. Without any, all dialects are read."""

    semconv: Literal["latest", "1.41", "1.36"] = "latest"
    """Version of the OTel GenAI conventions to write: `latest` (2026-10-09), `1.41` or `1.36`."""
    overwrite_schema_url: bool = False
    """Replace the schema URL of scopes where something was written by that of the chosen version."""
    remove_originals: bool = False
    """Delete attributes of dialects whose fact now stands under its current name."""
    rewrite_span_names: bool = False
    """Rename spans as the conventions say (`chat gpt-4o`); the old name is kept as an attribute."""
    content: bool = True
    """Write prompts, answers and tool input as the messages of the conventions, where a span holds them."""
    sources: list[SourceConfig] = pydantic.Field(default_factory=list)
    """Dialects to tune, and your own."""

    @pydantic.field_validator("sources")
    @classmethod
    def _once_each(cls, sources: list[SourceConfig]) -> list[SourceConfig]:
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"source {name} is listed twice")
        return sources


@register("processor", "genai_normalizer", config=GenaiNormalizerConfig, signals=("traces", "logs"))
class GenaiNormalizer(Passive):
    """Normalises the GenAI spans of all instrumentations to the OTel GenAI conventions."""

    def __init__(self, config: GenaiNormalizerConfig, host: Host) -> None:
        self._config = config
        self._host = host
        self._reader = reader_of(config)
        self._unread = host.metrics.counter("spanledger_unread_spans_total")
        self._errors = host.metrics.counter("spanledger_normalizer_errors_total")
        # A call's record may come through another pipeline than that of the turn it belongs to.
        self._reports: LogReports = host.shared(lambda: LogReports(DIALECTS))
        self._lends = {dialect.name: dialect.lends for dialect in DIALECTS if dialect.lends}
        self._lending = Lending()
        self._accumulates = {dialect.name: dialect.accumulates for dialect in DIALECTS if dialect.accumulates}
        self._evidence = {dialect.name: dialect.evidence for dialect in DIALECTS}
        self._totals = RunningTotals()
        self._reported = host.metrics.counter("spanledger_log_reports_total")
        self._unread_records = host.metrics.counter("spanledger_unread_log_records_total")
        self._log_after = float("-inf")

    def statistics(self) -> Mapping[str, Any]:
        """Return the sizes of what is remembered."""
        return self._reader.statistics()

    def process(self, batch: Batch) -> Iterator[None]:
        """Read and edit every span, or read what log records report; pauses between items of long batches."""
        if batch.signal == "logs":
            yield from self._read_reports(batch)
            return
        work = 0
        accumulating: list[ScopeGroup] = []
        for group in batch.groups:
            written = False
            for index, span in enumerate(group.items):
                work += 1 + len(group.raw[index]) // BYTES_PER_WORK
                if work >= PAUSE_EVERY:
                    work = 0
                    yield
                if self._normalize(group, index, span):
                    written = True
            dialect = self._reader.dialect_of(group.scope.name) or ""
            if dialect in self._lends:
                self._lend(group)
            if dialect in self._accumulates and group.scope.version.startswith(self._accumulates[dialect]):
                accumulating.append(group)
            if written and self._config.overwrite_schema_url:
                url = self._reader.profile.schema_url
                group.schema_url = url if url != group.scope.schema_url else group.schema_url
        if accumulating:
            self._take_apart(accumulating)

    def _lend(self, group: ScopeGroup) -> None:
        """Give calls that name no model that of the spans around them."""
        lends = self._lends[self._reader.dialect_of(group.scope.name) or ""]
        wanting = [
            at
            for at, reading in enumerate(group.readings)
            if reading is not None and reading.kind == "llm" and reading.usage is not None and reading.model is None
        ]
        for at, model in self._lending.models(group.items, lends, wanting).items():
            reading = group.readings[at]
            assert reading is not None
            reading.request_model = model
            reading.provider = reading.provider or provider_of_model(model)
            for key, value in ((REQUEST_MODEL, model), (PROVIDER, reading.provider)):
                if value is not None and key not in reading.attributes and key not in reading.edits:
                    reading.edits[key] = value
                    put(group.items[at].attributes.add(key=key).value, value)
                    group.changed.add(at)

    def _take_apart(self, groups: Sequence[ScopeGroup]) -> None:
        """Give calls that tell a running total the tokens that are their own."""
        steps = [
            (group, at, span, reading)
            for group in groups
            for at, (span, reading) in enumerate(zip(group.items, group.readings, strict=True))
            if reading is not None
            and (reading.kind == "tool" or (reading.kind == "llm" and reading.usage is not None))
            # Others write under such a scope, too; and a sidecar before this one may have done it.
            and DIALECT not in reading.attributes
            and self._shows(reading)
        ]
        told = [
            Told(span, reading.usage if reading.kind == "llm" else None, _may_ask(reading))
            for _, _, span, reading in steps
        ]
        for number, usage in self._totals.own(told).items():
            group, at, span, reading = steps[number]
            reading.usage = usage
            group.changed.add(at)
            present = {pair.key: pair.value for pair in span.attributes}
            total = None if usage.input is None or usage.output is None else usage.input + usage.output
            for key, value in ((_INPUT, usage.input), (_OUTPUT, usage.output), (_TOTAL, total)):
                if key in present and value is not None:
                    if ORIGINAL + key not in present:
                        span.attributes.add(key=ORIGINAL + key).value.CopyFrom(present[key])
                    put(present[key], value)

    def _shows(self, reading: Reading) -> bool:
        """Tell whether a span has an attribute that only its dialect writes."""
        evidence = self._evidence.get(reading.dialect, ())
        return any(key.startswith(evidence) for key in reading.attributes)

    def _read_reports(self, batch: Batch) -> Iterator[None]:
        """Leave the spans that log records stand for in `batch.reports`. The records stay as they are."""
        work = 0
        for group in batch.groups:
            spoken = self._reader.dialect_of(group.scope.name)
            made: dict[str, ScopeGroup] = {}
            for raw, record in zip(group.raw, group.items, strict=True):
                work += 1 + len(raw) // BYTES_PER_WORK
                if work >= PAUSE_EVERY:
                    work = 0
                    yield
                found = self._report_of(group, record, spoken)
                if found is None:
                    continue
                held = made.get(found.scope)
                if held is None:
                    held = made[found.scope] = group.like(found.scope)
                    batch.reports.append(held)
                if (reading := self._read(held, len(held.items), found.span)) is not None:
                    reading.turn = found.turn
                    held.add(found.span, reading)
                    self._reported.add((reading.dialect, reading.kind))

    def _report_of(self, group: ScopeGroup, record: LogRecord | None, spoken: str | None) -> Report | None:
        """Return what a log record reports, if it does."""
        if record is None:
            self._unread_records.add(("oversized",))
            return None
        if len(record.attributes) > MAX_ATTRIBUTES:
            self._unread_records.add(("too_many_attributes",))
            return None
        try:
            return self._reports.read(record, group.scope.name, spoken, group.resource.service_name)
        except Exception as error:  # noqa: BLE001 - as below
            self._unread_records.add(("error",))
            self._report(group.scope.name, error)
            return None

    def _normalize(self, group: ScopeGroup, index: int, span: Span | None) -> bool:
        """Read one span and write the edits; tell whether it changed."""
        if span is None:
            self._unread.add(("oversized",))
            return False
        if len(span.attributes) > MAX_ATTRIBUTES:
            self._unread.add(("too_many_attributes",))
            return False
        reading = self._read(group, index, span)
        if reading is None:
            return False
        group.readings[index] = reading
        changed = apply(span, reading)
        if self._config.rewrite_span_names and rename(span, reading):
            changed = True
        if changed:
            group.changed.add(index)
        return changed

    def _read(self, group: ScopeGroup, index: int, span: Span) -> Reading | None:
        """Read one span. A fault of ours costs its content, or else its reading, never the span."""
        scope = group.scope
        for content in (True, False):
            try:
                shape, pairs = self._reader.look(scope.name, scope.version, span)
                reading = self._reader.read_as(scope.name, scope.version, span, shape, pairs, content=content)
                if reading is None:
                    group.keys[index] = shape.common
                return reading
            except Exception as error:  # noqa: BLE001 - counted and named below; data must not stop a request
                self._report(scope.name, error)
        self._unread.add(("error",))
        return None

    def _report(self, scope: str, error: Exception) -> None:
        self._errors.add((self._reader.dialect_of(scope) or "unknown",))
        now = self._host.monotonic()
        if now >= self._log_after:
            self._log_after = now + LOG_INTERVAL_S
            # The type and place only: messages of parsers quote the data.
            self._host.log.warning("a span of scope %.100s was not read: %s", scope, type(error).__name__)


def reader_of(config: GenaiNormalizerConfig) -> Reader:
    """Compile the dialects as configured."""
    dialects = list(DIALECTS)
    tunings = {dialect.name: Tuning(remove_originals=config.remove_originals) for dialect in DIALECTS}
    for source in config.sources:
        remove = config.remove_originals if source.remove_originals is None else source.remove_originals
        tunings[source.name] = Tuning(remove, source.overwrite, source.mappings, source.value_mappings)
        if all(dialect.name != source.name for dialect in DIALECTS):
            evidence = tuple(source.evidence or source.mappings)
            dialects.append(Dialect(name=source.name, scopes=tuple(source.scopes), evidence=evidence))
    profile: ProfileName = config.semconv
    return Reader(dialects, PROFILES[profile], tunings, content=config.content)


def apply(span: Span, reading: Reading) -> bool:
    """Write the edits and removals of `reading` into `span`; tell whether there were any.

    `reading.attributes` goes on saying what the span said before.
    """
    if not reading.edits and not reading.removals:
        return False
    attributes = reading.attributes
    assert isinstance(attributes, SpanAttributes)
    present = attributes.at
    all_pairs = span.attributes
    ready = 0
    if reading.ready is not None:
        ready = reading.ready.size
        span.MergeFromString(reading.ready.wire)
    for key, value in islice(reading.edits.items(), ready, None):
        if key in present:
            attributes[key]  # what was decoded is remembered
            put(attributes.message(key), value)
        else:
            pair = all_pairs.add()
            pair.key = key
            put(pair.value, value)
    if reading.removals:
        gone = set(reading.removals)
        for key in gone & present.keys():
            attributes[key]
        for position in range(len(span.attributes) - 1, -1, -1):
            if span.attributes[position].key in gone:
                del span.attributes[position]
    return True


def _may_ask(reading: Reading) -> bool:
    """Tell whether a model may have asked for a tool, by why it stopped."""
    reasons = reading.attributes.get(FINISH_REASONS)
    return reasons is None or _ASKS.search(str(reasons)) is not None


def put(message: AnyValue, value: Value) -> None:
    """Make `message` say `value`."""
    if isinstance(value, str):
        message.string_value = value
    elif type(value) is int:
        message.int_value = value
    else:
        message.CopyFrom(any_value(value))


def rename(span: Span, reading: Reading) -> bool:
    """Give the span the name that the conventions ask for; tell whether that is another one."""
    if reading.operation is None:
        return False
    subject = {
        "llm": reading.request_model,
        "embedding": reading.request_model,
        "agent": reading.agent_name,
        "plan": reading.agent_name,
        "tool": reading.tool_name,
        "workflow": reading.workflow_name,
    }.get(reading.kind)
    name = f"{reading.operation} {subject}" if subject else reading.operation
    if name == span.name:
        return False
    if ORIGINAL + "name" not in reading.attributes:
        put(span.attributes.add(key=ORIGINAL + "name").value, span.name)
    span.name = name
    return True
