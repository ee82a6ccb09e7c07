"""What a dialect is: mostly tables, that the reader compiles into one look-up per attribute key.

A *target* is the current name of an attribute of the OTel GenAI conventions (or `user.id`,
`server.address`, `error.type`). Targets that start with `@` are facts without an attribute of their own;
they are listed below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, cast

from spanledger.conventions.coerce import Coerce, number, parse_json
from spanledger.conventions.values import Value

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.reading import StepKind
    from spanledger.conventions.span_attributes import SpanAttributes
    from spanledger.conventions.values import Attributes

_T = TypeVar("_T")

MAX_NAME_CHARS: Final = 128
"""A longer name names no tool, agent, workflow or variable."""

MAX_VARIABLES: Final = 64
"""Variables of one prompt that get an attribute of their own."""

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USER_ID: Final = "user.id"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"

PROMPT_VARIABLE: Final = "gen_ai.prompt.variable."
"""One target each variable of a prompt's template."""

COST: Final = "@cost"
"""US dollars that the span came with."""
RESENDS: Final = "@resends"
"""How often the request was sent again."""
SERVICE_TIER: Final = "@service_tier"
SPEED: Final = "@speed"
"""`fast` where a faster answer was paid for, whatever the tier."""
REGION: Final = "@region"
"""Where the model ran: a cloud's region, or an area such as `us`."""
REQUEST_ID: Final = "@request_id"
"""Of the HTTP request to the provider, which the reports of one call have in common."""
OPENED: Final = "@opened"
"""The span ended when a stream was opened: the call itself came after it."""
SPARED: Final = "@spared"
"""The status of the span is the failure of another one."""
REPORT: Final = "@report"
"""The log event that a span was made of."""
REPORT_KEY: Final = "spanledger.log.event"
"""Where it is said."""
HTTP_STATUS: Final = "@http_status"

DATA_SOURCES: Final = ("aws.bedrock.knowledge_base.id", "db.collection.name", "db.namespace")
"""Where a retrieval span says what it searched, if not in `gen_ai.data_source.id`."""

USAGE: Final[Mapping[str, str]] = {
    "gen_ai.usage.input_tokens": "input",
    "gen_ai.usage.output_tokens": "output",
    "gen_ai.usage.cache_read.input_tokens": "cache_read",
    "gen_ai.usage.cache_write.input_tokens": "cache_write",
    "gen_ai.usage.reasoning.output_tokens": "reasoning",
    "gen_ai.usage.audio.input_tokens": "audio_input",
    "gen_ai.usage.audio.output_tokens": "audio_output",
    "gen_ai.usage.audio.cache_read.input_tokens": "audio_cache_read",
    "gen_ai.usage.image.input_tokens": "image_input",
    "gen_ai.usage.image.output_tokens": "image_output",
    "gen_ai.usage.image.cache_read.input_tokens": "image_cache_read",
    "@total_tokens": "total",
    "@cache_write_5m": "cache_write_5m",
    "@cache_write_1h": "cache_write_1h",
}
"""Targets that are token counts -> their names in `tokens.COUNTS`."""

OPERATIONS: Final[Mapping[str, StepKind]] = {
    "chat": "llm",
    "generate_content": "llm",
    "text_completion": "llm",
    "embeddings": "embedding",
    "retrieval": "retrieval",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "invoke_workflow": "workflow",
    "plan": "plan",
    "search_memory": "memory",
    "create_memory": "memory",
    "update_memory": "memory",
    "upsert_memory": "memory",
    "delete_memory": "memory",
    "create_memory_store": "memory",
    "delete_memory_store": "memory",
    # Neither is work of a run: an agent is built, an answer that is already counted is fetched.
    "create_agent": "other",
    "fetch_response": "other",
}
"""Every well-known `gen_ai.operation.name` -> what kind of step it is."""

MODEL_CALLS: Final = frozenset({"llm", "embedding"})
"""Kinds whose usage is that of one call. Usage on any other kind is a sum over its descendants."""


class Kinded(NamedTuple):
    """What kind of step a span is, and its well-known operation; None on structural spans."""

    kind: StepKind
    operation: str | None = None


STRUCTURAL: Final = Kinded("other")


