"""Rows of control's own table: MessagePack of the same typed records, not Avro.

Only control reads them. An Avro row of a busy lead costs about twenty times as much to write and to read as this
(docs/decisions/row-format.md). The first byte is the format; a row of another format is refused, never guessed at.
"""

from functools import cache
from typing import TypeVar

import msgspec

from schemas.records import Record

R = TypeVar("R", bound=Record)

FORMAT = b"\x01"
_encoder = msgspec.msgpack.Encoder()


class RowError(ValueError):
    """A row that can't be read: set the state directory aside, and it is rebuilt from the changelog."""


@cache
def _decoder(record: type[R]) -> msgspec.msgpack.Decoder[R]:
    return msgspec.msgpack.Decoder(record)


def encode_row(value: Record) -> bytes:
    """A record as a row."""
    return FORMAT + _encoder.encode(value)


def decode_row(record: type[R], data: bytes) -> R:
    """A record from its row; raises RowError."""
    if data[:1] != FORMAT:
        raise RowError(
            f"a {record.__name__} row in format {data[:1].hex() or 'none'}, this release reads {FORMAT.hex()}"
        )
    try:
        found: R = _decoder(record).decode(memoryview(data)[1:])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RowError(f"a {record.__name__} row can't be read: {error}") from error
    return found
