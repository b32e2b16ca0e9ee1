"""Ed25519 keys: one signs grants, one approves policy bundles. The public halves are published as a JWKS."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TypedDict

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deploy.settings import Settings, SettingsError


class Jwk(TypedDict):
    """A public Ed25519 key (RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    use: str


class Jwks(TypedDict):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[Jwk]


def ensure_keys(settings: Settings) -> None:
    """Create the signing and the approver key where missing (mode 0600), and write data_dir/keys/jwks.json."""
    for path in (settings.signing_key_path, settings.approver_key_path):
        if not path.exists():
            create_private_key(path)
    for published, keys in ((jwks_path(settings), jwks(settings)), (approvers_path(settings), approvers(settings))):
        published.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(keys, indent=2, sort_keys=True) + "\n"
        if not published.exists() or published.read_text() != content:
            _write(published, content.encode(), mode=0o644)


def jwks_path(settings: Settings) -> Path:
    """Where the public key that grants are verified with is published on this machine."""
    return settings.data_dir / "keys" / "jwks.json"


def approvers_path(settings: Settings) -> Path:
    """Where the public keys that approve policies are published on this machine."""
    return settings.data_dir / "keys" / "approvers.json"


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key of a PKCS8 PEM file. Raises SettingsError when it is missing or something else."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"The key {path} can't be read: {error.strerror}.") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{path} is not a private key in unencrypted PKCS8 PEM.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path} is not an Ed25519 key.")
    return key


def jwks(settings: Settings) -> Jwks:
    """The public half of the key that signs grants, and of no other: who approves policies can't sign a grant."""
    return {"keys": [public_jwk(load_private_key(settings.signing_key_path).public_key())]}


def approvers(settings: Settings) -> Jwks:
    """The public half of the key that approves policies."""
    return {"keys": [public_jwk(load_private_key(settings.approver_key_path).public_key())]}


def public_jwk(key: Ed25519PublicKey) -> Jwk:
    """A public key as JWK; `kid` is its RFC 7638 thumbprint."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = _b64url(raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": _thumbprint(x), "alg": "EdDSA", "use": "sig"}


def key_id(key: Ed25519PrivateKey) -> str:
    """The `kid` that grants signed with this key carry."""
    return public_jwk(key.public_key())["kid"]


def _thumbprint(x: str) -> str:
    required = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"), sort_keys=True)
    return _b64url(hashlib.sha256(required.encode()).digest())


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def create_private_key(path: Path) -> None:
    """A new Ed25519 key in a file of mode 0600; a file that is there already is kept."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem, mode=0o600, replace=False)


def _write(path: Path, content: bytes, mode: int, replace: bool = True) -> None:
    """Whole or not at all; with `replace` off, whoever comes first wins."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(draft, path)
        else:
            try:
                os.link(draft, path)
            except FileExistsError:
                return
    finally:
        draft.unlink(missing_ok=True)
