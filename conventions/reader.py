"""Reads one span: which dialect it speaks, what it says, and the edits that make it say it in OTel words.

A span is walked once. Each target takes the best source that is present, in the order current name, older
OTel names, names of dialects (lookup.py); so a span that mixes dialects is no special case. Reading what was
written here again finds nothing to do: the sidecar's own attributes (`spanledger.*`) say what was decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias, cast, get_args

from spanledger.conventions import coerce
from spanledger.conventions.content import Content, Event, messages_of
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    ERROR_TYPE,
    FINISH_REASONS,
    HTTP_STATUS,
    MODEL_CALLS,
    OPERATION,
    OPERATIONS,
    PROVIDER,
    REQUEST_MODEL,
    RESENDS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVICE_TIER,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    TOOL_NAME,
    USAGE,
    USER_ID,
    WORKFLOW_NAME,
    Choose,
    Dialect,
    Facts,
    Kinded,
    SpanAttributes,
    decode,
    is_simple,
)
from spanledger.conventions.edits import Editor
from spanledger.conventions.emitters import emitter_of
from spanledger.conventions.lookup import BASIS, DIALECT, NOTHING, STEP_KIND, Lookup, Slot, Tuning
from spanledger.conventions.profile import LATEST, Profile
from spanledger.conventions.providers import provider_at, provider_of_model
from spanledger.conventions.reading import Reading, StepKind
from spanledger.conventions.tokens import BASES, is_count, usage_of
from spanledger.conventions.values import Value, attributes_of

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

MAX_EVENTS: Final = 512
"""Span events that are searched for content and times."""

MAX_ATTEMPTS: Final = 10_000
"""More tells of a broken counter."""

_COUNTED: Final = frozenset(USAGE)
_KINDS: Final = frozenset(get_args(StepKind))
_STATUS_ERROR: Final = 2
_UNKNOWN_ERROR: Final = "_OTHER"
"""The conventions' word for an error without a known type."""
_AZURE_OPENAI: Final = "azure.ai.openai"
_AZURE: Final = "azure.ai.inference"
_TOTALS_WITH_CACHE: Final = frozenset({"anthropic", "aws.bedrock"})
"""Providers whose input leaves the cache out and whose total does not."""
_FIRST_CHUNK: Final = frozenset({
    "gen_ai.content.completion.chunk", "llm.content.completion.chunk", "First Token Stream Event",
    "ai.stream.firstChunk", "mlflow.chunk.item.0",
})  # fmt: skip


_Found: TypeAlias = "tuple[KeyValue, tuple[Slot, ...]]"


