"""The configuration grammar: YAML, merging, settings and references, before anything is typed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.processor.component import Settings
from spanledger.service.confmap import ConfigError, InvalidConfig, Node, resolve
from spanledger.service.nodes import Place
from spanledger.service.validation import validate
from spanledger.service.yaml_reader import DuplicateKeys, read_yaml, resolve_scalar


def plain(node: Node | None) -> Any:
    """Return the values of a tree without their places."""
    if node is None:
        return None
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return node.value


def no_files(name: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory")


def read_from(files: Mapping[str, bytes]) -> Any:
    """Return a reader of files that exist only here."""

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[name]

    return read


def resolved(text: str, environ: Mapping[str, str] | None = None, **files: str) -> Any:
    """Return the values of one inline source; no error is expected."""
    read = read_from({name.replace("_", "."): content.encode() for name, content in files.items()})
    resolution = resolve([f"yaml:{text}"], [], environ or {}, read)
    assert resolution.errors == ()
    return plain(resolution.root)


def reported(
    *sources: str, sets: tuple[str, ...] = (), environ: Mapping[str, str] | None = None, **files: bytes
) -> list[str]:
    """Return every error of some sources, as told to the user."""
    read = read_from({name.replace("_", "."): content for name, content in files.items()})
    try:
        return [str(error) for error in resolve(sources, sets, environ or {}, read).errors]
    except InvalidConfig as invalid:
        return [str(error) for error in invalid.errors]


# --- YAML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("12", 12),
        ("-12", -12),
        ("+5", 5),
        ("0", 0),
        ("00", 0),
        ("0123", 83),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0b11", 3),
        ("1_000", 1000),
        ("089", 89.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("9" * 400, "9" * 400),
        ("9" * 5000, "9" * 5000),
        ("1:30", "1:30"),
        ("2006-01-02", "2006-01-02"),
        ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
        ("0x", "0x"),
        ("1_", "1_"),
        ("1.2.3", "1.2.3"),
        ("localhost:4317", "localhost:4317"),
        ("=", "="),
    ],
)
def test_plain_scalar_means_what_go_yaml_reads(text: str, expected: Any) -> None:
    """A Collector user's YAML has the same types here."""
    value = resolve_scalar(text)
    assert (expected, type(expected)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# nothing\n", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: '1'\nb: \"true\"\nc: |\n  text\n", {"a": "1", "b": "true", "c": "text\n"}),
        ("a: !!str 0123\nb: !!int '7'\nc: !!float 1", {"a": "0123", "b": 7, "c": 1}),
        ("1: one\ntrue: yes", {"1": "one", "true": "yes"}),
        ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3", {"a": {"b": 1, "c": 2}, "d": {"c": 3, "b": 1}}),
        ("a: &x {b: 1}\nc: &y {d: 2}\ne: {<<: [*x, *y]}", {"a": {"b": 1}, "c": {"d": 2}, "e": {"b": 1, "d": 2}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_yaml_document_is_read(text: str, expected: Any) -> None:
    """Anchors, merge keys, tags, quotes and an empty document."""
    assert expected == plain(read_yaml(text, "file"))


BOMB = (
    "a0: &a0 ["
    + ", ".join(["x" * 10] * 10)
    + "]\n"
    + "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10))
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a:\n\tb: 1", ("f:2:1: cannot parse YAML: found character '\\t' that cannot start any token while scanning "
                        "for the next token (indent with spaces, never with tabs)")),
        (b"a: 1\nb: 2: 3", ("f:2:5: cannot parse YAML: mapping values are not allowed here "
                           "(check the indentation, and quote a value that holds ': ')")),
        (b"a: [1, 2", ("f:1:9: cannot parse YAML: expected ',' or ']', but got '<stream end>' "
                      "while parsing a flow sequence")),
        (b"a: 'open", "f:1:9: cannot parse YAML: found unexpected end of stream while scanning a quoted scalar"),
        (b"a: ok\nb: \xff", "f:2:4: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        ("a: 1".encode("utf-16"), "f: not UTF-8 but UTF-16 (save the file as UTF-8)"),
        (b"a: 1\nb: \x07", "f:2:4: cannot parse YAML: the character U+0007 is not allowed"),
        (b'a: "\\ud800"', "f:1:4: a character that is half of a surrogate pair"),
        (b"- a\n- b", "f:1:1: the top level must be a map with the keys receivers, exporters, service, …"),
        (b"just text", "f:1:1: the top level must be a map with the keys receivers, exporters, service, …"),
        (b"a: 1\n---\nb: 2", "f:2:1: a second YAML document (give each document a --config of its own)"),
        (b"a: *nowhere", "f:1:4: found an alias without its anchor (quote a value that starts with *)"),
        (b"a: &self [*self]", "f:1:11: found an alias without its anchor (quote a value that starts with *)"),
        (b"a: !env HOME", "f:1:4: a tag (!…) that configurations do not have (quote a value that starts with !)"),
        (b"a: !!int ten", "f:1:4: the value is not what its tag says"),
        (b"? [a, b]\n: c", "f:1:3: a key must be a name (quote a value that holds braces or a colon)"),
        (b"a: {<<: 3}", "f:1:9: a: << takes a map, or a list of maps"),
        (b"[" * 5000, "f:1:65: more than 64 levels of nesting"),
        (b"a: " + b"x" * 1024 * 1024, "f: more than 1048576 bytes: this is not a configuration"),
        (BOMB.encode(), "f:6:5: more than 8388608 characters with aliases written out"),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else "",
)  # fmt: skip
def test_text_that_is_no_configuration_is_refused(content: bytes, expected: str) -> None:
    """Each way to be broken has its message, line and column."""
    assert [expected] == reported("f", f=content)


def test_every_duplicate_key_is_reported_with_both_lines() -> None:
    """The last of two equal keys must not win in silence."""
    errors = reported("f", f=b"a:\n  b: 1\n  c: 2\n  b: 3\nd: 1\na: 2\n")
    assert errors == [
        'f:4:3: a::b: mapping key "b" already defined at line 2 (keep one of the two)',
        'f:6:1: a: mapping key "a" already defined at line 1 (keep one of the two)',
    ]


def test_syntax_errors_do_not_show_values() -> None:
    """What lacks its quotes may be a password."""
    for secret in (
        "*hunter2",
        "!hunter2!x y",
        "%hunter2",
        "'hunter2",
        "{hunter2",
        "hunter2: [",
        "@hunter2",
        "\thunter2",
    ):
        (error,) = reported("f", f=f"password: {secret}".encode())
        assert "hunter2" not in error


# --- sources, merging, --set --------------------------------------------------------------------


def test_later_sources_are_merged_over_earlier_ones() -> None:
    """Maps are merged at every level, lists and scalars replaced, null replaces too."""
    first = "yaml:{a: {x: 1, y: [1, 2], z: {q: 1}}, b: 1, c: {d: 1}}"
    second = "yaml:{a: {y: [3], z: {r: 2}}, b: {n: 1}, c: null}"
    merged = plain(resolve([first, second], [], {}, no_files).root)
    assert merged == {"a": {"x": 1, "y": [3], "z": {"q": 1, "r": 2}}, "b": {"n": 1}, "c": None}


def test_every_value_knows_where_it_was_written() -> None:
    """Places survive merging, settings and references."""
    files = {
        "one.yaml": b"a:\n  x: 1\n  y: 2\nf: ${file:part.yaml}\n",
        "two.yaml": b"\na:\n  y: 3\n  e: ${V}\n",
        "part.yaml": b"p:\n  - q\n",
    }
    environ = {"V": "[5]", "CFG": "g: 1"}
    sources = ["one.yaml", "file:two.yaml", "env:CFG", "yaml:y: 1"]
    root = resolve(sources, ["a.z=4", "l=[1]"], environ, read_from(files)).root

    def where(*path: str) -> tuple[str, str]:
        node, found = root.at(path)
        assert found == path
        return str(node.where), str(node.place)

    assert where("a") == ("one.yaml:1:1", "one.yaml:2:3")
    assert where("a", "x") == ("one.yaml:2:3", "one.yaml:2:6")
    assert where("a", "y") == ("two.yaml:3:3", "two.yaml:3:6")
    assert where("a", "e") == ("two.yaml:4:3", "two.yaml:4:6")
    assert where("a", "e", "0") == ("two.yaml:4:6", "two.yaml:4:6")
    assert where("a", "z") == ("--set a.z", "--set a.z")
    assert where("l", "0") == ("--set l", "--set l")
    assert where("f", "p", "0") == ("part.yaml:2:5", "part.yaml:2:5")
    assert where("g") == ("env:CFG:1:1", "env:CFG:1:4")
    assert where("y") == ("yaml:1:1", "yaml:1:4")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("a.b=2s", {"a": {"b": "2s", "old": 1}}),
        ("a.old=true", {"a": {"old": True}}),
        ("a.b=", {"a": {"b": None, "old": 1}}),
        ("a.b=x=y", {"a": {"b": "x=y", "old": 1}}),
        ("a.b={c: [1, d]}", {"a": {"b": {"c": [1, "d"]}, "old": 1}}),
        ("a.b={c::d: 1}", {"a": {"b": {"c": {"d": 1}}, "old": 1}}),
        (" a.otlp/x.b = 1", {"a": {"otlp/x": {"b": 1}, "old": 1}}),
        ("a::otlp/x.y::b=1", {"a": {"otlp/x.y": {"b": 1}, "old": 1}}),
        ("a.b=${env:V}", {"a": {"b": 7, "old": 1}}),
        ("a.b=${V}${V}", {"a": {"b": "77", "old": 1}}),
    ],
)
def test_set_changes_one_value(setting: str, expected: Any) -> None:
    """Dots are levels and the value is YAML."""
    assert expected == plain(resolve(["yaml:a: {old: 1}"], [setting], {"V": "7"}, no_files).root)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("a.b", "--set: missing equal sign (write --set key.key=value)"),
        ("a..b=1", "--set a..b: a level of the key is empty (write --set key.key=value)"),
        ("=1", "--set : a level of the key is empty (write --set key.key=value)"),
        ("a.b=[", ("--set a.b: cannot parse YAML: expected the node content, but found '<stream end>' "
                  "while parsing a flow node")),
        ("a={b: 1, b: 2}", '--set a: b: mapping key "b" already defined at the same place (keep one of the two)'),
    ],
)  # fmt: skip
def test_set_that_cannot_be_read_is_refused(setting: str, expected: str) -> None:
    """The message names the setting and never its value."""
    assert [expected] == reported("yaml:a: 1", sets=(setting,))


