"""Reads one span: which dialect it speaks, what it says, and the edits that make it say it in OTel words.

A span is walked once. Each target takes the best source that is present, in the order current name, older
OTel names, names of dialects (lookup.py); so a span that mixes dialects is no special case. Reading what was
written here again finds nothing to do: the sidecar's own attributes (`spanledger.*`) say what was decided.

Reading has two halves. To decide what a span is takes long, and is remembered (`decision`, `shape`); to tell that, with
the ids, counts and content of the span itself, is done for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast, get_args

from spanledger.conventions import coerce
from spanledger.conventions.content import Content, Event, is_content, messages_of
from spanledger.conventions.counting import count, counting_of, settled_counts
from spanledger.conventions.decision import PASSED, Decision, Places, Seen, measured
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    ERROR_TYPE,
    FINISH_REASONS,
    HTTP_STATUS,
    MODEL_CALLS,
    OPENED,
    OPERATION,
    OPERATIONS,
    PROVIDER,
    REGION,
    REQUEST_ID,
    REQUEST_MODEL,
    RESENDS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVICE_TIER,
    SPARED,
    SPEED,
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
    Finds,
    Kinded,
    Read,
)
from spanledger.conventions.edits import Editor
from spanledger.conventions.lookup import DIALECT, STEP_KIND, Lookup, Tuning
from spanledger.conventions.profile import LATEST, Profile
from spanledger.conventions.providers import provider_at, provider_of_model
from spanledger.conventions.reading import Reading, StepKind
from spanledger.conventions.shape import Shape, Shapes
from spanledger.conventions.span_attributes import SpanAttributes, plain
from spanledger.conventions.units import TARGETS, units_of
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
_AZURE_NAMES: Final = frozenset({"azure", "azure.ai.agents", "microsoft.foundry", "microsoft_foundry"})
"""What does not say which of Azure's two services answered."""
_FIRST_CHUNK: Final = frozenset({
    "gen_ai.content.completion.chunk", "llm.content.completion.chunk", "First Token Stream Event",
    "ai.stream.firstChunk", "mlflow.chunk.item.0",
})  # fmt: skip


