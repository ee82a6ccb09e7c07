"""Parsed JSON straight to protobuf wire bytes, by writers made from the message descriptors.

No message is built on the way, which makes this about five times as fast as `json_format.ParseDict`, and
one walk does what OTLP asks beyond protobuf's JSON mapping: trace and span ids are hex, unknown keys are
ignored. https://protobuf.dev/programming-guides/json/ is the mapping, .../encoding/ the wire format.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from spanledger.receivers.otlp.json_reader import Unreadable

MAX_DEPTH = 100
"""Messages within messages; protobuf reads no more."""

_ID_BYTES: Final = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}

Encode = Callable[[Any, int], bytes]
"""(JSON value, depth) -> wire bytes. Raises `Unreadable` with what is wrong, never with the value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    name: str
    repeated: bool
    write: Encode
    """Writes a value of the whole field, with its key; a list for repeated fields."""
    element: Encode
    """Writes one element, with its key unless the field is packed."""
    message: MessageWriter | None
    """The writer of the field's message type."""


class MessageWriter:
    """Writes JSON objects as one message type. `fields` has both spellings of each key."""

    def __init__(self) -> None:
        self.fields: Mapping[str, Field] = {}

    def __call__(self, tree: Any, depth: int = 0) -> bytes:
        """Return `tree` on the wire. Raises `Unreadable`."""
        if type(tree) is not dict:
            raise Unreadable("with something else where an object belongs")
        if depth >= MAX_DEPTH:
            raise Unreadable("nested too deep")
        fields = self.fields
        parts = []
        for key, value in tree.items():
            field = fields.get(key)
            if field is not None and value is not None:
                parts.append(field.write(value, depth))
        return b"".join(parts)


def message_writer(descriptor: Descriptor) -> MessageWriter:
    """Return the writer of a message type; recursive types are handled."""
    return _message_writer(descriptor, {})


def delimited(key: bytes, payload: bytes) -> bytes:
    """Return a field of strings, bytes or messages on the wire."""
    return b"%b%b%b" % (key, varint(len(payload)), payload)


def varint(value: int) -> bytes:
    """Return a number in 0..2**64-1 in base 128."""
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: Final = tuple(bytes([value]) for value in range(0x80))


def _message_writer(descriptor: Descriptor, known: dict[str, MessageWriter]) -> MessageWriter:
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    writer = known[descriptor.full_name] = MessageWriter()
    fields = {}
    for descriptor_field in descriptor.fields:
        field = _field(descriptor_field, known)
        fields[descriptor_field.name] = fields[descriptor_field.json_name] = field
    writer.fields = fields
    return writer


def _field(field: FieldDescriptor, known: dict[str, MessageWriter]) -> Field:
    if field.message_type is not None:
        writer = _message_writer(field.message_type, known)
        element = _keyed(varint(field.number << 3 | 2), lambda value, depth: writer(value, depth + 1), sized=True)
        return Field(field.number, field.name, field.is_repeated, _each(element, field), element, writer)
    wire_type, encode = _scalar(field)
    sized = wire_type == 2
    if field.is_packed:
        key = varint(field.number << 3 | 2)
        return Field(field.number, field.name, True, _packed(key, encode), encode, None)
    element = _keyed(varint(field.number << 3 | wire_type), encode, sized)
    return Field(field.number, field.name, field.is_repeated, _each(element, field), element, None)


def _keyed(key: bytes, encode: Encode, sized: bool) -> Encode:
    if not sized:
        return lambda value, depth: key + encode(value, depth)

    def write(value: Any, depth: int) -> bytes:
        payload = encode(value, depth)
        size = len(payload)
        return key + (_SMALL[size] if size < 0x80 else varint(size)) + payload

    return write


def _each(element: Encode, field: FieldDescriptor) -> Encode:
    if not field.is_repeated:
        return element
    return lambda value, depth: b"".join([element(item, depth) for item in _list(value)])


def _packed(key: bytes, encode: Encode) -> Encode:
    return lambda value, depth: delimited(key, b"".join([encode(item, depth) for item in _list(value)]))


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Unreadable("with something else where a list belongs")
    return value