class Reader:
    """Reads spans by the tables of a set of dialects. The same span always reads the same."""

    def __init__(
        self,
        dialects: Sequence[Dialect],
        profile: Profile = LATEST,
        tunings: Mapping[str, Tuning] | None = None,
        *,
        content: bool = True,
    ) -> None:
        """Compile the tables. The first dialect is the one for spans that show no other."""
        self.profile = profile
        self._lookup = Lookup(dialects, profile, tunings or {})
        self._editor = Editor(self._lookup, profile)
        self._hooks = tuple((1 << order, d.complete) for order, d in enumerate(dialects) if d.complete is not None)
        self._content = content and self._lookup.names["gen_ai.input.messages"] is not None

    def dialect_of(self, scope: str) -> str | None:
        """Return the dialect that a scope's name says, None if it says none."""
        dialect = self._lookup.dialect_of(scope)
        return None if dialect is None else dialect.name

    def read(self, scope: str, version: str, span: Span, *, content: bool = True) -> Reading | None:
        """Return what `span` says; None when it is no GenAI work. `span` is not changed.

        `scope` and `version` are those of the instrumentation. `content` can be left unread, in which case
        the edits write none.
        """
        look_up, learn = self._lookup.entries.get, self._lookup.learn
        pairs: dict[str, KeyValue] = {}
        found: dict[str, _Found] = {}
        claims = 0
        may_hold_content = False
        for pair in span.attributes:
            key = pair.key
            pairs[key] = pair
            entry = look_up(key) or learn(key)
            if entry is not NOTHING:
                claims |= entry[0]
                if entry[1]:
                    found[key] = (pair, entry[1])
                if entry[2]:
                    may_hold_content = True
        named = self._lookup.by_name_of(scope, span.name)
        if named is not None:
            claims |= named[1]
        if not claims:
            return None
        decoded, values, moved = _best(found)
        attributes = SpanAttributes(pairs, decoded)
        facts = Facts(scope, span, attributes, values, moved, version=version)
        dialect = self._dialect(scope, claims, attributes)
        self._decide_kind(facts, dialect, claims, named[0] if named is not None else None)
        if facts.kind in dialect.sources_by_kind:
            _read_by_kind(facts, dialect)
        for bit, complete in self._hooks:
            if claims & bit or complete is dialect.complete:
                complete(facts)
        if self._announces(attributes):
            facts.kind, facts.operation = STRUCTURAL
            for target in USAGE:
                facts.forget(target)
        said = None
        # What was normalised before has its content; sources that are left over would only repeat part of it.
        wanted = content and self._content and facts.kind != "other" and DIALECT not in pairs
        if wanted and (may_hold_content or span.events):
            said = messages_of(dialect.name, attributes, _content_events(span), facts.kind)
        self._complete(facts, said)
        reading = _reading(facts, dialect)
        reading.content = said
        self._read_usage(reading, facts, version)
        self._editor.edit(reading, facts, said)
        return reading

    def _dialect(self, scope: str, claims: int, attributes: SpanAttributes) -> Dialect:
        if DIALECT in attributes.pairs:
            marked = attributes[DIALECT]
            if isinstance(marked, str) and marked in self._lookup.by_name:
                return self._lookup.by_name[marked]
        return self._lookup.dialect_of(scope, claims) or self._lookup.dialects[0]

    def _announces(self, attributes: SpanAttributes) -> bool:
        """Tell whether a span only says that another one has begun."""
        return any(key in attributes.pairs and attributes[key] == value for key, value in self._lookup.placeholders)

    def _decide_kind(self, facts: Facts, dialect: Dialect, claims: int, by_name: Kinded | Choose | None) -> None:
        """Set kind and operation: a well-known operation wins, then what was decided before, then dialects."""
        said = facts.text(OPERATION)
        facts.told = True
        if said is not None:
            if said not in OPERATIONS:
                said = said.lower()
            if said in OPERATIONS:
                facts.kind, facts.operation = OPERATIONS[said], said
                return
        if STEP_KIND in facts.attributes.pairs:
            marked = facts.attributes[STEP_KIND]
            if isinstance(marked, str) and marked in _KINDS:
                facts.kind = cast("StepKind", marked)
                return
        if said is not None and (said in dialect.operations or said in self._lookup.operations):
            facts.kind, facts.operation = dialect.operations.get(said) or self._lookup.operations[said]
            return
        for other in (dialect, *self._lookup.claimed(claims)):
            for key, table in other.kinds.items():
                if key in facts.attributes.pairs:
                    value = facts.attributes[key]
                    kinded = (table.get(value) or _respelled(table, value)) if isinstance(value, str) else STRUCTURAL
                    facts.kind, facts.operation = kinded if isinstance(kinded, Kinded) else kinded(facts)
                    return
        if by_name is not None:
            facts.kind, facts.operation = by_name if isinstance(by_name, Kinded) else by_name(facts)
            return
        facts.told = said is not None

    def _complete(self, facts: Facts, said: Content | None) -> None:
        """Add what no attribute says: by events, by the server, by the content."""
        known = facts.values
        if facts.kind in MODEL_CALLS:
            provider = known.get(PROVIDER)
            if provider is None:
                facts.offer(PROVIDER, "", _derived_provider(facts))
            elif (provider == "openai" and SERVER_ADDRESS in known and _at_azure_openai(facts)) or (
                provider == _AZURE and (_at_azure_openai(facts) or _serves_openai(facts))
            ):
                facts.correct(PROVIDER, facts.moved.get(PROVIDER, PROVIDER), _AZURE_OPENAI)
            if facts.span.events and TIME_TO_FIRST_CHUNK not in known:
                facts.offer(TIME_TO_FIRST_CHUNK, "", _first_chunk_s(facts.span))
            if said is not None and said.finish_reasons and FINISH_REASONS not in known:
                facts.offer(FINISH_REASONS, "", list(said.finish_reasons))
        if ERROR_TYPE not in known and (facts.failed or facts.span.status.code == _STATUS_ERROR):
            facts.offer(ERROR_TYPE, "", _error_type(facts) or (_UNKNOWN_ERROR if facts.failed else None))

    def _read_usage(self, reading: Reading, facts: Facts, version: str) -> None:
        known = facts.values
        if _COUNTED.isdisjoint(known):
            return
        raw = {name: known[target] for target, name in USAGE.items() if target in known}
        settled = ""
        if BASIS in facts.attributes.pairs:
            marked = facts.attributes[BASIS]
            settled = marked if isinstance(marked, str) and marked in BASES else ""
        if settled:  # then the names that were written count, whatever else is preferred
            for target, name in USAGE.items():
                for key in (target, self._lookup.names.get(target)):
                    value = coerce.count(facts.attributes.get(key)) if key is not None else None
                    if value is not None:
                        raw[name] = value
        emitter = emitter_of(facts.emitter or facts.scope, version, reading.provider or "")
        server = reading.server_address
        xai = reading.provider == "x_ai" or (server is not None and provider_at(server) == "x_ai")
        cached = reading.provider in _TOTALS_WITH_CACHE
        usage = usage_of(raw, emitter, reasoning_beside=xai, cache_in_total=cached, settled=settled)
        if usage is not None and usage.conflicts and self._look_further(facts, raw):
            noted = usage.conflicts
            usage = usage_of(raw, emitter, reasoning_beside=xai, cache_in_total=cached, settled=settled)
            if usage is not None:
                usage = replace(usage, conflicts=tuple(dict.fromkeys((*noted, *usage.conflicts))))
        reading.usage = usage
        reading.aggregate = facts.aggregate or facts.kind not in MODEL_CALLS

    def _look_further(self, facts: Facts, raw: dict[str, Value]) -> bool:
        """Put the next best source in the place of each count that is none; tell whether there was one."""
        better = False
        for target, name in USAGE.items():
            if name not in raw or is_count(raw[name]):
                continue
            ranked = sorted(
                (slot.rank, key)
                for key in facts.attributes.pairs
                for slot in self._lookup.entry(key).slots
                if slot.target == target
            )
            for _, key in ranked:
                count = coerce.count(facts.attributes[key])
                if is_count(count):
                    raw[name] = count
                    facts.correct(target, key, count)
                    better = True
                    break
        return better


