"""The Collector's configuration grammar: sources merged, settings applied, references followed.

Order, as in the Collector (confmap/resolver.go): every `--config` in turn, maps merged key by key and
anything else replaced; then every `--set`; then references (expansion.py). Keys may be written with `::`
between levels in any source. What comes out is one tree of `Node`s, each knowing the place it came from.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from spanledger.service import presets
from spanledger.service.expansion import Expander
from spanledger.service.nodes import ConfigError, InvalidConfig, Node, Place
from spanledger.service.suggestions import did_you_mean
from spanledger.service.yaml_reader import MAX_BYTES, DuplicateKeys, read_yaml

__all__ = ["ConfigError", "InvalidConfig", "Node", "Place", "Resolution", "merge", "resolve"]

SCHEMES = ("env", "file", "preset", "yaml")
"""What a `--config` may start with."""

_CANNOT_RETRIEVE = "cannot retrieve the configuration"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Resolution:
    """A configuration before anything is known about its meaning."""

    root: Node
    errors: tuple[ConfigError, ...]
    """Values whose references lead nowhere; they stand in `root` as they were written."""
    warnings: tuple[str, ...]


def read_file(name: str) -> bytes:
    """Return the first `MAX_BYTES` + 1 bytes of a file. Raises OSError."""
    with pathlib.Path(name).open("rb") as file:
        return file.read(MAX_BYTES + 1)


def resolve(
    sources: Sequence[str],
    sets: Sequence[str],
    environ: Mapping[str, str],
    read: Callable[[str], bytes] = read_file,
) -> Resolution:
    """Merge `sources` and `sets` and follow their references.

    `sources` are paths, `file:path`, `env:NAME`, `yaml:text` or `preset:name` (presets.py); `sets` are
    `key.key=value`, the value being YAML. Raises `InvalidConfig` when a source cannot be read or is not
    YAML: all others are still looked at first.
    """
    root = Node({}, Place(""))
    errors: list[ConfigError] = []
    for retrieve, items in ((_source, sources), (_setting, sets)):
        for item in items:
            try:
                node = retrieve(item, environ, read)
            except DuplicateKeys as duplicates:
                errors += duplicates.errors
            except ConfigError as error:
                errors.append(error)
            else:
                node = presets.added(node, root) if node and item.startswith(presets.PREFIX) else node
                root = merge(root, node) if node else root
    if errors:
        raise InvalidConfig(errors)
    expander = Expander(environ, read)
    root = expander.expand(root)
    return Resolution(root, tuple(expander.errors), tuple(dict.fromkeys(expander.warnings)))


def merge(below: Node, above: Node) -> Node:
    """Lay one configuration over another: maps are merged at every level, the rest is replaced."""
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    merged = dict(below.value)
    for name, node in above.value.items():
        merged[name] = merge(merged[name], node) if name in merged else node
    # The section is shown where it was first written; what was laid over it shows its own place.
    return replace(below if below.value else above, value=merged)


def _source(uri: str, environ: Mapping[str, str], read: Callable[[str], bytes]) -> Node | None:
    match = _SCHEME.fullmatch(uri)
    scheme, value = match.groups() if match and match[1] in SCHEMES else ("file", uri)
    if scheme == "yaml":
        return _as_map(read_yaml(value, "yaml"), Place("yaml"))
    if scheme == "env":
        if value not in environ:
            raise ConfigError((), Place(uri), f"{_CANNOT_RETRIEVE}: environment variable is not set")
        return _as_map(read_yaml(environ[value], uri), Place(uri))
    if scheme == "preset":
        try:
            value = presets.file(value)
        except LookupError:
            advice = did_you_mean(value, presets.names()) or f"there are {', '.join(presets.names())}"
            raise ConfigError((), Place(uri), f"{_CANNOT_RETRIEVE}: no preset of that name", advice) from None
    try:
        content = read(value)
    except (OSError, ValueError) as error:
        if match and value == uri:
            advice = "there are default, env, file, preset and yaml"
            raise ConfigError((), Place(""), f'unsupported scheme on URI "{match[1]}:…"', advice) from None
        why = getattr(error, "strerror", None) or "that is not a name of a file"
        raise ConfigError((), Place(value), f"{_CANNOT_RETRIEVE}: unable to read the file: {why}") from None
    return _as_map(read_yaml(content, value), Place(value))


def _as_map(node: Node | None, place: Place) -> Node | None:
    if node is None or node.value is None:
        return None
    if not isinstance(node.value, dict):
        message = "the top level must be a map with the keys receivers, exporters, service, …"
        raise ConfigError((), node.place if node.place.line else place, message)
    return _split_keys(node)


def _split_keys(node: Node) -> Node:
    """Write `a::b: v` as `a: {b: v}`."""
    if not isinstance(node.value, dict):
        return node
    plain: dict[str, Node] = {}
    nested: list[Node] = []
    for name, child in node.value.items():
        value = _split_keys(child)
        *outer, last = name.split("::")
        if outer:
            inner = Node({last: value}, node.place)
            for part in reversed(outer):
                inner = Node({part: inner.under(value.key)}, node.place)
            nested.append(inner)
        else:
            plain[name] = value
    return functools.reduce(merge, nested, replace(node, value=plain))


def _setting(text: str, _environ: Mapping[str, str], _read: Callable[[str], bytes]) -> Node:
    key, equals, value = text.partition("=")
    key = key.strip()
    place = Place(f"--set {key}")
    if not equals:
        raise ConfigError((), Place("--set"), "missing equal sign", "write --set key.key=value")
    # Dots are levels; with `::` a component's name may hold dots itself.
    names = key.split("::" if "::" in key else ".")
    if not all(names):
        raise ConfigError((), place, "a level of the key is empty", "write --set key.key=value")
    node = read_yaml(value, place.source, place) or Node(None, place)
    node = replace(_split_keys(node), key=place)
    for name in reversed(names):
        node = Node({name: node}, place, place)
    return node
