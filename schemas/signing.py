"""What an agent signs: every field of its request or report, as one text that means nothing else.

The text is a line that names the record, then canonical JSON (RFC 8785) of its fields. A field that has its schema's
default is left out, so that a schema with a field more gives old records the same text. Integers of the record itself
stand as decimal text, for JSON has none of 64 bits.
"""

from functools import cache
from typing import Any

import msgspec
import rfc8785

from schemas.digest import canonical
from schemas.records import AgentOutcome, AgentRequest

Signable = AgentRequest | AgentOutcome
_UNSIGNED = "signature"


def signed_text(record: Signable) -> bytes:
    """The bytes that the signature of a request or report is over.

    Raises ValueError for text that is not Unicode (a lone surrogate), which no record holds.
    """
    asked: dict[str, Any] = {}
    for name, default in _fields(type(record)):
        value = getattr(record, name)
        if value != default:
            asked[name] = _plain(value)
    return f"mandate {type(record).__name__} 1\n".encode() + rfc8785.dumps(asked)


@cache
def _fields(kind: type[Signable]) -> tuple[tuple[str, Any], ...]:
    """Names and defaults; NODEFAULT equals nothing."""
    return tuple(
        (field.name, field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default)
        for field in msgspec.structs.fields(kind)
        if field.name != _UNSIGNED
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return str(value)