def test_keys_may_be_written_with_colons_between_levels() -> None:
    """`--config yaml:processors::batch::timeout: 2s` works as in the Collector."""
    assert resolved("a::b::c: 1\na: {b: {d: 2}}") == {"a": {"b": {"c": 1, "d": 2}}}


def test_all_unreadable_sources_are_reported_together() -> None:
    """One run shows every source that is missing or broken."""
    errors = reported("nowhere.yaml", "env:NOT_SET", "http://x/y", "yaml:[", sets=("x",))
    assert errors == [
        "nowhere.yaml: cannot retrieve the configuration: unable to read the file: No such file or directory",
        "env:NOT_SET: cannot retrieve the configuration: environment variable is not set",
        'unsupported scheme on URI "http:…" (there are default, env, file, preset and yaml)',
        "yaml:1:2: cannot parse YAML: expected the node content, but found '<stream end>' while parsing a flow node",
        "--set: missing equal sign (write --set key.key=value)",
    ]


# --- references: the tables of the Collector's confmap/internal/e2e ------------------------------

ESCAPES = {
    "ENV_VALUE": "some expanded value",
    "ENV_LIST": "['$$ESCAPE_ME','$${ESCAPE_ME}','$${env:ESCAPE_ME}']",
    "ENV_MAP": "{'key1':'$$ESCAPE_ME','key2':'$${ESCAPE_ME}','key3':'$${env:ESCAPE_ME}'}",
    "ENV_NESTED_DOLLARSIGN": "here is 1 $$",
    "ENV_NESTED_DOLLARSIGN_ESCAPED": "here are 2 $$$",
    "ENV_EXPAND_NESTED": "${env:ENV_VALUE} came from nested expansion",
    "NAME": "ENV_VALUE",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$$ENV_VALUE", "$ENV_VALUE"),
        ("$$$$ENV_VALUE", "$$ENV_VALUE"),
        ("$$${ENV_VALUE}", "$some expanded value"),
        ("some${ENV_VALUE}text", "somesome expanded valuetext"),
        ("some$${ENV_VALUE}text", "some${ENV_VALUE}text"),
        ("$${ONE}$${TWO}", "${ONE}${TWO}"),
        ("text$$", "text$"),
        ("$$", "$"),
        ("$${1}$${env:2}", "${1}${env:2}"),
        ("some$${env:ENV_VALUE}text", "some${env:ENV_VALUE}text"),
        ("$${env:${ENV_VALUE}}", "${env:some expanded value}"),
        ("$${env:$${ENV_VALUE}}", "${env:${ENV_VALUE}}"),
        ("env:MAP_VALUE_2}$${ENV_VALUE}{", "env:MAP_VALUE_2}${ENV_VALUE}{"),
        ("$$${env:ENV_VALUE}", "$some expanded value"),
        ("$ENV_VALUE", "$ENV_VALUE"),
        ("${env:ENV_LIST}", ["$ESCAPE_ME", "${ESCAPE_ME}", "${env:ESCAPE_ME}"]),
        ("${env:ENV_MAP}", {"key1": "$ESCAPE_ME", "key2": "${ESCAPE_ME}", "key3": "${env:ESCAPE_ME}"}),
        ("${env:ENV_NESTED_DOLLARSIGN}", "here is 1 $"),
        ("${env:ENV_NESTED_DOLLARSIGN_ESCAPED}", "here are 2 $$"),
        ("${env:ENV_EXPAND_NESTED}", "some expanded value came from nested expansion"),
        ("${env:UNDEFINED_KEY:-default_value}", "default_value"),
        ("${env:UNDEFINED_KEY:-$${env:UNDEFINED_KEY}}", "${env:UNDEFINED_KEY:-${env:UNDEFINED_KEY}}"),
        # Ours.
        ("$${ENV_VALUE} and ${ENV_VALUE}", "${ENV_VALUE} and some expanded value"),
        ("${UNDEFINED_KEY:-12}", 12),
        ("${UNDEFINED_KEY:-}", ""),
        ("${UNDEFINED_KEY:-a:-b}", "a:-b"),
        ("${UNDEFINED_KEY:-a:?b}", "a:?b"),
        ("${NAME:?what it is}", "ENV_VALUE"),
        ("${env:${NAME}}", "some expanded value"),
        ("${env:NOT_${NAME}:-${ENV_VALUE}}", "some expanded value"),
        ("${yaml:[1, a]}", [1, "a"]),
        ("x ${yaml:1}", "x 1"),
        ("}${ENV_VALUE", "}${ENV_VALUE"),
        ("{}", "{}"),
    ],
)
def test_references_are_expanded_as_the_collector_does(text: str, expected: Any) -> None:
    """The rows of expand-escaped-env.yaml, then our own."""
    assert {"key": expected} == resolved("key: " + repr(text), ESCAPES)


