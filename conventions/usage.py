"""Token counts of one model call, made comparable across instrumentations.

`None` is unknown and never 0. Input includes what was read from and written to a cache, output
includes reasoning, as the OTel GenAI conventions say; cache, audio and image counts are parts of their
totals. How a raw reading becomes a `Usage` is in `tokens.py`.
"""

from __future__ import annotations

from spanledger.conventions.record import record


@record(frozen=True, slots=True)
class Usage:
    """Tokens of one call. Every count is >= 0 or None for unknown."""

    input: int | None = None
    """All input tokens, cached ones included."""
    output: int | None = None
    """All output tokens, reasoning included."""
    cache_read: int | None = None
    cache_write: int | None = None
    """All tokens written to a cache, the one-hour ones included."""
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    audio_cache_read: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    image_cache_read: int | None = None
    basis: str = "spec"
    """Which rule decided that `input` is inclusive: the value of `spanledger.usage.basis`."""
    conflicts: tuple[str, ...] = ()
    """What does not add up, named (`cache_exceeds_input`); empty when all is well."""

    @property
    def known(self) -> bool:
        """Tell whether there is anything to count or to price."""
        return self.input is not None or self.output is not None
