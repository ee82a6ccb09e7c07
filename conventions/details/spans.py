"""Reads a `Detail` off a span that was read before, or off a log record that belongs to one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from spanledger.conventions.content.log_records import content_of
from spanledger.conventions.content.parse import Reader
from spanledger.conventions.content.provider_json import conversation
from spanledger.conventions.content.span_events import CHOICE, DETAILS, MESSAGES
from spanledger.conventions.content.tools import arguments_of, definitions_of, result_of
from spanledger.conventions.detail import Detail
from spanledger.conventions.details import rendering
from spanledger.conventions.details.delegates import delegate_of
from spanledger.conventions.details.evaluations import evaluation_of, evaluations_of, evaluations_on
from spanledger.conventions.details.graphs import node_of
from spanledger.conventions.details.history import INSTRUCTING, MAX_ID_CHARS, Answer, Heard, answer, chained, heard
from spanledger.conventions.details.merging import MAX_CONTENT_BYTES
from spanledger.conventions.details.outcomes import outcome_of
from spanledger.conventions.details.plans import plan_of
from spanledger.conventions.details.prints import Printer, canonical, clipped
from spanledger.conventions.safety.reading import EVENTS as SAFETY_EVENTS
from spanledger.conventions.safety.reading import concern_of_event, concerns_of
from spanledger.conventions.values import TooLarge, attributes_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.content.parse import Json
    from spanledger.conventions.content.parts import Message
    from spanledger.conventions.detail import ContentMode, Digest, Evaluation, Print
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.span_attributes import Keys
    from spanledger.conventions.values import Attributes, Value

MAX_LINKS: Final = 128
MAX_DIMENSION_CHARS: Final = 200
MAX_FINGERPRINTS: Final = 1_024
"""Fingerprints that are remembered: an agent says the same with each call."""

_INPUT: Final = "gen_ai.input.messages"
_OUTPUT: Final = "gen_ai.output.messages"
_INSTRUCTIONS: Final = "gen_ai.system_instructions"
_TOOLS: Final = "gen_ai.tool.definitions"
_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
_RESULT: Final = "gen_ai.tool.call.result"
_QUERY: Final = "gen_ai.retrieval.query.text"
_DOCUMENTS: Final = "gen_ai.retrieval.documents"
_CHOICES: Final = "gen_ai.request.choice.count"
_PREVIOUS: Final = "gen_ai.request.previous_response.id"
_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"

_FIELDS: Final = {
    _INPUT: "input_messages",
    _OUTPUT: "output_messages",
    _INSTRUCTIONS: "system_instructions",
    _TOOLS: "tool_definitions",
    _ARGUMENTS: "tool_arguments",
    _RESULT: "tool_result",
    _QUERY: "retrieval_query",
    _DOCUMENTS: "retrieval_documents",
}
"""Attributes -> the fields of `Content` that hold them parsed."""

_BY_NODES: Final = frozenset({"llm", "tool", "embedding", "retrieval"})
"""Kinds of work that a node of a graph does itself."""

_MESSAGE_EVENTS: Final = frozenset({CHOICE, DETAILS, *MESSAGES})

_DIGIT: Final = re.compile(r"\d")
_CALENDAR: Final = frozenset({
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "january", "february", "march",
    "april", "may", "june", "july", "august", "september", "october", "november", "december", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "am",
    "pm", "utc", "gmt",
})  # fmt: skip


class Details:
    """Reads details in one mode, with one key. Remembers fingerprints, which are a pure function of content."""

    def __init__(
        self,
        mode: ContentMode,
        key: bytes,
        dimensions: Sequence[str] | Mapping[str, str] = (),
        max_content_bytes: int = MAX_CONTENT_BYTES,
    ) -> None:
        """Take the mode, the secret of the digests, and the attributes that are asked for as dimensions."""
        self._full = mode == "full"
        self._print = None if mode == "none" else Printer(key)
        sources = dimensions if isinstance(dimensions, Mapping) else {name: name for name in dimensions}
        self._dimensions = tuple((name, *_places(source)) for name, source in sources.items())
        self._max_bytes = max_content_bytes
        self._fingerprints: dict[int, Digest | None] = {}
        """Python's hash of instructions or tools as they came -> their fingerprint; no content is kept."""

    def read(self, span: Span, reading: Reading, resource_attributes: Attributes) -> Detail:
        """Return what `span` says that joins it to others. Never raises because of data."""
        found: dict[str, object] = {}
        if span.links:
            found["links"] = tuple((link.trace_id, link.span_id) for link in span.links[:MAX_LINKS])
        if reading.kind == "llm":
            self._read_call(found, reading, Reader())
        elif reading.kind == "tool":
            self._read_work(found, reading, _ARGUMENTS, _RESULT)
        elif reading.kind == "retrieval":
            self._read_work(found, reading, _QUERY, _DOCUMENTS)
        elif reading.kind in ("agent", "workflow", "plan"):
            self._read_agent(found, reading)
        if reading.kind in _BY_NODES and (node := node_of(reading.attributes)):
            found["node"] = node
        evaluations = evaluations_of(span, reading.attributes, judge=reading.kind == "evaluation", explained=self._full)
        if evaluations:
            found["evaluations"] = evaluations
        outcome = outcome_of(reading.attributes)
        if outcome:
            found["outcome"] = outcome
        concerns = concerns_of(span, reading, finish if isinstance(finish := found.get("finish"), str) else "")
        if concerns:
            found["concerns"] = concerns
        if self._dimensions:
            found["dimensions"] = self._read_dimensions(reading, resource_attributes)
        return Detail(**found) if found else _NOTHING  # type: ignore[arg-type]

    def evaluations_on(self, span: Span, keys: Keys | None = None) -> tuple[Evaluation, ...]:
        """Return what a span that is no GenAI work says of others. Never raises because of data."""
        return evaluations_on(span, keys, explained=self._full)

    def detail_of_log(self, record: LogRecord) -> tuple[bytes, bytes, Detail] | None:
        """Return the trace id and span id that a log record belongs to, and what it says; None if it says nothing.

        That is content, as the conventions' events have it, an evaluation, or what a guardrail decided. A record of
        one message makes a detail that `merged` puts together with those of the others.
        """
        judged = evaluation_of(record, explained=self._full)
        if judged is not None:
            return record.trace_id, record.span_id, Detail(evaluations=(judged,))
        name = record.event_name
        if not name:
            name = next((pair.value.string_value for pair in record.attributes[:64] if pair.key == "event.name"), "")
        if name in SAFETY_EVENTS:
            concern = concern_of_event(attributes_of(record.attributes))
            return None if concern is None else (record.trace_id, record.span_id, Detail(concerns=(concern,)))
        if name not in _MESSAGE_EVENTS:
            return None
        try:
            body = value_of(record.body)
        except TooLarge:
            return None
        said = content_of(name, body, attributes_of(record.attributes))
        if said is None:
            return None
        found: dict[str, object] = {"single": name != DETAILS}
        asked, told = said.input_messages or (), said.output_messages or ()
        self._join(found, asked, told, Reader(), whole=not said.marks)
        guidance = [part["content"] for part in said.system_instructions or ()]
        self._fingerprint_prompt(found, "", guidance, asked)
        if said.tool_definitions:
            self._fingerprint_tools(found, said.tool_definitions)
        return record.trace_id, record.span_id, Detail(**found)  # type: ignore[arg-type]

    def _read_call(self, found: dict[str, object], reading: Reading, reader: Reader) -> None:
        asked = _messages(reading, _INPUT, "user", reader)
        # What was cut is not what was said: no next call will extend it.
        whole = not reader.marks
        told = _messages(reading, _OUTPUT, "assistant", reader)
        previous = reading.says(_PREVIOUS)
        if isinstance(previous, str):
            found["previous_response_id"] = previous[:MAX_ID_CHARS]
        choices = reading.says(_CHOICES)
        if isinstance(choices, int) and choices > 1:
            told = told[:1]
        if asked or told:
            self._join(found, asked, told, reader, whole=whole)
        if finish := _finish(reading.says(_FINISH_REASONS), told):
            found["finish"] = finish
        instructions = reading.says(_INSTRUCTIONS)
        if instructions is not None:
            source = instructions if isinstance(instructions, str) else ""
            self._fingerprint_prompt(found, source, _guidance(reading, reader), asked)
        elif asked:
            self._fingerprint_prompt(found, "", (), asked)
        self._read_tools(found, reading, reader)

    def _join(
        self,
        found: dict[str, object],
        asked: Sequence[Message],
        told: Sequence[Message],
        reader: Reader,
        *,
        whole: bool,
    ) -> None:
        """Add what a conversation says."""
        hears: Heard = heard(asked, self._print, reader)
        answers: Answer = answer(told, self._print, reader)
        found["requests"], found["answered"], found["given"] = answers.requests, hears.answered, hears.given
        found["results"] = hears.results
        found["asks_user"] = hears.asks_user
        if self._print is not None:
            if hears.chain and whole:
                found["history"] = hears.chain
                if told and not reader.marks:
                    # An answer of which nothing is said is still behind the next call's history.
                    found["after"] = (hears.chain[-1], *chained(hears.chain[-1], answers.parts))[-1]
            found["answer"] = answers.parts
            if answers.text:
                found["output"] = self._print.print(answers.text)
        if self._full:
            found["input"] = rendering.bounded(rendering.new_input(asked), self._max_bytes) if asked else None
            found["said"] = rendering.bounded(rendering.answered(told), self._max_bytes)

    def _read_work(self, found: dict[str, object], reading: Reading, asked: str, answered: str) -> None:
        """Add what a tool or a search was given and what it gave back."""
        if self._print is None:
            return
        reader = Reader()
        for name, printed, kept in ((asked, "arguments", "input"), (answered, "result", "said")):
            value = _value(reading, name, reader)
            if name == _ARGUMENTS and (plan := plan_of(reading.tool_name or "", value)) is not None:
                found["plan"] = plan
            if name == _ARGUMENTS and reading.kind == "tool":
                found["delegate"] = delegate_of(reading.tool_name or "", value)
            if value is not None and value != "":
                fingerprint: Print = self._print.print(value)
                found[printed] = fingerprint
                if self._full:
                    found[kept] = rendering.bounded((rendering.as_text(value),), self._max_bytes)

    def _read_agent(self, found: dict[str, object], reading: Reading) -> None:
        """Add what an agent is made of, and in mode `full` what it was asked and said."""
        reader = Reader()
        instructions = reading.says(_INSTRUCTIONS)
        if instructions is not None:
            source = instructions if isinstance(instructions, str) else ""
            self._fingerprint_prompt(found, source, _guidance(reading, reader), ())
        self._read_tools(found, reading, reader)
        if self._full:
            asked = _messages(reading, _INPUT, "user", reader)
            told = _messages(reading, _OUTPUT, "assistant", reader)
            found["input"] = rendering.bounded(rendering.new_input(asked), self._max_bytes) if asked else None
            found["said"] = rendering.bounded(rendering.answered(told), self._max_bytes)

    def _read_tools(self, found: dict[str, object], reading: Reading, reader: Reader) -> None:
        if self._print is None or (raw := reading.says(_TOOLS)) is None:
            return
        if isinstance(raw, str):
            source = hash(raw)
            if source in self._fingerprints:
                found["tools"] = self._fingerprints[source]
                return
            self._fingerprint_tools(found, _value(reading, _TOOLS, reader))
            self._remember(source, found.get("tools"))
        else:
            self._fingerprint_tools(found, _value(reading, _TOOLS, reader))

    def _fingerprint_tools(self, found: dict[str, object], tools: Json) -> None:
        if self._print is None:
            return
        offered = sorted(
            f"{tool['name']}\0{canonical(tool.get('parameters'))}"
            for tool in definitions_of(tools)
            if isinstance(tool.get("name"), str)
        )
        if offered:
            found["tools"] = _OPEN.exact("\0".join(offered))

    def _fingerprint_prompt(
        self,
        found: dict[str, object],
        source: str,
        guidance: Iterable[str],
        asked: Sequence[Message],
    ) -> None:
        """Add the fingerprint of the instructions, those given apart and those at the head of the messages.

        `source` is where `guidance` comes from, as text: it is not read when it is known.
        """
        if self._print is None:
            return
        leading = "\0".join(_leading(asked))
        if not source:
            source = "\0".join(guidance)
            guidance = (source,) if source else ()
        if not source and not leading:
            return
        key = hash((source, leading))
        if key not in self._fingerprints:
            text = "\0".join(filter(None, (*guidance, leading)))
            self._remember(key, _OPEN.digest(_steady(clipped(text))))
        found["prompt"] = self._fingerprints[key]

    def _remember(self, key: int, fingerprint: object) -> None:
        if len(self._fingerprints) >= MAX_FINGERPRINTS:
            self._fingerprints.clear()
        self._fingerprints[key] = fingerprint if isinstance(fingerprint, int) else None

    def _read_dimensions(self, reading: Reading, resource_attributes: Attributes) -> Mapping[str, str]:
        dimensions: dict[str, str] = {}
        for name, of_span, of_resource in self._dimensions:
            for value in (reading.says(of_span), resource_attributes.get(of_resource)):
                if isinstance(value, str | int | float) and value != "":
                    text = str(value).lower() if isinstance(value, bool) else str(value)
                    dimensions[name] = text[:MAX_DIMENSION_CHARS]
                    break
        return dimensions


