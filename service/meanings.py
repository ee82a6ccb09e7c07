"""What the docstrings below the fields of a configuration say of them, for its documentation and for error messages.

pydantic can keep them with each class, but then each start reads the source of every class, which takes a tenth of
its time, and nearly no start needs them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydantic


def meaning(model: type[pydantic.BaseModel], key: str) -> str:
    """Return what is said of a field by the key that a configuration uses, "" when there is nothing."""
    name = next((name for name, field in model.model_fields.items() if field.alias == key), key)
    return next((said[name] for one in model.__mro__ if name in (said := _docstrings(one))), "")


@functools.lru_cache(maxsize=1024)
def _docstrings(cls: type) -> dict[str, str]:
    """Return the text below each annotated name in the body of a class; nothing where there is no source."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    body = ast.parse(source).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in itertools.pairwise(statements)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