@dataclass(frozen=True, slots=True)
class SecondsUntil:
    """Reads the seconds from the start of a span to the time in ISO format that an attribute has; None for others."""

    key: str

    def __call__(self, span: Span) -> float | None:
        """Read."""
        moment, start_ns = None, span.start_time_unix_nano
        for pair in span.attributes:
            if pair.key == self.key:
                moment = pair.value.string_value.strip('"')
        if moment is None or len(moment) > 40 or not start_ns:
            return None
        try:
            time = datetime.fromisoformat(moment)
            seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() - start_ns / 1e9
        except (ValueError, OverflowError, OSError):
            return None
        return seconds if 0 <= seconds < 86_400 else None


Read: TypeAlias = "tuple[str | None, Callable[[Any], Any]]"
"""Key of an attribute, None for the span as a whole, and how it is read."""


@dataclass(frozen=True, slots=True)
class _Then:
    """Reads with one function after the other."""

    first: Callable[[Any], Any]
    second: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        return self.second(self.first(value))


@dataclass(slots=True)
class Finds:
    """What was found in attributes, or in the span, whose whole value does not matter."""

    span: Span
    attributes: SpanAttributes
    """Of the span; looking at these is not noted, nor at `span`."""
    origins: dict[str, Read]
    """Target -> how the fact that is known now was read, where that is noted."""
    decisive: dict[Read, None] = field(default_factory=dict)
    """What it gives matters. In order, as all of these."""
    offered: dict[tuple[str, Read], None] = field(default_factory=dict)
    """For this target: it matters whether it gives anything."""
    compared: dict[tuple[Read, Read], None] = field(default_factory=dict)
    """It matters whether both give the same."""

    def read(self, read: Read) -> Any:
        """Read once."""
        key, function = read
        return function(self.span if key is None else self.attributes[key])

    def offer(self, target: str, read: Read) -> Any:
        """Note that a fact may come from there; return it."""
        self.offered[target, read] = None
        fact = self.read(read)
        if fact is not None:
            self.origins[target] = read
        return fact


