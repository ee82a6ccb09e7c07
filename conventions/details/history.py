"""A conversation as a chain of digests, so that the next call is recognised by the history it extends.

Each part of a message has a digest, and the chain after it is `chain * STEP + digest` in 64 bits. What a
model answered and what the next call says that it answered differ in details; only what both have counts:

* instructions do not count: frameworks change them between calls, and put them in different places;
* nor do reasoning (seldom sent back), finish reasons, names of speakers, and space around texts;
* nor the id of a tool call, which OpenAI's Responses API calls otherwise in an answer than in a request; the
  ids of results do count, they tell apart two runs that were asked the same;
* nor how parts are put together to messages: each part has a link of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import ToolRequest
from spanledger.conventions.details.prints import canonical, clipped
from spanledger.conventions.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.content.parse import Json, Reader
    from spanledger.conventions.content.parts import Message, Part
    from spanledger.conventions.detail import Detail, Digest
    from spanledger.conventions.details.prints import Printer

MAX_PARTS: Final = 4_096
"""Parts of one history that are read, from its beginning; a longer one has no chain."""
MAX_LINKS: Final = 64
"""Links of the chain that are kept, the last ones: the next call extends what was said last."""
MAX_IDS: Final = 64
"""Tool requests of one answer, and tool results of one history, that are kept: the last ones."""
MAX_ID_CHARS: Final = 200
MAX_TEXTS: Final = 4
"""Texts among the arguments of a request that are remembered."""
MIN_TEXT_CHARS: Final = 12
"""A shorter text is no task that somebody is given, and may be anybody's."""

INSTRUCTING: Final = frozenset({"system", "developer"})

STEP: Final = 0x9E3779B97F4A7C15
"""Odd, so that no part is forgotten: 2^64 divided by the golden ratio."""
_MASK: Final = (1 << 64) - 1


@record(frozen=True, slots=True)
class Heard:
    """What the input of a model call says."""

    chain: tuple[Digest, ...] | None
    """The chain after each part, the last `MAX_LINKS`; None when the history is too long to read."""
    answered: tuple[str, ...]
    asks_user: bool
    given: tuple[ToolRequest, ...]
    """The calls whose results stand at the end."""
    results: tuple[tuple[str, Digest, int], ...]
    """Those results: id, digest, characters."""


@record(frozen=True, slots=True)
class Answer:
    """What a model answered."""

    parts: tuple[Digest, ...]
    requests: tuple[ToolRequest, ...]
    text: str


def extends(later: Detail, earlier: Detail) -> bool:
    """Tell whether a call goes on where an earlier one ended, by the history it was given.

    Where both say ids of tool calls, these must agree too: two runs may ask the same and be answered the same.
    """
    if earlier.after is None or earlier.after not in later.history:
        return False
    asked = {request.id for request in earlier.requests if request.id}
    return not asked or not 0 < len(later.answered) < MAX_IDS or not asked.isdisjoint(later.answered)


def chained(start: Digest, parts: Iterable[Digest]) -> list[Digest]:
    """Return the chain after each of `parts`, `start` being the chain before them (0 at the beginning)."""
    links: list[Digest] = []
    chain = start
    for digest in parts:
        chain = (chain * STEP + digest) & _MASK
        links.append(chain)
    return links


def unchained(links: Sequence[Digest]) -> list[Digest]:
    """Return the digests of the parts that made these links, which are those of a chain from its beginning."""
    return [(link - before * STEP) & _MASK for before, link in zip((0, *links), links, strict=False)]


def heard(messages: Iterable[Message], printer: Printer | None, reader: Reader) -> Heard:
    """Read the input messages of a model call; without a printer only ids and who spoke last."""
    chain = 0
    links: list[Digest] = []
    called: list[str] = []
    answered: list[str] = []
    waiting: list[str] = []
    """Calls of the last answer that no result named."""
    round_: list[Part] = []
    """Calls of the last answer, and of those before it that no result came between."""
    results: list[Part] = []
    """What came back of them."""
    answering = False
    speaker = ""
    for message in messages:
        role = message["role"]
        if role in INSTRUCTING:
            continue
        for part in message["parts"]:
            kind = part.get("type")
            if kind == "reasoning" or (kind == "text" and not _says(part)):
                continue
            speaker = role
            if kind == "tool_call":
                if answering:
                    round_, results = [], []
                answering = False
                round_.append(part)
                waiting.append(_id(part))
            elif kind == "tool_call_response":
                # Some model APIs want results in a message of the user, and a remark may go with them.
                answering, speaker = True, "tool"
                called += waiting
                waiting = []
                answered.append(_id(part))
                results.append(part)
            elif role == "assistant":
                answering = False
                round_, results = [], []
            elif waiting:
                # Model APIs take nothing but results after calls, so this is one, whatever it is called here.
                answering = True
                called += waiting
                answered += waiting
                waiting = []
            if printer is not None and len(links) <= MAX_PARTS:
                chain = (chain * STEP + digest_of(part, kind, speaker, printer, reader)) & _MASK
                links.append(chain)
    return Heard(
        chain=tuple(links[-MAX_LINKS:]) if len(links) <= MAX_PARTS else None,
        answered=_answered(called, answered) if answered else (),
        asks_user=speaker == "user" and not answering,
        given=tuple(request_of(part, printer, reader) for part in round_[:MAX_IDS]) if answering else (),
        results=tuple(_result(part, printer) for part in results[:MAX_IDS] if answering) if printer is not None else (),
    )


