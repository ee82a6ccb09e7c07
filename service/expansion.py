"""References in configuration values: `${env:NAME}`, `${NAME:-default}`, `${NAME:?what it is}`, `${file:path}`, `$$`.

The Collector's rules (confmap/expand.go): the innermost reference first; a value that is nothing but a
reference becomes whatever YAML reads in its place, inside other text it is put in word for word; what a
reference stands for may hold references again; `$$` is a dollar sign and an odd number of them before
`${` makes it plain text. Keys are not expanded.

Four differences, all towards what one expects: an escaped reference does not end the search, so in
`$${A} ${B}` the second is expanded; `${NAME:-default}` works without `env:`; the newline that ends a
file is not part of the token in it; `${NAME:?what it is}` is an error while NAME is not set or empty, as in
a shell, where the Collector refuses the reference as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from spanledger.service.nodes import MAX_DEPTH, MAX_SIZE, ConfigError, Node, Path, Place
from spanledger.service.yaml_reader import DuplicateKeys, read_yaml

MAX_ROUNDS: Final = 1000
"""References followed for one value."""

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR: Final = re.compile(r"(:[-?])")
_ESCAPE_ADVICE: Final = "write $${ for a plain ${"


@dataclass(frozen=True, slots=True)
class _Spot:
    """The value that is being expanded, for messages."""

    path: Path
    place: Place
    written: str

    def error(self, message: str, suggestion: str = "") -> ConfigError:
        return ConfigError(self.path, self.place, message, suggestion)

    def shown(self, text: str) -> str:
        # An inner reference may have put a secret into an outer one.
        return text if text in self.written and len(text) <= 200 else "…"


@dataclass(frozen=True, slots=True)
class _Retrieved:
    """What a reference stands for: the value as YAML reads it, and the text itself."""

    node: Node
    text: str


class Expander:
    """Expands one merged configuration and collects every error and warning on the way."""

    def __init__(self, environ: Mapping[str, str], read_file: Callable[[str], bytes]) -> None:
        self._environ = environ
        self._read_file = read_file
        self._size = 0
        self.errors: list[ConfigError] = []
        self.warnings: list[str] = []

    def expand(self, node: Node, path: Path = (), rounds: int = MAX_ROUNDS) -> Node:
        """Return `node` with all references below it followed.

        A value whose references lead nowhere is left as it is and reported in `errors`.
        """
        value = node.value
        if isinstance(value, dict):
            children = {name: self.expand(child, (*path, name), rounds) for name, child in value.items()}
            return replace(node, value=children)
        if isinstance(value, tuple):
            items = tuple(self.expand(item, (*path, str(position)), rounds) for position, item in enumerate(value))
            return replace(node, value=items)
        if not isinstance(value, str):
            return node
        try:
            return self._follow(node, value, _Spot(path, node.place, value), rounds)
        except ConfigError as error:
            self.errors.append(error)
            return node

    def _follow(self, node: Node, text: str, spot: _Spot, rounds: int) -> Node:
        while _find(text) == (0, len(text)):
            rounds = self._count(rounds, spot)
            found = self._retrieve(text[2:-1], spot)
            if not isinstance(found.node.value, str):
                value = self.expand(found.node.under(node.key), spot.path, rounds)
                return replace(value, text=self._original(found.text, spot, rounds))
            text = found.text
        return replace(node, value=self._inline(text, spot, rounds))

    def _inline(self, text: str, spot: _Spot, rounds: int) -> str:
        while reference := _find(text):
            rounds = self._count(rounds, spot)
            start, end = reference
            text = text[:start] + self._retrieve(text[start + 2 : end - 1], spot).text + text[end:]
            self._account(len(text), spot)
        return text.replace("$$", "$")

    def _original(self, text: str, spot: _Spot, rounds: int) -> str | None:
        """Return what a string field takes; None where references in it, in a comment say, lead nowhere."""
        warnings = len(self.warnings)
        try:
            return self._inline(text, spot, rounds)
        except ConfigError:
            return None
        finally:
            del self.warnings[warnings:]

    def _count(self, rounds: int, spot: _Spot) -> int:
        if rounds <= 0 or len(spot.path) > MAX_DEPTH:
            raise spot.error("too many recursive expansions", "a reference leads to itself")
        return rounds - 1

    def _account(self, size: int, spot: _Spot) -> None:
        self._size += size
        if self._size > MAX_SIZE:
            raise spot.error(f"references expand to more than {MAX_SIZE} characters")

    def _retrieve(self, uri: str, spot: _Spot) -> _Retrieved:
        scheme, colon, value = uri.partition(":")
        if not colon or value.startswith(("-", "?")):
            scheme, value = "env", uri
        if "$" in value:
            raise spot.error(f"the uri \"{spot.shown(uri)}\" contains unsupported characters ('$')", _ESCAPE_ADVICE)
        if scheme == "env":
            return self._variable(value, spot)
        if scheme == "file":
            return self._file(value, spot)
        if scheme == "yaml":
            return self._parse(value, spot)
        message = f'scheme "{spot.shown(scheme)}" is not supported for uri "{spot.shown(uri)}"'
        raise spot.error(message, f"there are env, file and yaml; {_ESCAPE_ADVICE}")

    def _variable(self, uri: str, spot: _Spot) -> _Retrieved:
        name, operator, text = _OPERATOR.split(uri, maxsplit=1) if _OPERATOR.search(uri) else (uri, "", "")
        if not _NAME.fullmatch(name):
            rule = "has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"
            raise spot.error(f'environment variable "{spot.shown(name)}" {rule}', _ESCAPE_ADVICE)
        if operator == ":?" and not self._environ.get(name):
            raise spot.error(f'environment variable "{name}" is not set', spot.shown(text))
        if name in self._environ:
            return self._parse(self._environ[name], spot)
        if text:
            return self._parse(text, spot)
        if operator:
            return _Retrieved(Node("", spot.place), "")
        self.warnings.append(
            f'{spot.place}: {"::".join(spot.path)}: Configuration references unset environment variable "{name}" '
            f"(${{env:{name}:-x}} gives a default)"
        )
        return _Retrieved(Node(None, spot.place), "")

    def _file(self, name: str, spot: _Spot) -> _Retrieved:
        try:
            text = self._read_file(name).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise spot.error(f"unable to read the file {spot.shown(name)}: {why}") from None
        return self._parse(text.removesuffix("\n").removesuffix("\r"), spot, Place(name))

    def _parse(self, text: str, spot: _Spot, file: Place | None = None) -> _Retrieved:
        """Read `text` as YAML if it is some; text that is not YAML, or a YAML string, is taken as it is."""
        self._account(len(text) + 1, spot)
        if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
            raise spot.error("a reference leads to bytes that are not UTF-8")
        try:
            source = file or spot.place
            node = read_yaml(text, source.source, None if file else source) or Node(None, source)
        except (ConfigError, DuplicateKeys) as error:
            if file:
                self.warnings.append(f"{spot.place}: the file {file} is not YAML and taken as text: {error}")
            node = Node(text, spot.place)
        return _Retrieved(Node(text, node.place) if isinstance(node.value, str) else node, text)


def _find(text: str) -> tuple[int, int] | None:
    """Return where the first innermost reference that is not escaped starts and ends."""
    start = 0
    while (end := text.find("}", start)) >= 0:
        opening = text.rfind("${", start, end)
        first = opening
        while first > 0 and text[first - 1] == "$":
            first -= 1
        if opening >= 0 and (opening - first) % 2 == 0:
            return opening, end + 1
        start = end + 1
    return None
