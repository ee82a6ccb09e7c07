"""The `match` of budgets and policies, as it is configured."""

from __future__ import annotations

from typing import Annotated

import pydantic

from spanledger.conventions.subject import likely_typo


def _meant(match: dict[str, str]) -> dict[str, str]:
    for name in match:
        if (meant := likely_typo(name)) is not None:
            raise ValueError(f"{name!r} would be the name of an attribute; did you mean {meant!r}?")
    return match


Match = Annotated[dict[str, str], pydantic.Field(max_length=16), pydantic.AfterValidator(_meant)]
"""Globs by name, all of which have to fit."""
