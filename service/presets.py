"""Presets: exporters to known backends by name, the files of deploy/backends (docs/backends.md).

`--config preset:langfuse` lays one over what comes before it. Lists are otherwise replaced by what is laid over
them, and two presets would push each other out of the pipelines; so what a preset defines is added to the lists
that are there, and the rest of its lists, which stands for the default configuration, is left out.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from pathlib import Path
from typing import Final

from spanledger.service.nodes import Node

PREFIX: Final = "preset:"
"""What a `--config` starts with that names one."""
FOLDER: Final = Path(__file__).resolve().parents[1] / "deploy" / "backends"


def names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def file(name: str) -> str:
    """Return the path of a preset's file. Raises LookupError when there is none of that name."""
    if name not in names():
        raise LookupError(name)
    return str(FOLDER / f"{name}.yaml")


def added(preset: Node, below: Node) -> Node:
    """Return `preset` so that laid over `below` it adds its own components to the pipelines that are there."""
    sections = preset.value if isinstance(preset.value, dict) else {}
    own = {
        name
        for section, node in sections.items()
        if section != "service" and isinstance(node.value, dict)
        for name in node.value
    }
    service = below.child("service") or Node({}, below.place)
    changed = {name: _added(node, service, own) for name, node in sections.items() if name == "service"}
    return replace(preset, value={**sections, **changed})


def _added(node: Node, below: Node | None, own: Set[str]) -> Node:
    if isinstance(node.value, dict):
        # A pipeline that is not below has no receivers either.
        children = {name: _added(child, below and below.child(name), own) for name, child in node.value.items()}
        known = below.value if below and isinstance(below.value, dict) else {}
        kept = {name: child for name, child in children.items() if name in known or isinstance(child.value, tuple)}
        return replace(node, value=kept)
    if isinstance(node.value, tuple):
        there = below.value if below and isinstance(below.value, tuple) else ()
        listed = [item.value for item in there]
        new = tuple(item for item in node.value if item.value in own and item.value not in listed)
        return replace(node, value=(*there, *new))
    return node
