"""The matching clauses of `genai-prices`, taken more strictly than the package takes them.

Its clauses know many models by the beginning of their name. That is right for dates and revisions, and
wrong for `claude-opus-4-10`, `…-fast` or `…-8b`, which are other models at other prices.
"""

from __future__ import annotations

import re
from typing import Final

from genai_prices import types as source

# What may follow a name that the data knows by its beginning: dates, revisions, and words that sellers
# append without a change of price. Anything else (`-mini`, `-fast`, `-8b`) is another model.
_SUFFIX: Final = re.compile(
    r"(?:[-@:._]?(?:20\d{6}|20\d{2}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,4}|v\d+(?:[.:]\d+)*|:\d+|\d+k"
    r"|latest|preview|beta|exp|experimental|default|stable|thinking|instruct|chat|it|hf|native|audio|nightly"
    r"|customtools|text))*"
)


def names(model: source.ModelInfo, form: str) -> bool:
    """Tell whether a spelling names this model, and not a relative whose name only begins like it."""
    return form == model.id.lower() or _accepts(model.match, form)


def whole_names(clause: source.MatchLogic, names: set[str]) -> bool:
    """Collect the names that a clause has in full; tell whether it has no other way to match."""
    if isinstance(clause, source.ClauseEquals):
        names.add(clause.equals.lower())
        return True
    if isinstance(clause, source.ClauseOr):
        others = [part for part in clause.or_ if not whole_names(part, names)]
        return not others
    return False


def _accepts(clause: source.MatchLogic, form: str) -> bool:
    if isinstance(clause, source.ClauseOr):
        return any(_accepts(part, form) for part in clause.or_)
    if isinstance(clause, source.ClauseAnd):
        return all(_accepts(part, form) for part in clause.and_)
    if isinstance(clause, source.ClauseStartsWith):
        known = clause.starts_with.lower()
        return form.startswith(known) and _may_follow(known, form[len(known) :])
    if isinstance(clause, source.ClauseContains):
        before, known, after = form.partition(clause.contains.lower())
        return bool(known) and _may_precede(before) and _may_follow(known, after)
    if isinstance(clause, source.ClauseEndsWith):
        known = clause.ends_with.lower()
        return form.endswith(known) and _may_precede(form[: -len(known)])
    return clause.is_match(form)


def _may_precede(before: str) -> bool:
    return not before or before[-1] in "./:@"


def _may_follow(known: str, rest: str) -> bool:
    if not rest:
        return True
    if known[-1].isdigit() and rest[0].isdigit():
        # `claude-opus-4-1` does not name `claude-opus-4-10`; `gemini-2.0-flash-0` does name `…-001`.
        digits = re.search(r"\d+$", known)
        more = re.match(r"\d+", rest)
        assert digits is not None
        assert more is not None
        if len(digits[0]) + len(more[0]) < 3:
            return False
        rest = rest[len(more[0]) :]
    if known.startswith("ft:"):
        rest = rest.partition(":")[0]  # the organisation and the job of a fine-tuned model
    return known[-1] in "-@:/" or _SUFFIX.fullmatch(rest) is not None
