"""What a compiled CEL expression looks like inside: a small tree, read from the compiler's own output.

The compiler serialises what it checked as `cel.expr.CheckedExpr`, a published protobuf message. Only the few fields
that are needed are read, so that no protobuf library is.
"""

from collections.abc import Iterator
from struct import unpack
from typing import Literal, NamedTuple

Kind = Literal["string", "number", "constant", "name", "select", "call", "list", "struct", "comprehension"]


class Node(NamedTuple):
    """One node. text: of a name, a field, a function, a string. number: of a number.

    at: where it stands, counted in characters from 0.
    """

    kind: Kind
    text: str
    children: tuple["Node", ...]
    at: int
    number: int | float = 0

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


Message = dict[int, list[int | bytes]]


def tree_of(serialized: bytes) -> Node:
    """The tree of a serialised expression."""
    checked = _message(_bytes(_message(serialized), 2))  # field 2 of Any, whose field 1 is the type
    positions: dict[int, int] = {}
    for entry in _message(_bytes(checked, 5)).get(4, ()):
        pair = _message(entry)
        positions[_int(pair, 1)] = _int(pair, 2)
    return _node(_message(_bytes(checked, 4)), positions)


def _node(expression: Message, positions: dict[int, int]) -> Node:
    at = positions.get(_int(expression, 2), 0)

    def made(kind: Kind, text: str, *parts: int | bytes) -> Node:
        children = tuple(_node(_message(part), positions) for part in parts if part != b"")
        return Node(kind, text, children, at)

    if 4 in expression:
        return made("name", _text(_part(expression, 4), 1))
    if 5 in expression:
        select = _part(expression, 5)
        return made("select", _text(select, 2), *select.get(1, ()))
    if 6 in expression:
        call = _part(expression, 6)
        return made("call", _text(call, 2), *call.get(1, ()), *call.get(3, ()))
    if 7 in expression:
        return made("list", "", *_part(expression, 7).get(1, ()))
    if 8 in expression:
        entries = [_message(entry) for entry in _part(expression, 8).get(2, ())]
        return made("struct", "", *(part for entry in entries for key in (3, 4) for part in entry.get(key, ())))
    if 9 in expression:
        comprehension = _part(expression, 9)
        return made("comprehension", "", *(p for field in (2, 4, 5, 6, 7) for p in comprehension.get(field, ())))
    return _constant(_part(expression, 3), at)


def _constant(value: Message, at: int) -> Node:
    if 6 in value:
        return Node("string", _text(value, 6), (), at)
    if 3 in value:
        return Node("number", "", (), at, _signed(_int(value, 3)))
    if 5 in value:
        return Node("number", "", (), at, unpack("<d", _bytes(value, 5))[0])
    return Node("constant", "", (), at)


def _message(data: int | bytes) -> Message:
    """Fields of a protobuf message, by number."""
    assert isinstance(data, bytes)
    fields: Message = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            value = data[at : at + size]
            at += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _int(message: Message, field: int) -> int:
    value = message.get(field, [0])[-1]
    assert isinstance(value, int)
    return value


def _bytes(message: Message, field: int) -> bytes:
    value = message.get(field, [b""])[-1]
    assert isinstance(value, bytes)
    return value


def _part(message: Message, field: int) -> Message:
    return _message(_bytes(message, field))


def _text(message: Message, field: int) -> str:
    return _bytes(message, field).decode("utf-8")
