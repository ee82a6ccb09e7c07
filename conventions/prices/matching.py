"""The matching clauses of `genai-prices`, taken more strictly than the package takes them.

Its clauses know many models by the beginning of their name. That is right for dates and revisions, and
wrong for `claude-opus-4-10`, `…-fast` or `…-8b`, which are other models at other prices.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.prices.genai_data import Clause, Model

# What may follow a name that the data knows by its beginning: dates, revisions, and words that sellers
# append without a change of price. Anything else (`-mini`, `-fast`, `-8b`) is another model.
_SUFFIX: Final = re.compile(
    r"(?:[-@:._]?(?:20\d{6}|20\d{2}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,4}|v\d+(?:[.:]\d+)*|:\d+|\d+k"
    r"|latest|preview|beta|exp|experimental|default|stable|thinking|instruct|chat|it|hf|native|audio|nightly"
    r"|customtools|text))*"
)


def names(model: Model, form: str) -> bool:
    """Tell whether a spelling names this model, and not a relative whose name only begins like it."""
    return form == model.id.lower() or _accepts(model.match, form)


def whole_names(clause: Clause, names: set[str]) -> bool:
    """Collect the names that a clause has in full; tell whether it has no other way to match."""
    if "equals" in clause:
        names.add(clause["equals"].lower())
        return True
    if "or" in clause:
        others = [part for part in clause["or"] if not whole_names(part, names)]
        return not others
    return False


def suggests(clause: Clause, form: str) -> bool:
    """Tell whether a clause matches as it says, without our strictness: that is enough to tell who made a model."""
    ((kind, wanted),) = clause.items()
    if kind in ("or", "and"):
        return (any if kind == "or" else all)(suggests(part, form) for part in wanted)
    if kind == "regex":
        return re.search(wanted, form) is not None
    text, known = form.lower(), wanted.lower()
    if kind == "starts_with":
        return text.startswith(known)
    if kind == "ends_with":
        return text.endswith(known)
    return known in text if kind == "contains" else text == known


def _accepts(clause: Clause, form: str) -> bool:
    ((kind, wanted),) = clause.items()
    if kind in ("or", "and"):
        return (any if kind == "or" else all)(_accepts(part, form) for part in wanted)
    if kind == "starts_with":
        known = wanted.lower()
        return form.startswith(known) and _may_follow(known, form[len(known) :])
    if kind == "contains":
        before, known, after = form.partition(wanted.lower())
        return bool(known) and _may_precede(before) and _may_follow(known, after)
    if kind == "ends_with":
        known = wanted.lower()
        return form.endswith(known) and _may_precede(form[: -len(known)])
    return suggests(clause, form)


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