def _respelled(table: Mapping[str, Kinded | Choose], value: str) -> Kinded | Choose:
    """Look a kind up in lower and in capital letters, of which every table has one."""
    return table.get(value.lower()) or table.get(value.upper()) or STRUCTURAL


def _best(found: Mapping[str, _Found]) -> tuple[dict[str, Value], dict[str, Value], dict[str, str]]:
    """Take for each target the best source.

    Returns key -> value, target -> value, and of the latter those that stand elsewhere or otherwise -> key.
    """
    decoded: dict[str, Value] = {}
    values: dict[str, Value] = {}
    moved: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for key, (pair, slots) in found.items():
        message = pair.value
        value: Value = message.string_value or message.int_value
        if not value:
            if not is_simple(message):
                continue
            value = decode(message)
        decoded[key] = value
        for target, rank, read, own in slots:
            if target in ranks and ranks[target] < rank:
                continue
            fact = read(value)
            if fact is None:
                continue
            ranks[target] = rank
            values[target] = fact
            if not own or fact is not value:
                moved[target] = key
            elif target in moved:
                del moved[target]
    return decoded, values, moved


def _read_by_kind(facts: Facts, dialect: Dialect) -> None:
    for target, keys in dialect.sources_by_kind[facts.kind].items():
        for key in keys:
            if key in facts.attributes:
                facts.offer(target, key, coerce.coercion_of(target)(facts.attributes[key]))