class Int(Settings):
    """A target of that type."""

    field: int = 5


class Str(Settings):
    """A target of that type."""

    field: str = "default"


class Bool(Settings):
    """A target of that type."""

    field: bool = False


class Strings(Settings):
    """A target of that type."""

    field: list[str] = pydantic.Field(default_factory=list)


class StringMap(Settings):
    """A target of that type."""

    field: dict[str, pydantic.SecretStr] = pydantic.Field(default_factory=dict)


class OptionalStr(Settings):
    """A target of that type."""

    field: str | None = "default"


class NestedStrings(Settings):
    """A target of that type."""

    field: list[dict[str, list[str]]] = pydantic.Field(default_factory=list)


class Anything(Settings):
    """A target of that type."""

    field: Any = None


NOT_AN_INT = "expected type 'int', got unconvertible type 'string'"
NOT_A_STRING = "expected type 'string', got unconvertible type 'bool'"
NOT_A_BOOL = "expected type 'bool', got unconvertible type '{}'"


def typed(target: type[Settings], text: str, environ: Mapping[str, str]) -> Any:
    """Return the field of `target`, or the message of what is wrong with it."""
    resolution = resolve([f"yaml:field: {text}"], [], environ, no_files)
    if resolution.errors:
        return resolution.errors[0].message
    value, errors = validate(target, resolution.root, ())
    return errors[0].message if value is None else value.field  # type: ignore[attr-defined]


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        ("123", Int, 123),
        ("123", Str, "123"),
        ("123", "inline", "123"),
        ("0123", Int, 83),
        ("0123", Str, "0123"),
        ("0123", "inline", "0123"),
        ("0xdeadbeef", Int, 3735928559),
        ("0xdeadbeef", Str, "0xdeadbeef"),
        ("0xdeadbeef", "inline", "0xdeadbeef"),
        ('"0123"', Str, '"0123"'),
        ('"0123"', Int, NOT_AN_INT),
        ('"0123"', "inline", '"0123"'),
        ("!!str 0123", Str, "!!str 0123"),
        ("!!str 0123", "inline", "!!str 0123"),
        ("t", Bool, NOT_A_BOOL.format("string")),
        ("23", Bool, NOT_A_BOOL.format("int")),
        ("true", Bool, True),
        ('{"field": 123}', "inline", '{"field": 123}'),
        ("1111:1111:1111:1111:1111::", "inline", "1111:1111:1111:1111:1111::"),
        ("1111:1111:1111:1111:1111::", Str, "1111:1111:1111:1111:1111::"),
        ("2006-01-02T15:04:05Z07:00", Str, "2006-01-02T15:04:05Z07:00"),
        ("2006-01-02T15:04:05Z07:00", "inline", "2006-01-02T15:04:05Z07:00"),
        ("2023-03-20T03:17:55.432328Z", Str, "2023-03-20T03:17:55.432328Z"),
        ("true # comment with a ${env:hello.world} reference", Bool, True),
        ("true # comment with a ${env:hello.world} reference", Str, NOT_A_STRING),
        (
            "true # comment with a ${env:hello.world} reference",
            "inline",
            'environment variable "…" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$',
        ),
        ('["a",', Str, '["a",'),
        ('["a",', "inline", '["a",'),
        ("[filelog,windowseventlog/application]", Strings, ["filelog", "windowseventlog/application"]),
        ("[filelog,windowseventlog/application]", Str, "[filelog,windowseventlog/application]"),
        ("[filelog,windowseventlog/application]", "inline", "[filelog,windowseventlog/application]"),
        ("filelog, nop", Strings, ["filelog", "nop"]),
        ("$$ENV", Str, "$ENV"),
        ("$$ENV", "inline", "$ENV"),
        ("$${ENV}", Str, "${ENV}"),
        ("$${ENV}", "inline", "${ENV}"),
        ("$${env:ENV}", Str, "${env:ENV}"),
        ("[filelog,${env:ENV_VALUE}]", Str, "[filelog,testreceiver]"),
        ("[filelog,'${ENV_VALUE}']", Strings, ["filelog", "testreceiver"]),
        ('["filelog","$${env:ENV_VALUE}"]', Str, '["filelog","${env:ENV_VALUE}"]'),
        ('["filelog","$ENV_VALUE"]', Str, '["filelog","$ENV_VALUE"]'),
        ("", Str, ""),
        ("", OptionalStr, None),
        ("", Int, 5),
        ("null", Str, "null"),
        ("#hunter2", Str, "#hunter2"),
        ("a: b", Str, "a: b"),
    ],
)
def test_value_takes_the_type_of_its_target(value: str, target: Any, expected: Any, indirect: bool) -> None:
    """Value × target × direct, inline or through another variable (the Collector's types_test.go)."""
    environ = {"ENV_VALUE": "testreceiver", "ENV": value}
    if indirect:
        environ |= {"ENV": "${env:ENV2}", "ENV2": value}
    if target == "inline":
        wrapped = f"inline field with {expected} expansion"
        result = typed(Str, "inline field with ${env:ENV} expansion", environ)
        assert result in (wrapped, expected)
    else:
        assert expected == typed(target, "${env:ENV}", environ)


