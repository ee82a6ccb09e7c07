"""The built-in evaluators of a run, one module each; adding one is adding a module with an `EVALUATOR`.

The modules of this folder are found by listing it, and their names are those of the evaluations, behind
`spanledger.`. `conventions/evaluator.py` says what an evaluator is, docs/evaluations.md what each one means.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Evaluator


def _find() -> dict[str, Evaluator]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").EVALUATOR for name in names}


EVALUATORS: Final[Mapping[str, Evaluator]] = _find()
"""By name, in alphabetical order."""
