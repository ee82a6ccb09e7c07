"""The words that providers, guardrails and judges have for it. Every table is by what they document.

* Finish reasons: OpenAI and the conventions `content_filter`, Anthropic `refusal`, Gemini `SAFETY`, `RECITATION`,
  `PROHIBITED_CONTENT`, `SPII`, `BLOCKLIST`, `MODEL_ARMOR` and their image kin, Bedrock `guardrail_intervened` and
  `content_filtered`, Cohere `ERROR_TOXIC`, Zhipu `sensitive`.
* Verdicts: `gen_ai.guardrail.verdict.type` (semantic-conventions-genai #427) with OWASP's risk categories, its
  forerunner `gen_ai.security.decision.type`, Microsoft's `microsoft.security.*`, LiteLLM, Traceloop, the OpenAI Agents
  SDK's `triggered`.
* Filters: Azure OpenAI's `content_filter_results`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanledger.conventions.safety.concern import Category, SafetySeverity

_MAX_CHARS: Final = 128
_SPLIT: Final = re.compile(r"[^a-z0-9]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

FINISH_REASONS: Final[Mapping[str, Category]] = {
    "refusal": "refusal",
    "recitation": "copyright",
    "image_recitation": "copyright",
    "prohibited_content": "illicit",
    "image_prohibited_content": "illicit",
    "spii": "personal_data",
    "error_toxic": "toxicity",
    "blocklist": "denied_topic",
    **dict.fromkeys(
        (
            "content_filter", "content_filtered", "contentfiltered", "safety", "image_safety", "model_armor",
            "guardrail_intervened", "guardrailintervened", "sensitive",
        ),
        "unspecified",
    ),
}  # fmt: skip
"""Why an answer ended, in lower case with underscores -> what it was about."""

_CATEGORIES: Final[tuple[tuple[Category, tuple[str, ...]], ...]] = (
    ("prompt_attack", ("jailbreak", "prompt_injection", "injection", "prompt_attack", "indirect_attack", "xpia")),
    ("self_harm", ("self_harm", "selfharm", "suicide")),
    ("personal_data", ("pii", "personal", "sensitive", "privacy", "secret")),
    ("copyright", ("protected_material", "copyright", "recitation")),
    ("hate", ("hate", "hateful", "discriminat")),
    ("toxicity", ("toxic", "harass", "insult", "profan", "abus", "bullying")),
    ("sexual", ("sexual", "sexually", "nsfw", "porn")),
    ("violence", ("violen", "weapon", "gore")),
    ("illicit", ("illicit", "illegal", "crim", "misconduct", "dangerous", "malware", "malicious", "prohibited")),
    ("excessive_agency", ("excessive_agency", "tool_misuse")),
    ("ungrounded", ("ground", "unground", "halluc", "misinformation")),
    ("denied_topic", ("topic", "denied_topic", "off_topic", "blocklist", "custom_blocklist")),
)
"""A category is known by a word that begins so; the first that fits."""

_HELD: Final = ("deny", "denied", "block", "blocked", "guardrail_intervened", "intervened", "triggered", "tripped")
_CHANGED: Final = ("modify", "modified", "mask", "masked", "redact", "redacted", "anonymize", "anonymized")
_LET_THROUGH: Final = ("warn", "audit", "flag", "flagged")
VERDICTS: Final[Mapping[str, SafetySeverity]] = {
    **dict.fromkeys(_HELD, "warning"),
    **dict.fromkeys(_CHANGED, "info"),
    **dict.fromkeys(_LET_THROUGH, "critical"),
}
"""What a guardrail decided, where that is no plain yes."""
PASSED: Final = frozenset({"allow", "allowed"})
"""An action that lets through what the verdict is against."""

ERRORS: Final = frozenset(
    {
        "contentfilter", "contentfiltererror", "contentfilterfinishreasonerror", "contentpolicyviolation",
        "contentpolicyviolationerror", "responsibleaipolicyviolation", "moderationblocked",
    }
)  # fmt: skip
"""Error types of calls that a filter ended, in lower case without anything between the letters."""
TRIPWIRES: Final = frozenset(
    {
        "guardrailtripwiretriggered", "inputguardrailtripwiretriggered", "outputguardrailtripwiretriggered",
        "guardrailraisedexception", "guardrailintervention", "guardrailblocked",
    }
)  # fmt: skip
"""The same of guardrails."""

FAILED: Final = frozenset({"fail", "failed", "unsafe", "flagged", "toxic", "detected", "yes", "medium", "high"})
"""Labels with which an evaluation of safety says that it is not safe. A number means nothing without its scale, and
`true` may be either."""
JUDGED: Final[Mapping[str, Category]] = {
    "violence": "violence",
    "sexual": "sexual",
    "self_harm": "self_harm",
    "hate_unfairness": "hate",
    "hate_speech": "hate",
    "toxicity": "toxicity",
    "toxic": "toxicity",
    "harmfulness": "unspecified",
    "content_safety": "unspecified",
    "protected_material": "copyright",
    "indirect_attack": "prompt_attack",
    "prompt_injection": "prompt_attack",
    "jailbreak": "prompt_attack",
    "pii": "personal_data",
    "pii_leakage": "personal_data",
    "sensitive_data_leakage": "personal_data",
    "prohibited_actions": "excessive_agency",
}
"""Evaluations that are about safety by their name."""


def word(text: str) -> str:
    """Return a text as tables have it: in lower case, with underscores between its words."""
    return _SPLIT.sub("_", _CAMEL.sub("_", text[:_MAX_CHARS]).lower()).strip("_")


def bare(text: str) -> str:
    """Return the last name of an error type, only its letters: `openai.ContentFilterError` -> `contentfiltererror`."""
    return "".join(filter(str.isalnum, text[:_MAX_CHARS].rpartition(".")[2].lower()))


def category_of(text: str) -> Category:
    """Return the category that a text names in the words of whoever wrote it."""
    said = f"_{word(text)}"
    return next((name for name, words in _CATEGORIES if any(f"_{one}" in said for one in words)), "unspecified")
