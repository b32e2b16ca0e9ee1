"""Identifiers are derived from what they name, never drawn: the same input gives the same id anywhere."""

from hashlib import blake2b

_SEPARATOR = b"\x1f"


def derive(*parts: str | int) -> str:
    """32 hex digits over the parts, in order (BLAKE2b, 128 bit)."""
    return blake2b(_SEPARATOR.join(str(part).encode() for part in parts), digest_size=16).hexdigest()


def short_digest(*parts: str | int) -> int:
    """63-bit digest, for rings of recent ids in a lead's row."""
    digest = blake2b(_SEPARATOR.join(str(part).encode() for part in parts), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