def _places(source: str) -> tuple[str, str]:
    """Return the attributes of the span and of the resource that a dimension is read from; "" for neither."""
    if source.startswith("resource."):
        return "", source.removeprefix("resource.")
    if source.startswith("span."):
        return source.removeprefix("span."), ""
    return source, source


_NOTHING: Final = Detail()
_OPEN: Final = Printer(b"fingerprint of an agent")
"""With a key that everybody knows: an agent has the same fingerprint in every process, or nobody could tell from it
whether the agent has changed. What is printed was written by a developer, and words with digits are left out."""


def _finish(reasons: Value, told: Sequence[Message]) -> str:
    """Return why an answer ended; "" where nothing says it. A refusal is one whatever the reason."""
    said = [reason for reason in reasons if isinstance(reason, str)] if isinstance(reasons, list) else []
    said += [reason for message in told if isinstance(reason := message.get("finish_reason"), str)]
    refused = any(part.get("type") == "refusal" for message in told for part in message["parts"])
    return "refusal" if refused else said[0][:MAX_ID_CHARS] if said else ""


def _steady(text: str) -> str:
    """Return instructions without what they say anew each time: dates, times, ids and numbers."""
    words = [word for word in text.split() if not _DIGIT.search(word)]
    return " ".join([word for word in words if word.strip(".,;:()[]").lower() not in _CALENDAR])


