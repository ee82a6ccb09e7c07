"""Records as JSON and back, for the file of open runs.

Fields go by name and only those that differ from their default, so that a file written by another version
is read as far as it is understood. Resources are shared by many records and are kept beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from spanledger.conventions.call import Call
from spanledger.conventions.detail import Detail, Evaluation, Print, ToolRequest
from spanledger.conventions.evaluator import Usual
from spanledger.conventions.reading import Cost
from spanledger.conventions.safety.concern import Concern
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory.edges import Judgement
from spanledger.conventions.usage import Usage
from spanledger.processor.trajectory.emitted import Emitted

if TYPE_CHECKING:
    from spanledger.conventions.values import Attributes
    from spanledger.processor.trajectory.records import Record

_T = TypeVar("_T")


def write(value: Record | Emitted | Judgement) -> str:
    """Return one value as JSON; the resource of a step is left out."""
    said = _plain(value)
    said.pop("resource", None)
    said["_"] = type(value).__name__
    return _dumps(said)


def write_resource(resource: Attributes) -> str:
    """Return the attributes of a resource as JSON; bytes in it become text."""
    return _dumps(resource)


def read_resource(text: str) -> dict[str, Any]:
    """Return what `write_resource` wrote. Raises ValueError where it did not."""
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError("a resource is a map of attributes")
    return said


def read(text: str, resource: Attributes) -> Record | Emitted | Judgement:
    """Return what `write` wrote. Raises ValueError, TypeError, KeyError or AttributeError where it did not."""
    said = json.loads(text)
    kind = _KINDS[said.pop("_")]
    if kind is Step:
        said["resource"] = resource
    made: Record | Emitted | Judgement = _made(kind, said)
    return made


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, frozenset):
        return list(value)
    if is_dataclass(value):
        return {name: item for name, default in _DEFAULTS[type(value)] if (item := getattr(value, name)) != default}
    raise TypeError(f"{type(value).__name__} has no place in the file of open runs")


def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Return the fields of a dataclass with their defaults; one that nothing equals where there is none."""
    found = []
    for field in fields(kind):
        default: Any = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        found.append((field.name, default))
    return tuple(found)


def _made(kind: type[_T], said: Mapping[str, Any]) -> _T:
    reads, known = _READS[kind], _NAMES[kind]
    return kind(**{
        name: value if value is None or (read := reads.get(name)) is None else read(value)
        for name, value in said.items()
        if name in known
    })  # fmt: skip


def _of(kind: type[_T]) -> Callable[[Any], _T]:
    return lambda said: _made(kind, said)


def _all(kind: type[_T]) -> Callable[[Any], tuple[_T, ...]]:
    return lambda items: tuple(_made(kind, item) for item in items)


def _pairs(items: Any) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((bytes.fromhex(one), bytes.fromhex(other)) for one, other in items)


def _tuples(items: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, items))


_KINDS: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in (Step, Bridge, Emitted, Judgement)}
_IDS: Final[dict[str, Callable[[Any], Any]]] = dict.fromkeys(("trace_id", "span_id", "parent_span_id"), bytes.fromhex)
_READS: Final[Mapping[type, Mapping[str, Callable[[Any], Any]]]] = {
    Step: _IDS
    | {
        "same_as": bytes.fromhex,
        "turn": bytes.fromhex,
        "usage": _of(Usage),
        "cost": _of(Cost),
        "price": _of(Cost),
        "call": _of(Call),
        "detail": _of(Detail),
    },
    Bridge: {**_IDS, "links": _pairs},
    Usage: {"conflicts": tuple},
    Cost: {},
    Call: {},
    Detail: {
        "links": _pairs,
        "context": lambda pair: tuple(map(bytes.fromhex, pair)),
        "requests": _all(ToolRequest),
        "given": _all(ToolRequest),
        "answered": tuple,
        "history": tuple,
        "answer": tuple,
        "arguments": _of(Print),
        "result": _of(Print),
        "output": _of(Print),
        "evaluations": _all(Evaluation),
        "concerns": _all(Concern),
        "plan": tuple,
        "results": _tuples,
    },
    ToolRequest: {},
    Print: {"shingles": frozenset},
    Evaluation: {},
    Concern: {},
    Judgement: {**_IDS, "evaluation": _of(Evaluation)},
    Emitted: {
        "evaluations": tuple,
        "loops": _tuples,
        "judged": tuple,
        "scores": _tuples,
        "safety": tuple,
        "usual": _of(Usual),
        "tallies": lambda items: tuple((tuple(key), amount) for key, amount in items),
    },
    Usual: {},
}
_DEFAULTS: Final = {kind: _defaults(kind) for kind in _READS}
_NAMES: Final = {kind: frozenset(name for name, _ in defaults) for kind, defaults in _DEFAULTS.items()}