@pytest.mark.parametrize("target", [Str, Int, Bool, Strings])
def test_default_in_a_reference_is_typed_like_a_value(target: type[Settings]) -> None:
    """`${env:X:-default}` behaves as if X held the default."""
    for text in ("123", "0123", "true", "[a,b]", '"x"', "x y", "1.5"):
        assert typed(target, "${env:ENV}", {"ENV": text}) == typed(target, "${env:UNSET:-" + text + "}", {})


@pytest.mark.parametrize(
    ("target", "text", "expected"),
    [
        (StringMap, "{key: '${V}'}", {"key": pydantic.SecretStr("1234")}),
        (Strings, "['${V}']", ["1234"]),
        (Anything, "['${V}']", [1234]),
        (NestedStrings, "[key: ['${V}']]", [{"key": ["1234"]}]),
    ],
)
def test_elements_take_the_type_of_their_container(target: type[Settings], text: str, expected: Any) -> None:
    """Collector issue 10937: the text is kept inside maps and lists too."""
    assert expected == typed(target, text, {"V": "1234"})


@pytest.mark.parametrize("value", ["123", "opentelemetry"])
def test_references_inside_references_are_followed(value: str) -> None:
    """What a variable holds may name further variables."""
    environ = {"ENV": "The value ${env:ENV2} is wrapped", "ENV2": "The value ${env:ENV3} is wrapped", "ENV3": value}
    assert f"The value The value {value} is wrapped is wrapped" == typed(Str, "${env:ENV}", environ)


