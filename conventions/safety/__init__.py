"""What spans say of safety: guardrails that tripped, answers that were filtered or refused, evaluations that failed.

Nothing is judged here: a finding is what somebody else said, in one of the words that are known (`words.py`).
`reading.py` reads it off a span or a log record as `Concern`s, `findings.py` puts those of a run together.

The severity says what became of it: `critical` went through although something noticed, `warning` was held back,
`info` is for what was changed and went on, and for a model that declined by itself.
"""

from __future__ import annotations
