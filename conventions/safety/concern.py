"""One thing that a span says of safety."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Source = Literal["guardrail", "finish_reason", "content_filter", "evaluation"]
"""Who noticed: a guardrail, the model or its provider when the answer ended, the provider's filter, a judge."""
Category = Literal[
    "prompt_attack", "hate", "toxicity", "sexual", "violence", "self_harm", "illicit", "personal_data", "copyright",
    "excessive_agency", "ungrounded", "denied_topic", "refusal", "unspecified",
]  # fmt: skip
SafetySeverity = Literal["info", "warning", "critical"]

SEVERITIES: Final[tuple[SafetySeverity, ...]] = ("info", "warning", "critical")
"""The worst last."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that was noticed on a span, and what became of it."""

    source: Source
    category: Category
    severity: SafetySeverity