def _scalar(field: FieldDescriptor) -> tuple[int, Encode]:
    """Return the wire type and the encoder of one value of a scalar field."""
    kind = FieldDescriptor
    if field.type == kind.TYPE_BYTES and field.name in _ID_BYTES:
        return 2, _id(field.name, _ID_BYTES[field.name])
    if field.type == kind.TYPE_ENUM and field.enum_type is not None:
        return 0, _enum(field.enum_type)
    encode: dict[int, tuple[int, Encode]] = {
        kind.TYPE_STRING: (2, _string),
        kind.TYPE_BYTES: (2, _base64),
        kind.TYPE_BOOL: (0, _bool),
        kind.TYPE_DOUBLE: (1, _double),
        kind.TYPE_FIXED64: (1, _integer(0, 2**64, struct.Struct("<Q").pack)),
        kind.TYPE_SFIXED64: (1, _integer(-(2**63), 2**63, struct.Struct("<q").pack)),
        kind.TYPE_FIXED32: (5, _integer(0, 2**32, struct.Struct("<I").pack)),
        kind.TYPE_UINT32: (0, _integer(0, 2**32, varint)),
        kind.TYPE_UINT64: (0, _integer(0, 2**64, varint)),
        kind.TYPE_INT32: (0, _integer(-(2**31), 2**31, _twos_complement)),
        kind.TYPE_INT64: (0, _integer(-(2**63), 2**63, _twos_complement)),
        kind.TYPE_SINT32: (
            0,
            _integer(-(2**31), 2**31, _zigzag),
        ),
    }
    return encode[field.type]


def _string(value: Any, _depth: int) -> bytes:
    if type(value) is not str:
        raise Unreadable("with something else where a string belongs")
    try:
        return value.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, as JavaScript leaves it when it cuts a string in two.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _base64(value: Any, _depth: int) -> bytes:
    if type(value) is not str:
        raise Unreadable("with bytes that are not base64")
    plain = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("with bytes that are not base64") from None


def _id(name: str, size: int) -> Encode:
    problem = f"with a {name.replace('_', ' ')} that is not {2 * size} hex digits"

    def encode(value: Any, _depth: int) -> bytes:
        # bytes.fromhex skips blanks, so the length is checked in both forms.
        if type(value) is str and (len(value) == 2 * size or not value):
            try:
                wire = bytes.fromhex(value)
            except ValueError:
                raise Unreadable(problem) from None
            if 2 * len(wire) == len(value):
                return wire
        raise Unreadable(problem)

    return encode


def _bool(value: Any, _depth: int) -> bytes:
    if type(value) is not bool:
        raise Unreadable("with something else where true or false belongs")
    return b"\x01" if value else b"\x00"


def _double(value: Any, _depth: int) -> bytes:
    if type(value) not in {float, int, str}:
        raise Unreadable("with something else where a number belongs")
    try:
        # "NaN", "Infinity" and "-Infinity" are among what float() reads.
        return struct.pack("<d", float(value))
    except (ValueError, OverflowError):
        raise Unreadable("with something else where a number belongs") from None


def _integer(lowest: int, end: int, pack: Callable[[int], bytes]) -> Encode:
    def encode(value: Any, _depth: int) -> bytes:
        number = value if type(value) is int else _whole_number(value)
        if not lowest <= number < end:
            raise Unreadable("with a number that is out of range")
        return pack(number)

    return encode


def _twos_complement(number: int) -> bytes:
    return varint(number & (2**64 - 1))


def _zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else ~(number << 1))


def _whole_number(value: Any) -> int:
    if type(value) is str:
        digits = value[1:] if value[:1] == "-" else value
        if len(digits) <= 20 and digits.isascii() and digits.isdigit():
            return int(value)
        try:
            value = float(value)
        except ValueError:
            value = math.nan
    if type(value) is not float or not value.is_integer():
        raise Unreadable("with something else where a whole number belongs")
    return int(value)


def _enum(enum: EnumDescriptor) -> Encode:
    numbers = {value.name: value.number for value in enum.values}
    encode = _integer(-(2**31), 2**31, _twos_complement)
    return lambda value, depth: encode(numbers.get(value, value) if type(value) is str else value, depth)
