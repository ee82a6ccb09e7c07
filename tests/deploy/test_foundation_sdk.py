"""Grafana's own types, from grafana-foundation-sdk, take every dashboard and say the same again."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.prometheus import Dataquery

from tests.deploy.grafana_json import CATALOGUE, DASHBOARDS, load

with warnings.catch_warnings():
    # It prefers the newer kind, which only Grafana 13 takes.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

plugins.register_default_plugins()


def lost(written: Any, again: Any, path: str = "") -> Iterator[str]:
    """Yield what is not there again, or is another. Defaults that are added are no difference."""
    if isinstance(written, dict) and isinstance(again, dict):
        for key, value in written.items():
            if value is not None:
                yield from lost(value, again.get(key), f"{path}.{key}")
    elif isinstance(written, list) and isinstance(again, list) and len(written) == len(again):
        for index, (one, other) in enumerate(zip(written, again, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")
    elif written != again:
        yield f"{path}: {written!r} became {again!r}"


@pytest.mark.parametrize("path", [*DASHBOARDS, *CATALOGUE], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_sdk_reads_and_writes_them(path: Path) -> None:
    """No key is unknown to it, no value of another type, and queries are Prometheus'."""
    dashboard = {key: value for key, value in load(path).items() if not key.startswith("__")}

    read = Dashboard.from_json(dashboard)

    assert list(lost(dashboard, json.loads(JSONEncoder().encode(read)))) == []
    targets = [target for panel in read.panels or () for target in getattr(panel, "targets", None) or ()]
    assert targets
    assert all(isinstance(target, Dataquery) for target in targets)


def test_a_key_that_grafana_does_not_know_is_noticed() -> None:
    """The comparison would see it."""
    dashboard = {**load(DASHBOARDS[0]), "tittle": "x"}

    assert list(lost(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))))
