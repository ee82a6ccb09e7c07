"""What a trajectory needs of a span beyond its `Step`: who asked for which tool, what was said before, links.

Content itself is kept only in mode `full`; joins work on ids and digests. Digests are keyed with a secret of
the process, so that equal secrets in two places cannot be recognised from outside; but for those of an agent's
instructions and tools, which have to be the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from spanledger.conventions.record import record
from spanledger.conventions.safety.concern import Concern

ContentMode = Literal["none", "metadata", "full"]

Digest = int
"""64 bits of a keyed hash of canonical content."""


@record(frozen=True, slots=True)
class ToolRequest:
    """A tool call that a model asked for."""

    id: str
    name: str
    arguments: Digest | None
    texts: tuple[Digest, ...] = ()
    """Of the longer texts among the arguments: what a call begins with that is asked just this by a user."""


@record(frozen=True, slots=True)
class Print:
    """A fingerprint of content: equal content has an equal digest, like content shares shingles."""

    digest: Digest
    shingles: frozenset[int] = frozenset()
    """Hashes of the content's word shingles, a bounded sample (at most 64 of 32 bits)."""
    size: int = 0
    """Characters of the canonical form."""


@record(frozen=True, slots=True)
class Evaluation:
    """A score or a label that somebody gave."""

    name: str
    score: float | None = None
    label: str | None = None
    explanation: str | None = None
    response_id: str = ""
    """Of what is judged, where the judge says so."""
    at_ns: int = 0
    conversation_id: str = ""
    """Of what is judged, where the judge says no more than that."""


@record(frozen=True, slots=True)
class Detail:
    """What a span says that joins it to others. Everything is absent where the span does not say it."""

    links: tuple[tuple[bytes, bytes], ...] = ()
    """(trace id, span id) of span links."""
    requests: tuple[ToolRequest, ...] = ()
    """Model calls: the tool calls in the answer, in order."""
    answered: tuple[str, ...] = ()
    """Model calls: ids of the tool results among the input messages."""
    given: tuple[ToolRequest, ...] = ()
    """Model calls: the tool calls whose results stand at the end of the input, in order."""
    results: tuple[tuple[str, Digest, int], ...] = ()
    """Model calls: of each of those results the id that it names, its digest, and the characters of its canonical
    form."""
    history: tuple[Digest, ...] = ()
    """Model calls: chained digests of the input, one after each part of a message, instructions left out; the
    last 64, `history[-1]` being the whole. A call that is repeated has the same."""
    after: Digest | None = None
    """Model calls: the chained digest of the whole input and the answer; the next call has it in its history."""
    asks_user: bool = False
    """Model calls: since the model's last answer the user spoke and no tool, so a new turn begins here."""
    arguments: Print | None = None
    """Tools: what it was called with."""
    result: Print | None = None
    """Tools: what came back."""
    output: Print | None = None
    """Model calls: the text of the answer."""
    prompt: Digest | None = None
    """The agent's instructions, without what changes from call to call."""
    tools: Digest | None = None
    """The names and schemas of the tools on offer."""
    evaluations: tuple[Evaluation, ...] = ()
    outcome: str = ""
    """An explicit outcome that the application wrote."""
    input: str | None = None
    """Content in mode `full`, bounded; a cut is marked."""
    said: str | None = None
    """Content of the answer or result in mode `full`, bounded."""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """Attributes asked for by the configuration (`dimensions`), of the span or its resource."""
    answer: tuple[Digest, ...] = ()
    """Model calls: the digests of the answer's parts, which `after` chains to `history`."""
    previous_response_id: str = ""
    """Model calls: the response that this call says it goes on from, where the provider keeps the history."""
    single: bool = False
    """It was put together from log records of one message each; `details.merged` goes on with the next."""
    context: tuple[bytes, bytes] | None = None
    """(trace id, span id) that came in the metadata of an MCP or A2A message."""
    finish: str = ""
    """Model calls: why the answer ended, in the words of the message schema, or `refusal`."""
    plan: tuple[int, int] | None = None
    """Tools that keep a plan: how many of its items are done, and how many there are."""
    node: str = ""
    """The node of a graph that does it."""
    delegate: str = ""
    """Tools: the agent that the arguments hand the work to."""
    concerns: tuple[Concern, ...] = ()
    """What is said of safety: a guardrail that tripped, an answer that was filtered."""
