"""The public keys that grants are verified with: given once, or a file that is read again whenever it changed.

So a key that is published, and one that is retired, counts without a restart. Who may write the file decides whose
grants are taken: it belongs to whoever runs the process, and to nobody else.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

log = logging.getLogger("mandate.agents")

Jwks = Mapping[str, Any]
"""{"keys": [...]}, as Mandate publishes it; Ed25519 keys with a `kid`."""
_Stamp = tuple[int, int, int]


class Keyring:
    """Keys by `kid`. Raises ValueError when there is none at the start; later a file that is none changes nothing.

    A file is looked at with each grant, which costs microseconds, and read only when it is another than before:
    grants that name keys at random make nobody read it. Safe to share between threads.
    """

    def __init__(self, source: Jwks | Path) -> None:
        self._path = source if isinstance(source, Path) else None
        self._stamp = _stamp(self._path) if self._path else None
        self._keys = _usable(read_jwks(source) if isinstance(source, Path) else source)

    def get(self, kid: object) -> jwt.PyJWK | None:
        """The key of this id, as it is published now; None when there is none."""
        if self._path is not None:
            self._follow(self._path)
        return self._keys.get(kid) if isinstance(kid, str) else None

    def _follow(self, path: Path) -> None:
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        # Before it is read: what is written meanwhile is read the next time.
        self._stamp = stamp
        try:
            self._keys = _usable(read_jwks(path))
        except ValueError as error:
            log.warning("%s The keys known so far stay.", error)


def read_jwks(path: Path) -> Jwks:
    """The JWKS in a file; ValueError when the file is not one."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no JWKS ({error}): name the file that Mandate publishes.") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} holds no JWKS: it must be an object with a list `keys`.")
    return loaded


def _usable(jwks: Jwks) -> dict[str, jwt.PyJWK]:
    """Keys by id; ValueError when there is none that can sign a grant."""
    try:
        usable = [key for key in jwks.get("keys", ()) if key.get("crv") == "Ed25519" and key.get("kid")]
        found = {key["kid"]: jwt.PyJWK(key, algorithm="EdDSA") for key in usable}
    except (jwt.PyJWTError, AttributeError, TypeError) as error:
        raise ValueError(f"the JWKS holds something that is no key ({type(error).__name__}).") from error
    if not found:
        raise ValueError("the JWKS holds no Ed25519 key with a kid: give the keys that Mandate publishes.")
    return found


def _stamp(path: Path) -> _Stamp | None:
    """What changes when a file is replaced or written to; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
