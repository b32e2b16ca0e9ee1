"""The digest that binds a grant to the exact parameters of its request."""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

Parameters = Mapping[str, bool | int | str]

# RFC 8785 has no form for integers that a double can't hold, and an agent may send any Avro long. The fold must
# not end over one, so these few are written as an object, which no parameter can be mistaken for.
_SAFE_INTEGER = 2**53 - 1


def parameters_digest(parameters: Parameters, crm_fields: Mapping[str, str], tool: str | None) -> str:
    """Hex SHA-256 of the canonical JSON (RFC 8785) of what an agent asked to do: 64 characters.

    The order of the maps' keys does not matter. An integer beyond ±(2**53 - 1) counts as {"integer": "<decimal>"}.
    Raises ValueError for text that is not Unicode (a lone surrogate), which no record holds.
    """
    asked: Any = {
        "parameters": {name: canonical(value) for name, value in parameters.items()},
        "crm_fields": dict(crm_fields),
        "tool": tool,
    }
    return hashlib.sha256(rfc8785.dumps(asked)).hexdigest()


def canonical(value: bool | int | str) -> Any:
    """A parameter as it stands in canonical JSON."""
    if isinstance(value, int) and abs(value) > _SAFE_INTEGER:
        return {"integer": str(value)}
    return value
