"""All content of one span, from whichever of the shapes it is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.content import flattened, parts, span_events
from spanledger.conventions.content.documents import flattened_documents, listed_documents, query_of
from spanledger.conventions.content.flattened import Lists
from spanledger.conventions.content.parse import Json, Reader
from spanledger.conventions.content.parts import Part
from spanledger.conventions.content.provider_json import conversation
from spanledger.conventions.content.provider_parts import tool_call_of
from spanledger.conventions.content.record import Content, Event
from spanledger.conventions.content.tools import (
    arguments_of,
    definitions_of,
    flattened_definitions,
    is_schema,
    result_of,
)
from spanledger.conventions.record import record
from spanledger.conventions.values import Attributes

if TYPE_CHECKING:
    from spanledger.conventions.reading import StepKind


@record(frozen=True, slots=True)
class Places:
    """The attributes, by trust, in which one dialect keeps content that is not flattened."""

    prompt: tuple[str, ...] = ()
    """Requests or histories of model spans."""
    instructions: tuple[str, ...] = ()
    completion: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    """Texts that an answer is in parts of: what was thought, what was said, JSON lists of calls. First of each."""
    said: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """Definitions of tools: JSON lists, or lists of JSON objects."""
    arguments: tuple[str, ...] = ()
    result: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    """JSON lists of what would be span events, each with its `event.name`."""


RAW_PROVIDERS: Final = ("openai", "azure", "openrouter", "groq", "mistral", "deepseek", "together_ai", "xai")
"""Providers that speak chat completions, as LiteLLM has them in the keys of a raw request and its answer."""

PLACES: Final[Mapping[str, Places]] = {
    "openinference": Places(
        prompt=("input.value",),
        completion=("output.value",),
        arguments=("input.value", "tool.parameters"),
        result=("output.value",),
        query=("input.value",),
    ),
    "nemo_agent_toolkit": Places(
        prompt=("input.value",), completion=("output.value",), arguments=("input.value",), result=("output.value",)
    ),
    "openllmetry": Places(
        prompt=("gen_ai.prompt",),
        completion=("gen_ai.completion",),
        arguments=("traceloop.entity.input", "gen_ai.tool.input", "gen_ai.tool.args", "mcp.request.argument"),
        result=("traceloop.entity.output", "gen_ai.tool.output", "mcp.response.value"),
        query=("traceloop.entity.input", "db.query.text"),
    ),
    "langfuse": Places(
        prompt=("langfuse.observation.input",),
        completion=("langfuse.observation.output",),
        arguments=("langfuse.observation.input",),
        result=("langfuse.observation.output",),
        query=("langfuse.observation.input",),
        documents=("langfuse.observation.output",),
    ),
    "langsmith": Places(
        prompt=("gen_ai.prompt",),
        completion=("gen_ai.completion",),
        arguments=("gen_ai.prompt",),
        result=("gen_ai.completion",),
        query=("gen_ai.prompt",),
        documents=("gen_ai.completion",),
    ),
    "mlflow": Places(
        prompt=("mlflow.spanInputs",),
        completion=("mlflow.spanOutputs",),
        arguments=("mlflow.spanInputs",),
        result=("mlflow.spanOutputs",),
        query=("mlflow.spanInputs",),
        documents=("mlflow.spanOutputs",),
    ),
    "google_adk": Places(
        prompt=("gcp.vertex.agent.llm_request",),
        completion=("gcp.vertex.agent.llm_response",),
        arguments=("gcp.vertex.agent.tool_call_args",),
        result=("gcp.vertex.agent.tool_response",),
    ),
    "claude_code": Places(
        prompt=("new_context",),
        completion=("response.model_output",),
        arguments=("tool_input", "full_command"),
    ),
    "codex": Places(arguments=("arguments",), result=("output",)),
    "gemini_cli": Places(arguments=("function_args",)),
    "qwen_code": Places(arguments=("function_args",)),
    "agentops": Places(
        prompt=("gen_ai.prompt",),
        completion=("gen_ai.completion",),
        arguments=("tool.parameters", "agentops.entity.input", "agentops.tool.input"),
        result=("tool.result", "agentops.entity.output", "agentops.tool.output"),
    ),
    "haystack": Places(
        prompt=("haystack.agent.step.llm.input", "haystack.component.input"),
        completion=("haystack.agent.step.llm.output", "haystack.component.output"),
        arguments=("haystack.agent.step.tool.input",),
        result=("haystack.agent.step.tool.output",),
        query=("haystack.component.input",),
        documents=("haystack.component.output",),
    ),
    "genkit": Places(
        prompt=("genkit:input",),
        completion=("genkit:output",),
        arguments=("genkit:input",),
        result=("genkit:output",),
        query=("genkit:input",),
        documents=("genkit:output",),
    ),
    "voltagent": Places(
        prompt=("llm.messages",),
        completion=("output",),
        arguments=("input",),
        result=("output",),
        query=("input",),
        documents=("output",),
    ),
    "livekit": Places(
        arguments=("lk.pii.function_tool.arguments", "lk.function_tool.arguments"),
        result=("lk.pii.function_tool.output", "lk.function_tool.output"),
    ),
    "spring_ai": Places(
        prompt=("gen_ai.prompt",),
        completion=("gen_ai.completion",),
        arguments=("spring.ai.tool.call.arguments",),
        result=("spring.ai.tool.call.result",),
        query=("db.vector.query.content", "db.query.text"),
    ),
    "pydantic_ai": Places(events=("events",), arguments=("tool_arguments",), result=("tool_response",)),
    "vercel_ai": Places(
        prompt=("ai.prompt.messages",),
        reasoning=("ai.response.reasoning",),
        said=("ai.response.text", "ai.response.object"),
        calls=("ai.response.toolCalls",),
        tools=("ai.prompt.tools",),
        arguments=("ai.toolCall.args",),
        result=("ai.toolCall.result",),
    ),
    "laminar": Places(arguments=("lmnr.span.input",), result=("lmnr.span.output",)),
    "openai_agents": Places(
        prompt=("openai_agents.input",),
        completion=("openai_agents.output",),
        arguments=("openai_agents.input",),
        result=("openai_agents.output",),
    ),
    "trace_ai": Places(
        prompt=("input.value",),
        completion=("output.value",),
        arguments=("gen_ai.tool.parameters", "input.value"),
        result=("output.value",),
        query=("gen_ai.retrieval.query", "input.value"),
    ),
    "braintrust": Places(
        prompt=("braintrust.input_json", "braintrust.input"),
        completion=("braintrust.output_json", "braintrust.output"),
        arguments=("braintrust.input_json", "braintrust.input"),
        result=("braintrust.output_json", "braintrust.output"),
    ),
    "litellm": Places(
        prompt=("gen_ai.prompt", *(f"llm.{provider}.messages" for provider in RAW_PROVIDERS)),
        completion=("gen_ai.completion", *(f"llm.{provider}.choices" for provider in RAW_PROVIDERS)),
        tools=tuple(f"llm.{provider}.tools" for provider in RAW_PROVIDERS),
    ),
    "langtrace": Places(prompt=("llm.prompts",), completion=("llm.responses",)),
    "pipecat": Places(prompt=("input",), said=("output",), arguments=("tool.arguments",), result=("tool.result",)),
    "sentry": Places(
        prompt=("gen_ai.request.messages",),
        said=("gen_ai.response.text",),
        calls=("gen_ai.response.tool_calls",),
        tools=("gen_ai.request.available_tools",),
        arguments=("gen_ai.tool.input",),
        result=("gen_ai.tool.output",),
    ),
    "promptflow": Places(prompt=("inputs",), completion=("output",)),
    "logfire": Places(events=("events",), prompt=("request_data",), completion=("response_data",)),
}
"""One row a dialect; what is flattened or in events is found without one."""

_ANY: Final = Places(
    prompt=("gen_ai.prompt", "gen_ai.prompt_json"),
    completion=("gen_ai.completion", "gen_ai.completion_json"),
    arguments=("gen_ai.tool.input", "gen_ai.tool.args"),
    result=("gen_ai.tool.output",),
    query=("db.query.text",),
)


_FIELDS: Final[Mapping[str, str]] = {
    "gen_ai.input.messages": "prompt",
    "gen_ai.system_instructions": "instructions",
    "gen_ai.output.messages": "completion",
    "gen_ai.tool.definitions": "tools",
    "gen_ai.tool.call.arguments": "arguments",
    "gen_ai.tool.call.result": "result",
    "gen_ai.retrieval.query.text": "query",
    "gen_ai.retrieval.documents": "documents",
}


def places_of(dialect: str, mapped: Mapping[str, str]) -> Places:
    """Return where a dialect keeps content: first where an operator says, by key -> attribute of the conventions."""
    known = PLACES.get(dialect, _ANY)
    told = {name: tuple(key for key, target in mapped.items() if target == of) for of, name in _FIELDS.items()}
    return replace(known, **{name: keys + getattr(known, name) for name, keys in told.items() if keys})


def messages_of(
    dialect: str,
    attributes: Attributes,
    events: Sequence[Event] = (),
    kind: StepKind = "other",
    places: Places | None = None,
) -> Content:
    """Return the content of one span; `places` are those of its dialect, where they are not the usual ones.

    Attributes that have their current name are not read. Of several sources for the same, the first wins:
    flattened attributes, events, then whole documents. Never raises because of data; what is not whole is
    named in `marks`.
    """
    reader = Reader()
    lists = flattened.gather(attributes, reader)
    if places is None:
        places = PLACES.get(dialect, _ANY)
    if kind == "tool":
        said = _tool(attributes, events, places, reader)
    else:
        said = _flattened(lists, attributes, reader)
        listed = [*events, *_listed_events(attributes, places, reader)] if places.events else events
        if listed and (told := span_events.content_of(listed, reader)) is not None:
            said = said.over(told)
        if kind == "llm":
            said = _documents(said, attributes, places, reader)
        elif kind == "retrieval":
            said = _retrieval(said, attributes, places, reader)
    marks = reader.marks
    return replace(said, marks=marks) if marks else said


def _flattened(lists: Lists, attributes: Attributes, reader: Reader) -> Content:
    if not lists:
        return _NOTHING
    asked = answered = None
    for name in ("input_messages", "input.messages", "prompt"):
        if asked is None and name in lists:
            asked = flattened.messages(lists[name], reader)
    for name in ("output_messages", "output.messages", "completion", "completions"):
        if answered is None and name in lists:
            answered = flattened.messages(lists[name], reader, "assistant")
    if asked is None and "prompts" in lists:
        asked = flattened.prompts(lists["prompts"], reader)
    if answered is None and "choices" in lists:
        answered = flattened.choices(lists["choices"], reader)
    tools = None
    for name in ("tools", "tool.definitions", "request.functions", "request.tools"):
        if tools is None and name in lists:
            tools = flattened_definitions(lists[name], reader) or None
    documents = lists.get("documents")
    reasons = [fields.get("finish_reason") for _, fields in sorted(lists.get("completion", {}).items())]
    spelled = [reason for reason in reasons if isinstance(reason, str) and reason]
    return Content(
        input_messages=asked,
        output_messages=answered,
        tool_definitions=tools,
        retrieval_documents=flattened_documents(documents, reader) if documents else None,
        finish_reasons=spelled if spelled and len(spelled) == len(reasons) else None,
    )


_NOTHING: Final = Content()


def _documents(said: Content, attributes: Attributes, places: Places, reader: Reader) -> Content:
    """Complete a model span from its whole request and answer: the last resort, for they hold much else."""
    if said.input_messages is None and (document := _first_document(attributes, places.prompt, reader)) is not None:
        asked = conversation(document, "user", reader)
        said = said.over(
            Content(
                input_messages=asked.messages or None,
                system_instructions=asked.instructions or None,
                tool_definitions=asked.tools or None,
            )
        )
    if said.system_instructions is None and (told := _first_document(attributes, places.instructions, reader)):
        system = conversation({"system": told}, "user", reader)
        said = said.over(Content(system_instructions=system.instructions or None))
    if said.tool_definitions is None and places.tools:
        said = said.over(Content(tool_definitions=_definitions(attributes, places, reader) or None))
    if said.output_messages is None and (answer := _answer(attributes, places, reader)):
        said = said.over(Content(output_messages=[parts.message("assistant", answer)]))
    if said.output_messages is None and (call := reader.document(attributes.get("llm.function_call"))) is not None:
        answered = conversation({"role": "assistant", "function_call": call}, "assistant", reader)
        said = said.over(Content(output_messages=answered.messages))
    if said.output_messages is None:
        document = _first_document(attributes, places.completion, reader)
        if document is not None:
            answered = conversation(document, "assistant", reader)
            said = said.over(
                Content(
                    output_messages=answered.messages or None,
                    finish_reasons=answered.finish_reasons or None,
                )
            )
    return said


def _answer(attributes: Attributes, places: Places, reader: Reader) -> list[Part]:
    """Put an answer together whose parts stand in attributes of their own."""
    answer: list[Part] = []
    for keys, make in ((places.reasoning, parts.reasoning), (places.said, parts.text)):
        texts = (reader.text(attributes.get(key)) for key in keys)
        answer += [make(text) for text in texts if text is not None][:1]
    for key in places.calls:
        calls = reader.document(attributes.get(key))
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                answer += tool_call_of(call, reader)
    return answer


def _definitions(attributes: Attributes, places: Places, reader: Reader) -> list[dict[str, Json]]:
    for key in places.tools:
        listed = reader.document(attributes.get(key))
        tools = [reader.document(tool) for tool in listed] if isinstance(listed, list) else listed
        if found := definitions_of(tools):
            return found
    return []


def _listed_events(attributes: Attributes, places: Places, reader: Reader) -> Iterable[Event]:
    for key in places.events:
        listed = reader.document(attributes.get(key))
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict) and isinstance(name := item.get("event.name"), str):
                yield Event(name, item)


def _first_document(attributes: Attributes, keys: tuple[str, ...], reader: Reader) -> Json:
    for key in keys:
        value = attributes.get(key)
        if value is None:
            continue
        if isinstance(value, str) and value[:1] not in ("[", "{", '"'):
            return value if reader.said(value) else None
        return reader.document(value)
    return None


def _retrieval(said: Content, attributes: Attributes, places: Places, reader: Reader) -> Content:
    asked = (query_of(attributes.get(key), reader) for key in places.query)
    answered = (listed_documents(attributes.get(key), reader) for key in places.documents)
    found = Content(
        retrieval_query=next((query for query in asked if query is not None), None),
        retrieval_documents=next((documents for documents in answered if documents), None),
    )
    return said.over(found)


def _tool(attributes: Attributes, events: Sequence[Event], places: Places, reader: Reader) -> Content:
    arguments = result = None
    for key in places.arguments:
        if arguments is None and (value := attributes.get(key)) is not None:
            found = arguments_of(value, reader)
            # The definition of a tool says how it may be called, not how it was.
            arguments = None if key == "tool.parameters" and is_schema(found) else found
    for key in places.result:
        if result is None and (value := attributes.get(key)) is not None:
            result = result_of(value, reader)
    for event in events[: span_events.MAX_EVENTS]:
        if event.name == "gen_ai.tool.message" and arguments is None:
            arguments = arguments_of(event.attributes.get("content"), reader)
        elif event.name == span_events.CHOICE and result is None:
            result = result_of(event.attributes.get("message"), reader)
        elif event.name == span_events.DETAILS:
            arguments, result = _details(event, arguments, result, reader)
    return Content(tool_arguments=arguments, tool_result=result)


def _details(event: Event, arguments: Json, result: Json, reader: Reader) -> tuple[Json, Json]:
    """Read the call of a tool span out of messages: a `tool_call` in, a `tool_call_response` out."""
    told = span_events.details_of(event.attributes, reader)
    for message in told.input_messages or ():
        for part in message["parts"]:
            if arguments is None and part["type"] == "tool_call":
                arguments = part.get("arguments")
    for message in told.output_messages or ():
        for part in message["parts"]:
            if result is None and part["type"] == "tool_call_response":
                result = part["response"]
    return arguments, result
