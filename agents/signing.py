"""An agent's own key: it signs what the agent asks and reports, so that nobody else can do so in its name."""

import base64
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schemas.records import AgentOutcome, AgentRequest, AgentSignature
from schemas.signing import signed_text

Signed = TypeVar("Signed", AgentRequest, AgentOutcome)


class AgentKey:
    """A private Ed25519 key, under the kid by which the policy's `agents:` lists its public half.

    It shows its kid and its public half only, and can't be pickled.
    """

    __slots__ = ("_key", "kid", "public_key")

    def __init__(self, key: Ed25519PrivateKey, kid: str | None = None) -> None:
        self._key = key
        self.public_key = _base64url(key.public_key().public_bytes_raw())
        """Raw public key in base64url, as the policy takes it."""
        self.kid = _thumbprint(self.public_key) if kid is None else kid
        """Name of the key; unless given its RFC 7638 thumbprint."""

    @classmethod
    def from_text(cls, text: str, kid: str | None = None, *, where: str = "the text") -> "AgentKey":
        """A key from PEM (PKCS 8, not encrypted) or from a JWK, whose own kid counts unless one is given.

        where: what an error calls the text, which it never shows. ValueError when it is no such key.
        """
        try:
            if text.lstrip().startswith("{"):
                jwk = json.loads(text)
                own = jwk.get("kid")
                return cls(_from_jwk(jwk), own if kid is None and isinstance(own, str) else kid)
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, KeyError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            # Without its cause: what parsers say may quote the key.
            raise ValueError(f"{where} holds no Ed25519 private key: PEM (PKCS 8, not encrypted) or a JWK") from None
        return cls(key, kid)

    @classmethod
    def from_file(cls, path: Path, kid: str | None = None) -> "AgentKey":
        """A key from a file; ValueError when there is none in it."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{path} can't be read ({error.strerror}): name the file of the agent's key") from error
        except UnicodeDecodeError:
            text = ""
        return cls.from_text(text, kid, where=str(path))

    @classmethod
    def from_env(cls, variable: str, kid: str | None = None, environ: Mapping[str, str] = os.environ) -> "AgentKey":
        """A key from an environment variable that holds it whole; ValueError when there is none in it."""
        return cls.from_text(environ.get(variable, ""), kid, where=variable)

    def sign(self, record: Signed) -> Signed:
        """The record with this key's signature."""
        signature = AgentSignature(kid=self.kid, signature=self._key.sign(signed_text(record)))
        return msgspec.structs.replace(record, signature=signature)

    def __repr__(self) -> str:
        return f"AgentKey(kid={self.kid!r})"

    def __reduce__(self) -> str:
        raise TypeError("a private key does not leave its process")


def _from_jwk(jwk: Mapping[str, Any]) -> Ed25519PrivateKey:
    """The key of a JWK (RFC 8037); ValueError, TypeError or KeyError when it is none."""
    if (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
        raise ValueError("another kind of key")
    private: str = jwk["d"]
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(private + "=" * (-len(private) % 4)))


def _thumbprint(public_key: str) -> str:
    members = {"crv": "Ed25519", "kty": "OKP", "x": public_key}
    return _base64url(sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
