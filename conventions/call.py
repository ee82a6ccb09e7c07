"""What one span says of a model call, and its place in the trace: all that is known of it before others are seen."""

from __future__ import annotations

from spanledger.conventions.record import record


@record(frozen=True, slots=True)
class Call:
    """A span's own report of a model call, or of the tokens of several."""

    inference: bool
    """A model call by its operation; False for sums."""
    scope: str
    """Which instrumentation says it."""
    service: str = ""
    response_id: str = ""
    family: str = ""
    """The model without dates and prefixes; "" where the span does not say."""
    asked: str = ""
    """The same of the model that was asked for, where another one answered: a deployment's name, an alias."""
    input: int = 0
    output: int = 0
    failed: bool = False
    echo: bool = False
    """It repeats the call of the span around it."""
    opened: bool = False
    """The span ended when a stream was opened."""
    unbilled: bool = False
    """It was answered without a model: nobody is billed."""
    detail: int = 0
    """How many kinds of tokens are told apart."""
    knows: int = 0
    """What it tells of the price beside tokens, by the bits of `same_call.Knows`."""
    pico_usd: int | None = None
    """Its price; None when it has none."""
    kin: str = ""
    """The dialect, where that tells a call as a span and as a log record; "" elsewhere."""
    report: str = ""
    """The log event that says it; "" for spans."""
    request_id: str = ""
    session: str = ""
    reasoning: int = 0
    cached: int = 0
    """Of the input, what was read from and written to a cache; some leave it out and do not say how much it was."""
    written: int = 0
    """Of what was cached, what was written."""
    pico_input: int | None = None
    pico_output: int | None = None

    @property
    def tells_tokens(self) -> bool:
        """Tell whether there is anything to count; a failed call and many streams tell nothing."""
        return self.input > 0 or self.output > 0


@record(frozen=True, slots=True)
class Place:
    """A span in its trace. `call` is None for spans that are no model call and report no tokens."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int = 0
    end_ns: int = 0
    call: Call | None = None

    def __hash__(self) -> int:
        # Spans differ in this. To hash all that a call tells would take longer than whatever is looked up.
        return hash((self.trace_id, self.span_id, self.start_ns))