def test_map_from_the_environment_is_a_map_or_its_text() -> None:
    """Collector TestRecursiveMaps: which of the two depends on the target."""
    environ = {"ENV": '{env: "${env:ENV2}", inline: "inline ${env:ENV2}"}', "ENV2": '{env2: "${env:ENV3}"}',
               "ENV3": "{value: 123}"}  # fmt: skip
    as_map = {"env": {"env2": {"value": 123}}, "inline": 'inline {env2: "{value: 123}"}'}
    as_text = '{env: "{env2: "{value: 123}"}", inline: "inline {env2: "{value: 123}"}"}'
    assert {"field": as_map} == resolved("field: ${env:ENV}", environ)
    assert as_text == typed(Str, "${env:ENV}", environ)


def test_unset_variable_is_null_and_a_warning() -> None:
    """The warning names the variable, the key and the line."""
    resolution = resolve(["yaml:a:\n  b: ${env:GONE}"], [], {}, no_files)
    assert plain(resolution.root) == {"a": {"b": None}}
    assert resolution.warnings == (
        'yaml:2:6: a::b: Configuration references unset environment variable "GONE" (${env:GONE:-x} gives a default)',
    )


def test_file_reference_reads_yaml_or_text() -> None:
    """A file may hold a block or a token; the token's last newline is not part of it."""
    assert resolved(
        "a: ${file:part.yaml}\nt: ${file:token.txt}\ni: x ${file:token.txt}",
        part_yaml="b: [1]\n",
        token_txt="hunter2\n",
    ) == {"a": {"b": [1]}, "t": "hunter2", "i": "x hunter2"}


