"""A stored document as a `Run` again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanledger.conventions.run import Run
from spanledger.conventions.run_document import BadDocument, read_document
from spanledger.exporters.run_store.filter import StoreError

_LONGEST_S: Final = 1e10
_MOST: Final = 2**62


def read(document: Mapping[str, Any]) -> Run:
    """Return what a document says. `StoreError` when it cannot be: documents come over the network."""
    try:
        run = read_document(document)
    except (BadDocument, OverflowError) as error:
        raise StoreError(f"the run cannot be shown: {error}; `export` writes it as it is") from error
    if (wrong := _absurd(run)) is not None:
        raise StoreError(f"the run cannot be shown: {wrong} is beyond all measure; `export` writes it as it is")
    return run


def _absurd(run: Run) -> str | None:
    """Return the first number that later arithmetic would stumble over."""
    numbers: list[tuple[str, float | None]] = [("duration_s", run.duration_s), ("cost_usd", run.totals.cost_pico_usd)]
    for step in run.steps:
        place = f"steps[{step.index}]"
        numbers += [(f"{place}.duration_s", step.duration_s), (f"{place}.cost_usd", step.cost_pico_usd)]
        for name, other in (("requested_by", step.requested_by), ("read_by", step.read_by)):
            if other is not None and other >= len(run.steps):
                return f"{place}.{name}"
    return next(
        (
            name
            for name, number in numbers
            if number is not None and not abs(number) <= (_LONGEST_S if name.endswith("duration_s") else _MOST)
        ),
        None,
    )
