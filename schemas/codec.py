"""Avro bytes to typed records and back; JSON for people on the side.

The wire format is Confluent's: a zero byte, the schema id in four bytes, then the Avro body. This module knows
no registry: a `Codec` is given the ids. Records are read with the schema they were written with and resolved to
today's, so old and new producers can be mixed.
"""

import io
import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import fastavro
import msgspec

from schemas import records
from schemas.avro_files import self_contained
from schemas.catalogue import TOPICS
from schemas.foreign import ForeignSchemaError, writer_of
from schemas.records import EntryKind, Record

R = TypeVar("R", bound=Record)

MAGIC = b"\x00"
_PREFIX = struct.Struct(">bI")
# Deeper or longer input than any record of the contract is refused before it costs anything.
MAX_BYTES = 1_000_000
# A dead letter holds a record that was too large for its topic.
_LIMITS: dict[type[Record], int] = {
    topic.value: topic.max_bytes for topic in TOPICS.values() if topic.value and topic.max_bytes
}

BODY_TYPES: dict[EntryKind, type[Record]] = {
    EntryKind.CALL: records.CallEvent,
    EntryKind.TRANSCRIPT: records.TranscriptSegment,
    EntryKind.MESSAGE: records.MessageEvent,
    EntryKind.SIGNAL: records.Signal,
    EntryKind.CRM: records.CrmEvent,
    EntryKind.REQUEST: records.AgentRequest,
    EntryKind.OUTCOME: records.AgentOutcome,
    EntryKind.INTERVENTION: records.HumanIntervention,
    EntryKind.POLICY: records.PolicyActivation,
    EntryKind.TICK: records.Tick,
}
"""Which record a journal entry of each kind carries."""
KIND_OF = {record: kind for kind, record in BODY_TYPES.items()}


class CodecError(ValueError):
    """Bytes that are not what they should be. The producer mends its serializer; the record is a dead letter."""

    def __init__(self, code: records.DeadLetterCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@cache
def schema_json(name: str) -> str:
    """Schema of a record as the registry stores it: self-contained JSON text."""
    return json.dumps(self_contained(name), separators=(",", ":"))


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(self_contained(name, logical_types=False))


def _plain(value: Record) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(bytes,))
    if type(value) is records.JournalEntry:
        # fastavro finds the branch of a union of records by trying them all unless it is named.
        plain["body"] = (f"mandate.{type(value.body).__name__}", plain["body"])
    return plain


def _typed(record: type[R], plain: dict[str, Any]) -> R:
    if record is records.JournalEntry:
        kind = EntryKind(plain["kind"])
        plain["kind"] = kind
        plain["body"] = _convert(BODY_TYPES[kind], plain["body"])
        return record(**plain)
    return _convert(record, plain)


def _convert(record: type[R], plain: Any) -> R:
    try:
        return msgspec.convert(plain, record, strict=True)
    except msgspec.ValidationError as error:
        raise CodecError(records.DeadLetterCode.BAD_VALUE, f"{record.__name__}: {error}") from error


def encode(value: Record) -> bytes:
    """Avro body of a record, without the wire prefix."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(type(value).__name__), _plain(value))
    return out.getvalue()


def decode(record: type[R], data: bytes, writer: Any = None) -> R:
    """A record from its Avro body. `writer` is the parsed schema it was written with; None = today's.

    Raises CodecError when the bytes are not such a record, or when bytes are left over.
    """
    stream = io.BytesIO(data)
    reader = _parsed(record.__name__)
    try:
        plain: Any = fastavro.schemaless_reader(stream, writer or reader, reader if writer else None)
    except Exception as error:  # fastavro raises a dozen types on hostile bytes; all mean the same here
        raise CodecError(
            records.DeadLetterCode.NOT_AVRO, f"not a {record.__name__} in Avro ({type(error).__name__}: {error})"
        ) from error
    if stream.tell() != len(data):
        raise CodecError(
            records.DeadLetterCode.NOT_AVRO, f"{len(data) - stream.tell()} bytes left over after a {record.__name__}"
        )
    try:
        return _typed(record, plain)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(records.DeadLetterCode.BAD_VALUE, f"{record.__name__}: {error}") from error


class Codec:
    """Confluent wire format for a set of records.

    ids: record name -> id under which its schema is registered.
    fetch: schema id -> schema JSON, asked once for each id that is not among `ids`; raises KeyError when there is
    none.
    """

    def __init__(self, ids: Mapping[str, int], fetch: Callable[[int], str]) -> None:
        self._prefix = {name: _PREFIX.pack(0, number) for name, number in ids.items()}
        self._writers: dict[tuple[int, str], Any] = {(number, name): None for name, number in ids.items()}
        self._fetch = fetch

    def encode(self, value: Record) -> bytes:
        """Record to wire bytes; KeyError when its schema was not registered."""
        return self._prefix[type(value).__name__] + encode(value)

    def decode(self, record: type[R], data: bytes | None) -> R:
        """Wire bytes to record; CodecError says what is wrong."""
        if data is None or len(data) < _PREFIX.size or data[:1] != MAGIC:
            raise CodecError(
                records.DeadLetterCode.NOT_AVRO,
                "no Confluent wire prefix (a zero byte, a 4-byte schema id): use a registry-aware serializer",
            )
        limit = _LIMITS.get(record, MAX_BYTES)
        if len(data) > limit:
            raise CodecError(records.DeadLetterCode.TOO_LARGE, f"{len(data)} bytes; at most {limit} are taken")
        number = _PREFIX.unpack_from(data)[1]
        key = (number, record.__name__)
        if key not in self._writers:
            self._writers[key] = self._writer(number, record)
        writer = self._writers[key]
        if isinstance(writer, str):
            raise CodecError(records.DeadLetterCode.WRONG_SCHEMA, f"schema id {number} {writer}")
        return decode(record, data[_PREFIX.size :], writer)

    def _writer(self, number: int, record: type[Record]) -> Any:
        """The schema to read with; text says why it can't be used: an id's schema never changes, so that is kept."""
        try:
            text = self._fetch(number)
        except KeyError as error:
            raise CodecError(
                records.DeadLetterCode.UNKNOWN_SCHEMA, f"schema id {number} is not in the registry"
            ) from error
        try:
            return writer_of(text, record.__name__)
        except ForeignSchemaError as error:
            return str(error)