class Reader:
    """Reads spans by the tables of a set of dialects. The same span always reads the same."""

    def __init__(
        self,
        dialects: Sequence[Dialect],
        profile: Profile = LATEST,
        tunings: Mapping[str, Tuning] | None = None,
        *,
        content: bool = True,
        remember: bool = True,
    ) -> None:
        """Compile the tables. The first dialect is the one for spans that show no other.

        With `remember`, what was decided about a span holds for others that are the same in all that mattered.
        Without, the same is read, and it takes longer.
        """
        self.profile = profile
        self._lookup = Lookup(dialects, profile, tunings or {})
        self._editor = Editor(self._lookup, profile)
        self._hooks = tuple((1 << order, d.complete) for order, d in enumerate(dialects) if d.complete is not None)
        self._content = content and self._lookup.names["gen_ai.input.messages"] is not None
        # What may be removed depends on every value.
        self._remember = remember and not self._lookup.removing
        self._shapes = Shapes(self._lookup)

    def dialect_of(self, scope: str) -> str | None:
        """Return the dialect that a scope's name says, None if it says none."""
        dialect = self._lookup.dialect_of(scope)
        return None if dialect is None else dialect.name

    def statistics(self) -> Mapping[str, int]:
        """Return the sizes of what is remembered."""
        return self._shapes.statistics()

    def read(self, scope: str, version: str, span: Span, *, content: bool = True) -> Reading | None:
        """Return what `span` says; None when it is no GenAI work. `span` is not changed.

        `scope` and `version` are those of the instrumentation. `content` can be left unread, in which case
        the edits write none.
        """
        return self.read_as(scope, version, span, *self.look(scope, version, span), content=content)

    def look(self, scope: str, version: str, span: Span) -> tuple[Shape, Sequence[KeyValue]]:
        """Return what is known of spans with the keys of this one, and its attributes."""
        pairs = span.attributes[:]  # four fifths of the time of `list`
        return self._shapes.of(scope, version, tuple([pair.key for pair in pairs])), pairs

    def read_as(
        self, scope: str, version: str, span: Span, shape: Shape, pairs: Sequence[KeyValue], *, content: bool = True
    ) -> Reading | None:
        """Do what `read` does, with what `look` returned."""
        if not (shape.claims or shape.by_kind or shape.named):
            return None
        told: list[Value] = []
        decision: Decision | None = None
        seen: Seen | None = None
        if self._remember and shape.is_remembered():
            key, told = shape.key(span, pairs)
            decision = shape.recall(key)
            if decision is None:
                seen = Seen()
        attributes = SpanAttributes(shape.common, pairs)
        if decision is None:
            facts = Facts(scope, span, attributes, {}, {}, version=version)
            decision = self._decide(shape, pairs, facts, seen)
            if decision is None:
                return None
            if seen is not None:
                key, told = shape.key(span, pairs)
                self._shapes.keep(shape, key, decision, seen)
        said = None
        if content and decision.content and (shape.holds_content or span.events):
            places = self._lookup.places.get(decision.dialect)
            said = messages_of(decision.dialect, attributes, _content_events(span), decision.kind, places)
        reading = self._tell(decision, told, attributes, said)
        if shape.secrets:
            reading.removals += (key for key in shape.secrets if key not in reading.removals)
        return reading

    def _decide(self, shape: Shape, pairs: Sequence[KeyValue], facts: Facts, seen: Seen | None) -> Decision | None:
        """Decide what a span is and what has to be written; None when it is no GenAI work.

        `seen` notes what that depends on. A fact that nothing depends on is left for `_tell` to fill in.
        """
        claims, by_name = shape.claims, None
        if shape.named and (named := self._lookup.by_name_of(facts.scope, facts.span.name)) is not None:
            by_name = named[0]
            claims |= named[1]
        claims = claims or shape.by_kind
        if not claims:
            return None
        origins = _take_best(shape, pairs, facts)
        finds = facts.finds = Finds(facts.span, facts.attributes, dict(origins))
        if seen is not None:
            seen.watch(facts, named=shape.named)
        dialect = self._dialect(facts.scope, claims, facts.attributes)
        self._decide_kind(facts, dialect, claims, by_name)
        if facts.kind in dialect.sources_by_kind:
            _read_by_kind(facts, dialect)
        for bit, complete in self._hooks:
            if claims & bit or complete is dialect.complete:
                complete(facts)
        if self._announces(facts.attributes):
            facts.kind, facts.operation = STRUCTURAL
            for target in USAGE:
                facts.forget(target)
        self._complete(facts, has_events=bool(finds.span.events))
        if seen is not None:
            seen.spare()
        reading = _reading(facts, dialect)
        if seen is not None:
            seen.spare(PASSED)
        counting = None if _COUNTED.isdisjoint(facts.values) else counting_of(facts, reading)
        settled = settled_counts(facts, self._lookup) if counting is not None and counting.settled else {}
        filled = self._editor.edit(reading, facts, finds.origins)
        places: Places = {}
        if seen is not None:
            seen.spare(target for _, target in filled)
            places = shape.learn(seen, finds)
        known, present = facts.values, facts.attributes.at
        unnamed = facts.operation is None and OPERATION in known and OPERATION in present
        return Decision.of(
            reading,
            places,
            filled=filled,
            counts={
                name: (settled.get(target, known.get(target)), None if target in settled else places.get(target))
                for target, name in USAGE.items()
                if target in settled or target in known
            },
            counting=counting,
            counts_moved=not USAGE.keys().isdisjoint(facts.moved),
            aggregate=facts.aggregate or facts.kind not in MODEL_CALLS,
            # What was normalised before has its content; sources that are left over would only repeat part of it.
            content=self._content and facts.kind != "other" and DIALECT not in present,
            tells_reasons=FINISH_REASONS in known or facts.kind not in MODEL_CALLS,
            unnamed=unnamed,
            present=frozenset(present),
            remembered=seen is not None,
            facts=facts if self._lookup.removing else None,
        )

    def _tell(
        self, decision: Decision, told: Sequence[Value], attributes: SpanAttributes, said: Content | None
    ) -> Reading:
        """Say what was decided about a span, with its own facts and content."""
        reading = decision.reading(attributes, told)
        edits = reading.edits
        for name, at in decision.filled:
            edits[name] = self._editor.spelled(name, told[at])
        if said is not None:
            reading.content = said
            if said.finish_reasons and not decision.tells_reasons:
                if decision.facts is not None:
                    decision.facts.offer(FINISH_REASONS, "", list(said.finish_reasons))
                self._editor.add_reasons(reading, said.finish_reasons)
        if decision.counting is not None:
            raw = {name: value if at is None else told[at] for name, value, at in decision.counts}
            reading.usage, corrections = count(raw, decision.counting, attributes, self._lookup)
            reading.aggregate = decision.aggregate
            if reading.usage is not None:
                self._editor.add_usage(reading, reading.usage, moved=decision.counts_moved or bool(corrections))
            if decision.facts is not None:
                for target, (key, value) in corrections.items():
                    decision.facts.correct(target, key, value)
        if said is not None:
            self._editor.add_content(reading, said)
        if decision.unnamed:
            self._editor.unname(reading)
        self._editor.finish(reading, decision.facts, whole=said is None or not said.marks)
        return reading

    def _dialect(self, scope: str, claims: int, attributes: SpanAttributes) -> Dialect:
        if DIALECT in attributes.at:
            marked = attributes[DIALECT]
            if isinstance(marked, str) and marked in self._lookup.by_name:
                return self._lookup.by_name[marked]
        return self._lookup.dialect_of(scope, claims) or self._lookup.dialects[0]

    def _announces(self, attributes: SpanAttributes) -> bool:
        """Tell whether a span only says that another one has begun."""
        return any(key in attributes.at and attributes[key] == value for key, value in self._lookup.placeholders)

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
        if STEP_KIND in facts.attributes.at:
            marked = facts.attributes[STEP_KIND]
            if isinstance(marked, str) and marked in _KINDS:
                facts.kind = cast("StepKind", marked)
                return
        if said is not None and (said in dialect.operations or said in self._lookup.operations):
            facts.kind, facts.operation = dialect.operations.get(said) or self._lookup.operations[said]
            return
        for other in (dialect, *self._lookup.claimed(claims)):
            for key, table in other.kinds.items():
                if key in facts.attributes.at:
                    value = facts.attributes[key]
                    kinded = (table.get(value) or _respelled(table, value)) if isinstance(value, str) else STRUCTURAL
                    facts.kind, facts.operation = kinded if isinstance(kinded, Kinded) else kinded(facts)
                    return
        if by_name is not None:
            facts.kind, facts.operation = by_name if isinstance(by_name, Kinded) else by_name(facts)
            return
        facts.told = said is not None

    def _complete(self, facts: Facts, *, has_events: bool) -> None:
        """Add what no attribute says: by events, by the server."""
        known = facts.values
        if facts.kind in MODEL_CALLS:
            provider = known.get(PROVIDER)
            if provider is None:
                facts.offer(PROVIDER, "", _derived_provider(facts))
            elif (provider == "openai" and SERVER_ADDRESS in known and _at_azure_openai(facts)) or (
                provider == _AZURE and (_at_azure_openai(facts) or _serves_openai(facts))
            ):
                facts.correct(PROVIDER, facts.moved.get(PROVIDER, PROVIDER), _AZURE_OPENAI)
            if has_events:
                facts.offer_found_in_span(TIME_TO_FIRST_CHUNK, "", _first_chunk_s)
        says_error = facts.span.status.code == _STATUS_ERROR and SPARED not in known
        if ERROR_TYPE not in known and (facts.failed or says_error):
            raised = facts.find_in_span(_exception_type) if has_events else None
            facts.offer(ERROR_TYPE, "", raised or _status_of(facts) or (_UNKNOWN_ERROR if facts.failed else None))


