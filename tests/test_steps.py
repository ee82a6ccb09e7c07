"""Steps are frozen: what is to be said otherwise is said in a copy."""

from __future__ import annotations

from dataclasses import fields, replace

from spanledger.conventions.detail import Detail
from spanledger.conventions.reading import Reading
from spanledger.conventions.step import Step, altered, make_step
from tests.fakes import span


def test_an_altered_step_differs_in_what_was_said_and_nothing_else() -> None:
    """As `dataclasses.replace` has it, None among the new values."""
    known = make_step(span(), "shop", Reading("otel", "llm"), {"host.name": "a"}, Detail(outcome="success"))

    assert altered(known) == known
    assert altered(known, agent_name="planner") == replace(known, agent_name="planner")
    assert altered(known, detail=None, resource={}) == replace(known, detail=None, resource={})


def test_every_field_of_a_step_is_copied() -> None:
    """In its place: fields are given by position."""
    known = make_step(span(), "shop", Reading("otel", "llm"))
    told = {slot.name: object() for slot in fields(Step)}
    strange = altered(known, **told)

    assert all(getattr(strange, name) is value for name, value in told.items())