@dataclass(slots=True)
class Facts:
    """What is known of one span while it is read. Hooks of dialects add to it."""

    scope: str
    span: Span
    """Of `parent_span_id`, ask only whether there is one: what is decided holds for all children alike."""
    attributes: SpanAttributes
    values: dict[str, Value]
    """Target -> the best value found, in the target's type."""
    moved: dict[str, str]
    """Of `values`, those that do not stand like this under the name to be written -> the key they came from."""
    kind: StepKind = "other"
    operation: str | None = None
    told: bool = False
    """An attribute, or the name where that counts, said what kind the span is; not so where nothing did."""
    aggregate: bool = False
    """The usage is a sum over descendants, though the kind is that of a model call."""
    version: str = ""
    """Version of the instrumentation, "" if unknown."""
    emitter: str = ""
    """Name that `emitters.py` knows the instrumentation by, where its scope says nothing."""
    failed: bool = False
    """The span says that it failed, though its status does not."""
    echo: bool = False
    """It repeats what a span around it may report more fully: see `Reading.echo`."""
    unbilled: str = ""
    """Why a call was answered without asking a model, such as `cache_hit`."""
    finds: Finds | None = None
    """Notes what was read by the methods that name a function to read with."""

    def find(self, key: str, read: Callable[[Value], _T]) -> _T | None:
        """Return what `read` makes of attribute `key`; None without it.

        For content, which is never the same twice: what is decided then depends on what `read` returns, which has
        to be hashable, and not on the whole. `read` is a function of a module, or equal to its like, and looks at
        nothing else.
        """
        return self._find((key, read)) if key in self.attributes else None

    def find_in_span(self, read: Callable[[Span], _T]) -> _T:
        """Return what `read` makes of the span, as `find` does."""
        return cast("_T", self._find((None, read)))

    def find_known(self, target: str, read: Callable[[Value], _T]) -> _T | None:
        """Return what `read` makes of what is known for `target`, as `find` does; None where nothing is."""
        if target not in self.values:
            return None
        known = None if self.finds is None else self.finds.origins.get(target)
        if known is None:
            return read(self.values[target])
        return cast("_T", self._find((known[0], _Then(known[1], read))))

    def offer_found(self, target: str, key: str, read: Coerce, place: str = "") -> None:
        """Give for `target` what `read` makes of attribute `key`, unless there is a value.

        `read` is as in `find`. What is decided depends on the value only if somebody looks at it. `place` says
        better than `key` where it was found.
        """
        if target not in self.values and key in self.attributes:
            self._offer(target, place or key, (key, read))

    def offer_found_in_span(self, target: str, key: str, read: Callable[[Span], Value]) -> None:
        """Give for `target` what `read` makes of the span, above all of attribute `key`, as `offer_found` does."""
        if target not in self.values:
            self._offer(target, key, (None, read))

    def correct_found(self, target: str, key: str, read: Coerce, instead: Coerce | None = None) -> None:
        """Replace what is known for `target` by what `read` makes of attribute `key`, as `correct` does.

        With `instead`, only where what is known is what `instead` makes of it.
        """
        if key not in self.attributes:
            return
        if target not in self.values:
            if instead is None:
                self.offer_found(target, key, read)
            return
        if instead is not None and not self._agrees(target, (key, instead)):
            return
        if not self._agrees(target, (key, read)):
            self._replace(target, key, (key, read))

    def is_found(self, target: str, key: str, read: Coerce) -> bool:
        """Tell whether what is known for `target` is what `read` makes of attribute `key`."""
        return target in self.values and key in self.attributes and self._agrees(target, (key, read))

    def _find(self, read: Read) -> Any:
        finds = self.finds
        if finds is None:
            return Finds(self.span, self.attributes, {}).read(read)
        finds.decisive[read] = None
        return finds.read(read)

    def _offer(self, target: str, key: str, read: Read) -> None:
        finds = self.finds or Finds(self.span, self.attributes, {})
        self.offer(target, key, finds.offer(target, read))

    def _agrees(self, target: str, read: Read) -> bool:
        """Tell whether `read` finds the very fact that is known for `target`."""
        known = None if self.finds is None else self.finds.origins.get(target)
        if self.finds is None or known is None:
            return bool(self.values[target] == self._find(read))
        self.finds.compared[known, read] = None
        return bool(self.finds.read(known) == self.finds.read(read))

    def _replace(self, target: str, key: str, read: Read) -> None:
        finds = self.finds or Finds(self.span, self.attributes, {})
        fact = finds.offer(target, read)
        if fact is not None:
            dict.__setitem__(self.values, target, fact)  # what it was did not matter: this is not noted
            self.moved[target] = key

    def offer(self, target: str, key: str, value: Value) -> None:
        """Give a value for `target`, found in attribute `key`, unless there is one or it is None."""
        if value is not None and target not in self.values:
            self.values[target] = value
            self.moved[target] = key

    def offer_sum(self, target: str, *keys: str) -> None:
        """Give the sum of the numbers in `keys`, if each of them has one."""
        found = [known for key in keys if (known := number(self.attributes.get(key))) is not None]
        if len(found) == len(keys):
            self.offer(target, keys[0], sum(found))

    def offer_span_name(self, target: str) -> None:
        """Give the span's name for `target`, where that is a name and not a sentence."""
        name = self.span.name
        self.offer(target, "", name if 0 < len(name) <= MAX_NAME_CHARS else None)

    def correct(self, target: str, key: str, value: Value) -> None:
        """Replace what is known for `target` by what attribute `key` says better; nothing if they are equal."""
        if value is not None and self.values.get(target) != value:
            self.values[target] = value
            self.moved[target] = key
            if self.finds is not None:
                self.finds.origins.pop(target, None)

    def forget(self, target: str) -> None:
        """Drop what was read for `target`: here the attribute means something else."""
        dict.pop(self.values, target, None)  # what it was does not matter: this is not noted
        self.moved.pop(target, None)
        if self.finds is not None:
            self.finds.origins.pop(target, None)

    def forget_beginning(self) -> None:
        """Drop an output that was told when an answer began, of a stream that never came to its end."""
        self.forget("gen_ai.usage.output_tokens")
        self.forget("@total_tokens")

    def offer_variables(self, key: str) -> None:
        """Give each variable of a prompt's template that the JSON object in attribute `key` names."""
        variables = parse_json(self.attributes.get(key))
        if not isinstance(variables, dict):
            return
        for name, value in list(variables.items())[:MAX_VARIABLES]:
            target = PROMPT_VARIABLE + name
            if 0 < len(name) <= MAX_NAME_CHARS and target not in self.attributes:
                self.offer(target, key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    @property
    def report(self) -> str:
        """The log event that the span stands for; "" for what was a span from the beginning."""
        return self.text(REPORT) or ""

    def text(self, target: str) -> str | None:
        """Return what is known for a target that is text."""
        value = self.values.get(target)
        return value if isinstance(value, str) else None


Choose: TypeAlias = Callable[[Facts], Kinded]
"""Where the value of a kind attribute alone does not say it."""

Source: TypeAlias = "str | tuple[str, Coerce]"
"""A key, and how to read it where that is not by the type of the target (other units)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """A log record that reports a piece of work, as a span would, or the beginning of one."""

    reports: Kinded | None = None
    """What the work is; None for records that only open something."""
    opens: Literal["", "turn", "call"] = ""
    """Later records of the conversation that do not say where they belong are part of what this one opens."""
    only: Callable[[Attributes], bool] | None = None
    """What else a record has to say to report work; all of them open what they open."""
    at_start: bool = False
    """It has the time at which the work began, though it is written at the end."""
    failed: bool = False
    """It is only written when the work failed."""
    unsampled: bool = False
    """It is written for a span, in its context, and says no more: so it reports work only where that span was not
    sampled."""


def named(events: Mapping[str, LogEvent]) -> dict[str, Kinded | Choose]:
    """Return what log events report, for `Dialect.names`: a report is read as a span with the event's name."""
    return {name: event.reports for name, event in events.items() if event.reports is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one family of instrumentations says things. One file in `dialects/` each."""

    name: str
    source: str = ""
    """Where what it says is written: code or documentation."""
    scopes: tuple[str, ...] = ()
    """Prefixes of instrumentation scope names, up to a boundary (`emitters.at_boundary`)."""
    evidence: tuple[str, ...] = ()
    """Keys, or prefixes ending in `.`, whose presence says that a span speaks this dialect."""
    context: tuple[str, ...] = ()
    """Keys or prefixes that also stand on spans that are no GenAI work: they prove nothing."""
    kinds: Mapping[str, Mapping[str, Kinded | Choose]] = field(default_factory=dict)
    """Kind attribute -> its value -> what that is. Tried in this order; a value not listed is structural."""
    operations: Mapping[str, Kinded] = field(default_factory=dict)
    """Values of `gen_ai.operation.name` outside the conventions -> what they are."""
    names: Mapping[str, Kinded | Choose] = field(default_factory=dict)
    """Span name, or the beginning of one up to a space or dot, on spans of these scopes -> what that is, where no
    attribute says it. Such spans are GenAI work without any other evidence."""
    any_name: Choose | None = None
    """What a span of these scopes is by a name that is not listed: only for scopes in which all is GenAI work."""
    placeholders: Mapping[str, str] = field(default_factory=dict)
    """Attribute -> its value on spans, of any scope, that only announce another span: they are no step themselves,
    whatever else they say."""
    sources: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    """Target -> where else it stands, best first. Read on any span: keys must mean the same everywhere."""
    sources_by_kind: Mapping[StepKind, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """The same for keys that mean this only on spans of this dialect and kind."""
    content: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Key, or prefix ending in `.`, that holds content -> the targets it may become."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Target -> value in this dialect -> well-known value; before anything else looks at it."""
    secrets: tuple[str, ...] = ()
    """Keys, or prefixes ending in `.`, of what is taken off GenAI spans whatever the configuration says: headers of
    requests, with the keys to an account."""
    events: Mapping[str, LogEvent] = field(default_factory=dict)
    """Log records that report work, by the name of their event: `claude_code.api_request`. In its own scopes the
    part after the first dot will do."""
    lends: Mapping[str, str] = field(default_factory=dict)
    """Names of spans -> the attribute in which they have the model of the calls below them, which name none."""
    accumulates: str = ""
    """Beginning of the versions of its scopes whose calls tell the tokens of those before them too (`running_totals`);
    "" where none do."""
    run_keys: tuple[str, ...] = ()
    """Attributes of these records that name their run, the session first, then the turn within it."""
    complete: Callable[[Facts], None] | None = None
    """What tables cannot say; called on spans of its scopes or with evidence of it, after the kind is known."""

    @property
    def tells_twice(self) -> bool:
        """Work may come as a span and as a log record."""
        return any(not event.unsampled for event in self.events.values())