def _respelled(table: Mapping[str, Kinded | Choose], value: str) -> Kinded | Choose:
    """Look a kind up in lower and in capital letters, of which every table has one."""
    return table.get(value.lower()) or table.get(value.upper()) or STRUCTURAL


def _take_best(shape: Shape, pairs: Sequence[KeyValue], facts: Facts) -> dict[str, Read]:
    """Give `facts` the best source for each target; return where each is from."""
    values, moved = facts.values, facts.moved
    origins: dict[str, Read] = {}
    ranks: dict[str, int] = {}
    for source in shape.sources:
        value = plain(pairs[source.at].value)
        for target, rank, read, own in source.slots:
            if target in ranks and ranks[target] < rank:
                continue
            fact = read(value)
            if fact is None:
                continue
            ranks[target] = rank
            values[target] = fact
            origins[target] = (source.key, read)
            if not own or fact is not value:
                moved[target] = source.key
            elif target in moved:
                del moved[target]
    return origins


def _read_by_kind(facts: Facts, dialect: Dialect) -> None:
    for target, keys in dialect.sources_by_kind[facts.kind].items():
        for key in keys:
            facts.offer_found(target, key, coerce.count if target in USAGE else coerce.coercion_of(target))


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
        time_to_first_chunk_s=measured(first_chunk),
        attempt=1 + resends if isinstance(resends, int) and 0 < resends < MAX_ATTEMPTS else 1,
        service_tier="fast" if known.get(SPEED) == "fast" else text(SERVICE_TIER),
        region=text(REGION),
        units=None if TARGETS.isdisjoint(known) else units_of(known),
        server_address=text(SERVER_ADDRESS),
        reported_cost_usd=measured(cost),
        reported_cost_key=facts.moved.get(COST, ""),
        spared=SPARED in known,
        opened=OPENED in known,
        echo=facts.echo and calls_model,
        report=facts.report,
        retold=dialect.tells_twice and (calls_model or facts.kind == "tool"),
        request_id=text(REQUEST_ID),
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
    if not isinstance(called, str) or called.lower() not in _AZURE_NAMES:
        return False
    if key == "llm.provider" and "llm.system" in facts.attributes:
        return False  # whose model it is was said, and is not OpenAI's
    models = (facts.text(REQUEST_MODEL), facts.text(RESPONSE_MODEL))
    return any(model is not None and provider_of_model(model) in ("openai", _AZURE_OPENAI) for model in models)


def _content_events(span: Span) -> list[Event]:
    return [
        Event(event.name, attributes_of(event.attributes))
        for event in span.events[:MAX_EVENTS]
        if is_content(event.name)
    ]


def _exception_type(span: Span) -> str | None:
    for event in span.events[:MAX_EVENTS]:
        if event.name == "exception":
            known = coerce.text(attributes_of(event.attributes).get("exception.type"))
            if known is not None:
                return known
    return None


def _first_chunk_s(span: Span) -> float | None:
    for event in span.events[:MAX_EVENTS]:
        if event.name in _FIRST_CHUNK and event.time_unix_nano >= span.start_time_unix_nano > 0:
            return (event.time_unix_nano - span.start_time_unix_nano) / 1e9
    return None


def _status_of(facts: Facts) -> str | None:
    status = facts.values.get(HTTP_STATUS)
    return str(status) if isinstance(status, int) and 400 <= status <= 599 else None
