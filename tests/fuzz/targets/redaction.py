"""What looks for secrets and personal data in any text and any JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import get_args

from spanledger.conventions.redaction.detectors import Entity
from spanledger.conventions.redaction.patterns import compiled
from spanledger.conventions.redaction.rules import MASK, Redactor
from tests.fuzz.draw import Draw

_KEY = "sk-proj-" + "a1B2" * 10
_REDACTOR = Redactor(
    entities=get_args(Entity),
    blocked_values=(compiled("4[0-9]{15}"),),
    blocked_keys=(compiled("(?i)password"),),
)


def fuzz(data: bytes) -> None:
    """Check that a planted key never comes out, that JSON stays JSON, and that what is changed is counted."""
    draw = Draw(data)
    plain = draw.plain()
    before, after = draw.text(), draw.text()
    planted = f"{before} {_KEY} {after}"
    found: Counter[str] = Counter()
    assert _KEY not in _REDACTOR.text(planted, found)
    hidden = json.dumps({"a": [planted, plain], "password": plain})
    said = _REDACTOR.text(hidden, found)
    assert _KEY not in said
    assert json.loads(said)["password"] == MASK
    text = draw.rest().decode("utf-8", "replace")
    once = _REDACTOR.text(text, found)
    again: Counter[str] = Counter()
    assert _REDACTOR.text(once, again) == once or again