def _result(part: Part, printer: Printer) -> tuple[str, Digest, int]:
    text = canonical(part.get("response", part.get("result")))
    return _id(part), printer.digest(text), len(text)


def answer(messages: Iterable[Message], printer: Printer | None, reader: Reader) -> Answer:
    """Read the output messages of a model call; without a printer only the requests' ids and names."""
    parts: list[Digest] = []
    requests: list[ToolRequest] = []
    texts: list[str] = []
    said = [*messages]
    whole = _told_whole(said) if len(said) > 1 else frozenset()
    for message in said:
        for part in message["parts"]:
            kind = part.get("type")
            if kind == "reasoning" or (kind == "text" and not _says(part)):
                continue
            if kind == "tool_call" and not part.get("arguments") and (_id(part), _name(part)) in whole:
                continue
            if kind == "text":
                texts.append(part["content"])
            elif kind == "tool_call" and len(requests) < MAX_IDS:
                requests.append(request_of(part, printer, reader))
            if printer is not None and len(parts) < MAX_PARTS:
                parts.append(digest_of(part, kind, "assistant", printer, reader))
    return Answer(tuple(parts), tuple(requests), "\n".join(texts))


def _told_whole(messages: Sequence[Message]) -> frozenset[tuple[str, str]]:
    """Return ids and names of the calls with arguments; a stream that is told piece by piece has them before, too."""
    return frozenset(
        (call_id, _name(part))
        for message in messages
        for part in message["parts"]
        if part.get("type") == "tool_call" and part.get("arguments") and (call_id := _id(part))
    )


def digest_of(part: Part, kind: Json, speaker: str, printer: Printer, reader: Reader) -> Digest:
    """Return the digest of one part of a message, by what a request and an answer say alike of it."""
    memo = printer.parts
    if kind == "text":
        text = part["content"].strip()
        key = hash((kind, speaker, text))
        return memo[key] if key in memo else printer.remember(key, f"{speaker}\0{text}")
    if kind == "tool_call":
        name = _name(part)
        key = hash((kind, name, repr(part.get("arguments"))))
        if key in memo:
            return memo[key]
        return printer.remember(key, f"call\0{name}\0{clipped(canonical(arguments_of(part, reader)))}")
    if kind == "tool_call_response":
        response = part.get("response", part.get("result"))
        call_id = _id(part)
        key = hash((kind, call_id, response if isinstance(response, str) else (repr(response),)))
        if key in memo:
            return memo[key]
        return printer.remember(key, f"result\0{call_id}\0{clipped(canonical(response))}")
    return printer.digest(f"{kind}\0{clipped(canonical(part))}")


def arguments_of(part: Part, reader: Reader) -> Json:
    """Return the arguments of a tool call, out of their JSON if need be."""
    arguments = part.get("arguments")
    return reader.arguments(arguments) if isinstance(arguments, str) else arguments


def request_of(part: Part, printer: Printer | None, reader: Reader) -> ToolRequest:
    """Return the request that a part of an answer makes."""
    if printer is None or (arguments := arguments_of(part, reader)) is None:
        return ToolRequest(_id(part), _name(part), None)
    values = arguments.values() if isinstance(arguments, dict) else ()
    texts = [value for value in values if isinstance(value, str) and len(value) >= MIN_TEXT_CHARS][:MAX_TEXTS]
    return ToolRequest(
        _id(part),
        _name(part),
        printer.digest(canonical(arguments)),
        tuple(digest_of({"content": text}, "text", "user", printer, reader) for text in texts),
    )


def _answered(called: Sequence[str], answered: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that results answer to.

    Where a result has another id than its call (see above), what is left over of both belongs together in
    order, and both ids are returned.
    """
    known = set(called)
    unknown = sum(result not in known for result in answered)
    ids = list(answered)
    if unknown:
        results = set(answered)
        ids += [call for call in called if call not in results][:unknown]
    return tuple(dict.fromkeys(found for found in ids[-MAX_IDS:] if found))


def _says(part: Part) -> bool:
    """Tell whether a text part has any text."""
    content = part.get("content")
    return isinstance(content, str) and content != "" and not content.isspace()


def _id(part: Part) -> str:
    found = part.get("id")
    return found[:MAX_ID_CHARS] if isinstance(found, str) else ""


def _name(part: Part) -> str:
    found = part.get("name")
    return found[:MAX_ID_CHARS] if isinstance(found, str) else ""