def _leading(messages: Sequence[Message]) -> Iterator[str]:
    """Yield the texts of the instructions at the head of a conversation."""
    for message in messages:
        if message["role"] not in INSTRUCTING:
            return
        for part in message["parts"]:
            if part.get("type") == "text" and isinstance(part.get("content"), str):
                yield part["content"]


def _guidance(reading: Reading, reader: Reader) -> Iterator[str]:
    """Yield the texts of instructions that are given apart from the messages; read when first asked."""
    parts = _value(reading, _INSTRUCTIONS, reader)
    for part in parts if isinstance(parts, list) else (parts,):
        text = part.get("content", part.get("text")) if isinstance(part, dict) else part
        if isinstance(text, str) and text:
            yield text


def _value(reading: Reading, name: str, reader: Reader) -> Json:
    """Return what the span says under `name`, parsed; what the normaliser parsed is not parsed again."""
    said = reading.content
    if said is not None and (name in reading.edits or name not in reading.attributes):
        return getattr(said, _FIELDS[name])
    raw: Value = reading.says(name)
    if raw is None:
        return None
    if name == _ARGUMENTS:
        return arguments_of(raw, reader)  # OpenLLMetry writes LangChain's record of a call under the current names too
    return result_of(raw, reader) if name == _RESULT else reader.response(raw)


def _messages(reading: Reading, name: str, role: str, reader: Reader) -> Sequence[Message]:
    said = reading.content
    if said is not None and (name in reading.edits or name not in reading.attributes):
        known: list[Message] | None = getattr(said, _FIELDS[name])
        return known or ()
    raw: Value = reading.says(name)
    if raw is None or raw == "":
        return ()
    document = reader.document(raw)
    if isinstance(document, list) and _are_messages(document):
        return document
    return conversation(document, role, reader).messages if document is not None else ()


def _are_messages(items: list[Json]) -> bool:
    for item in items:
        if type(item) is not dict or type(item.get("role")) is not str or type(parts := item.get("parts")) is not list:
            return False
        if "tool_calls" in item or "tool_call_id" in item:
            return False  # LiteLLM leaves these beside the parts
        for part in parts:
            if type(part) is not dict or "type" not in part:
                return False  # Gemini's own contents have roles and parts too
    return True
