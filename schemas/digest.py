"""The digest that binds a grant to the exact parameters of its request."""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

Parameters = Mapping[str, bool | int | str]


def parameters_digest(parameters: Parameters, crm_fields: Mapping[str, str], tool: str | None) -> str:
    """Hex SHA-256 of the canonical JSON (RFC 8785) of what an agent asked to do: 64 characters.

    The order of the maps' keys does not matter. Raises ValueError for what RFC 8785 has no form for: integers
    beyond ±(2**53 - 1), text that is not Unicode (a lone surrogate).
    """
    asked: Any = {"parameters": dict(parameters), "crm_fields": dict(crm_fields), "tool": tool}
    return hashlib.sha256(rfc8785.dumps(asked)).hexdigest()