def test_broken_yaml_in_a_referenced_file_is_a_warning() -> None:
    """It becomes text, which is hardly what was meant."""
    read = read_from({"part.yaml": b"a: 1\na: 2\n", "bad.yaml": b"a: [1"})
    resolution = resolve(["yaml:x: ${file:part.yaml}\ny: ${file:bad.yaml}"], [], {}, read)
    assert plain(resolution.root) == {"x": "a: 1\na: 2", "y": "a: [1"}
    assert resolution.warnings == (
        (
            'yaml:1:4: the file part.yaml is not YAML and taken as text: part.yaml:2:1: a: mapping key "a" already '
            "defined at line 1 (keep one of the two)"
        ),
        (
            "yaml:2:4: the file bad.yaml is not YAML and taken as text: bad.yaml:1:6: cannot parse YAML: expected ',' "
            "or ']', but got '<stream end>' while parsing a flow sequence"
        ),
    )


ADVICE = "(write $${ for a plain ${)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${1}", f'environment variable "1" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$ {ADVICE}'),
        ("${}", f'environment variable "" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$ {ADVICE}'),
        ("${vault:x}", ('scheme "vault" is not supported for uri "vault:x" '
                       "(there are env, file and yaml; write $${ for a plain ${)")),
        ("${env:X:?the key, from Settings}", 'environment variable "X" is not set (the key, from Settings)'),
        ("Bearer ${X:?}", 'environment variable "X" is not set'),
        ("${EMPTY:?a key}", 'environment variable "EMPTY" is not set (a key)'),
        ("${X:?${SECRET}}", 'environment variable "X" is not set (…)'),
        ("${env:X:-$5}", f"the uri \"env:X:-$5\" contains unsupported characters ('$') {ADVICE}"),
        ("${LOOP}", "too many recursive expansions (a reference leads to itself)"),
        ("x ${LOOP}", "too many recursive expansions (a reference leads to itself)"),
        ("${DEEP}", "too many recursive expansions (a reference leads to itself)"),
        ("${GROW}", "references expand to more than 8388608 characters"),
        ("${file:gone}", "unable to read the file gone: No such file or directory"),
        ("${env:${SECRET}}",
         f'environment variable "…" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$ {ADVICE}'),
        ("${BYTES}", "a reference leads to bytes that are not UTF-8"),
    ],
)  # fmt: skip
def test_reference_that_leads_nowhere_is_an_error(text: str, expected: str) -> None:
    """Each with the key, the line and what to do; never with what a secret holds."""
    environ = {
        "EMPTY": "",
        "LOOP": "${LOOP}",
        "DEEP": "[${DEEP}]",
        "GROW": "${A}${A}",
        "A": "x" * 2**20 + "${A}",
        "SECRET": "hunter 2",
        "BYTES": "\udcff",
    }
    assert [f"yaml:2:6: a::b: {expected}"] == reported("yaml:a:\n  b: '" + text + "'", environ=environ)


