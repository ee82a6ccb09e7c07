"""The dialects of GenAI telemetry, one module each; adding one is adding a module with a `DIALECT`.

The modules of this folder are found by listing it. `otel` comes first: its names win over all others, and
spans that show no other dialect are its own. The rest are tried in alphabetical order.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from spanledger.conventions.profile import LATEST, PROFILES, Profile, ProfileName
from spanledger.conventions.reader import Reader

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.dialect import Dialect
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.values import Attributes


class Scope(Protocol):
    """Which instrumentation made a span."""

    @property
    def name(self) -> str:
        """Name of the instrumentation scope."""

    @property
    def version(self) -> str:
        """Its version, "" if unknown."""


class Resource(Protocol):
    """Who sent a span."""

    @property
    def attributes(self) -> Attributes:
        """Attributes of the resource."""


def _find() -> tuple[Dialect, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    names.sort(key=lambda name: name != "otel")
    found: list[Dialect] = [importlib.import_module(f"{__name__}.{name}").DIALECT for name in names]
    return tuple(found)


DIALECTS: Final[tuple[Dialect, ...]] = _find()


@lru_cache(len(PROFILES))
def _reader(profile: ProfileName) -> Reader:
    return Reader(DIALECTS, PROFILES[profile])


def read(scope: Scope, resource: Resource, span: Span, profile: Profile = LATEST) -> Reading | None:
    """Read one span with every dialect as it comes; None when it is no GenAI work. Pure.

    `resource` is not needed by any dialect so far.
    """
    del resource
    return _reader(profile.name).read(scope.name, scope.version, span)
