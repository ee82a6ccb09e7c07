"""What steps have in common, each once: the attributes of their service, and what those of one kind are all like."""

from __future__ import annotations

import marshal
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spanledger.conventions.step import Step
    from spanledger.conventions.values import Attributes

_MAX_RESOURCES: Final = 4_096
MAX_RESOURCE_BYTES: Final = 16 * 2**20
"""Of all resources together, as they are written: one may have 64 KiB, and takes several times that."""
MAX_MODELS: Final = 1_024
"""Before steps of further services are like any of their kind."""
_MAX_CHARS: Final = 256
_MAX_COUNT: Final = 256
"""Of a text in a model, and of a number: Python has each of these once."""

Model = tuple[Any, ...]
"""The values of a step, flat; `...` where they are its own, such as ids and times."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where steps come from."""

    resource: Attributes
    models: Sequence[Model]
    """By their numbers, of all origins. It grows."""


class Origins:
    """All origins: resources of every request are objects of their own."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Origin] = OrderedDict()
        self._bytes = 0
        self._alone: dict[int, tuple[Origin]] = {}
        """Each of them in a tuple, by its identity."""
        self._last: tuple[Attributes, Origin] | None = None
        self._models: list[Model] = []
        self._numbers: dict[tuple[str, ...], int] = {}
        """(service, dialect, kind, status) -> number of the model."""

    def together(self, kept: Sequence[Origin]) -> tuple[Origin, ...]:
        """Return origins as a tuple, which most groups with one origin share."""
        return self._alone.get(id(kept[0]), tuple(kept)) if len(kept) == 1 else tuple(kept)

    def same(self, resource: Attributes) -> Origin:
        """Return the object that stands for all resources with these attributes."""
        if self._last is None or self._last[0] is not resource:
            key = marshal.dumps(dict(resource), 2)
            if key not in self._known:
                origin = self._known[key] = Origin(resource, self._models)
                self._alone[id(origin)] = (origin,)
                self._bytes += len(key)
            self._known.move_to_end(key)
            self._last = resource, self._known[key]
            while len(self._known) > _MAX_RESOURCES or self._bytes > MAX_RESOURCE_BYTES:
                oldest, gone = self._known.popitem(last=False)
                self._bytes -= len(oldest)
                self._alone.pop(id(gone), None)
        return self._last[1]

    def model(self, step: Step, values: Sequence[Any]) -> int:
        """Return the number of the model of `step`, which has these values: it becomes one if there is none."""
        key: tuple[str, ...] = (step.service_name, step.dialect, step.kind, step.status)
        if key not in self._numbers and len(self._models) >= MAX_MODELS:
            key = (step.kind,)
        if key not in self._numbers:
            self._numbers[key] = len(self._models)
            self._models.append(tuple([one if _is_common(one) else ... for one in values]))
        return self._numbers[key]


def _is_common(value: Any) -> bool:
    """Tell whether others may have the same object: a word, a flag, a small number, nothing."""
    small = value < _MAX_COUNT if isinstance(value, int) else isinstance(value, str) and len(value) <= _MAX_CHARS
    return small or not value