def test_all_bad_references_are_reported_together() -> None:
    """One run shows every one of them."""
    assert [text.split(": env")[0] for text in reported("yaml:a: ${1}\nb: [ '${2}' ]")] == [
        "yaml:1:4: a",
        "yaml:2:6: b::0",
    ]


# --- any input ------------------------------------------------------------------------------------

PIECES = [*"abx01.: \n\t-[]{},&*!|>'\"#%@`$~\\<?=", "${", "${env:", "::", ": ", "\n  ", "- ", "<<: ", "*a", "&a "]
YAML_LIKE = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), YAML_LIKE, st.binary()))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    """Nothing but ConfigError ever leaves the reader."""
    try:
        node = read_yaml(text, "f")
    except (ConfigError, DuplicateKeys):
        return
    assert node is None or node.place.line > 0


@settings(deadline=None, max_examples=300)
@given(st.lists(YAML_LIKE, max_size=2), st.lists(YAML_LIKE, max_size=2), YAML_LIKE)
def test_any_sources_are_resolved_or_refused(sources: list[str], sets: list[str], value: str) -> None:
    """Nothing but InvalidConfig ever leaves `resolve`, and each error can be shown."""
    environ = {"a": value, "b": "${a}${x}", "x": "[${b}]"}
    try:
        resolution = resolve([f"yaml:{text}" for text in sources], sets, environ, no_files)
    except InvalidConfig as invalid:
        errors = invalid.errors
    else:
        errors = resolution.errors
    assert all(str(error) for error in errors)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8"))


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab_", min_size=1), inner)))
def test_json_reads_back_as_itself(value: Any) -> None:
    """JSON is YAML, so any value of it comes through unchanged."""
    assert {"key": value} == plain(read_yaml(json.dumps({"key": value}), "f"))


def test_place_is_told_as_an_editor_reads_it() -> None:
    """file:line:column, and only the source where it has no lines."""
    assert (str(Place("a.yaml", 3, 7)), str(Place("--set x"))) == ("a.yaml:3:7", "--set x")