def _reading(facts: Facts, dialect: Dialect) -> Reading:
    known: Mapping[str, object] = facts.values
    text = cast("Mapping[str, str]", known).get  # by the coercions of these targets
    first_chunk, cost, resends = known.get(TIME_TO_FIRST_CHUNK), known.get(COST), known.get(RESENDS)
    calls_model = facts.kind in MODEL_CALLS
    return Reading(
        dialect=dialect.name,
        kind=facts.kind,
        operation=facts.operation,
        provider=text(PROVIDER),
        request_model=text(REQUEST_MODEL),
        response_model=text(RESPONSE_MODEL),
        response_id=text(RESPONSE_ID),
        agent_name=text(AGENT_NAME),
        # Some list the tools on offer here on spans of model calls.
        tool_name=None if calls_model else text(TOOL_NAME),
        tool_call_id=None if calls_model else text(TOOL_CALL_ID),
        workflow_name=text(WORKFLOW_NAME),
        conversation_id=text(CONVERSATION_ID),
        user_id=text(USER_ID),
        error_type=text(ERROR_TYPE),
        time_to_first_chunk_s=first_chunk if isinstance(first_chunk, float) and first_chunk >= 0 else None,
        attempt=1 + resends if isinstance(resends, int) and 0 < resends < MAX_ATTEMPTS else 1,
        service_tier=text(SERVICE_TIER),
        server_address=text(SERVER_ADDRESS),
        reported_cost_usd=cost if isinstance(cost, float) and cost >= 0 else None,
        reported_cost_key=facts.moved.get(COST, ""),
        echo=facts.echo,
        unbilled=facts.unbilled,
        attributes=facts.attributes,
    )


def _derived_provider(facts: Facts) -> str | None:
    """Tell a provider that no attribute names: by the server, else by a model that only one provider has."""
    address = facts.text(SERVER_ADDRESS)
    if address is not None and (known := provider_at(address)) is not None:
        return known
    model = facts.text(RESPONSE_MODEL) or facts.text(REQUEST_MODEL)
    return None if model is None else provider_of_model(model)


def _at_azure_openai(facts: Facts) -> bool:
    address = facts.text(SERVER_ADDRESS)
    return address is not None and provider_at(address) == _AZURE_OPENAI


def _serves_openai(facts: Facts) -> bool:
    """Tell whether a provider that was only called `azure` serves a model of OpenAI's."""
    key = facts.moved.get(PROVIDER, "")
    called = facts.attributes.get(key)
    if not isinstance(called, str) or called.lower() != "azure":
        return False
    if key == "llm.provider" and "llm.system" in facts.attributes:
        return False  # whose model it is was said, and is not OpenAI's
    models = (facts.text(REQUEST_MODEL), facts.text(RESPONSE_MODEL))
    return any(model is not None and provider_of_model(model) in ("openai", _AZURE_OPENAI) for model in models)


def _content_events(span: Span) -> list[Event]:
    return [
        Event(event.name, attributes_of(event.attributes))
        for event in span.events[:MAX_EVENTS]
        if event.name.startswith("gen_ai.")
    ]


def _first_chunk_s(span: Span) -> float | None:
    for event in span.events[:MAX_EVENTS]:
        if event.name in _FIRST_CHUNK and event.time_unix_nano >= span.start_time_unix_nano > 0:
            return (event.time_unix_nano - span.start_time_unix_nano) / 1e9
    return None


def _error_type(facts: Facts) -> str | None:
    for event in facts.span.events[:MAX_EVENTS]:
        if event.name == "exception":
            known = coerce.text(attributes_of(event.attributes).get("exception.type"))
            if known is not None:
                return known
    status = facts.values.get(HTTP_STATUS)
    return str(status) if isinstance(status, int) and 400 <= status <= 599 else None
