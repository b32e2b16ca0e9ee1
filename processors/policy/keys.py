"""Public keys as a policy states them."""

from base64 import urlsafe_b64decode
from typing import Annotated

from pydantic import AfterValidator, Field

_P = 2**255 - 19
_EIGHT_TORSION_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK = frozenset({0, 1, _P - 1, _P, _P + 1, _EIGHT_TORSION_Y, _P - _EIGHT_TORSION_Y})
"""y of the points of small order, as bytes may give them: under such a key signatures hold that nobody made."""


def _strong(text: str) -> str:
    y = int.from_bytes(urlsafe_b64decode(text + "="), "little") % 2**255
    if y in _WEAK:
        raise ValueError("under this key anybody can sign (a point of small order): state the real key")
    return text


PublicKey = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]{43}$", description="raw Ed25519 public key, base64url"),
    AfterValidator(_strong),
]
