"""Ed25519 keys: one signs grants, one approves policy bundles. The public halves are published as a JWKS each.

`deploy/rotation.py` changes them while grants are about.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Literal, NamedTuple, NotRequired, TypedDict

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import SecretStr

from deploy.settings import PREFIX, Settings, SettingsError

Part = Literal["control", "approver"]


class Jwk(TypedDict):
    """A public Ed25519 key (RFC 8037). exp: seconds since 1970 from which on nothing signed with it is about."""

    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    use: str
    exp: NotRequired[int]


class Jwks(TypedDict):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[Jwk]


class Ring(NamedTuple):
    """Where the keys of one part are.

    given: the private key's PEM itself, from the variable `variable`; it wins over the file `private`.
    published: the JWKS file of the public halves, the one that signs first.
    """

    part: Part
    private: Path
    given: SecretStr | None
    variable: str
    published: Path

    @property
    def is_there(self) -> bool:
        """Whether this machine has the private key."""
        return self.given is not None or self.private.exists()


def signing(settings: Settings) -> Ring:
    """The keys that sign grants: control's."""
    variable = f"{PREFIX}SIGNING_KEY"
    return Ring("control", settings.signing_key_path, settings.signing_key, variable, settings.jwks_path)


def approving(settings: Settings) -> Ring:
    """The keys that approve policies. Who runs Mandate needs their public halves only."""
    variable = f"{PREFIX}APPROVER_KEY"
    return Ring("approver", settings.approver_key_path, settings.approver_key, variable, settings.approvers_path)


def ensure_keys(settings: Settings) -> None:
    """Create the signing and the approver key where missing (mode 0600), and publish both public halves."""
    ensure(signing(settings))
    ensure(approving(settings))


def ensure(ring: Ring) -> None:
    """Create the private key where it is missing, and publish its public half; what is published already stays."""
    if not ring.is_there:
        create_private_key(ring.private)
    publish(ring, merged(ring))


def merged(ring: Ring) -> list[Jwk]:
    """What is to be published: the key that signs, then what was published before."""
    current = public_jwk(private_key(ring).public_key())
    return [current, *(key for key in published(ring) if key["kid"] != current["kid"])]


def published(ring: Ring) -> list[Jwk]:
    """The public keys in the ring's JWKS file; none when there is no file. Raises SettingsError when it is no JWKS."""
    try:
        found: list[Jwk] = json.loads(ring.published.read_text())["keys"]
        for key in found:
            _public(key)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(f"The keys {ring.published} can't be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{ring.published} is not a JWKS of Ed25519 keys.") from None
    return found


def publish(ring: Ring, keys: list[Jwk]) -> None:
    """Write the JWKS file, whole or not at all; an equal one is left alone."""
    content = json.dumps({"keys": keys}, indent=2, sort_keys=True) + "\n"
    if not ring.published.exists() or ring.published.read_text() != content:
        _write(ring.published, content.encode(), mode=0o644)


def jwks_path(settings: Settings) -> Path:
    """Where the public keys that grants are verified with are published on this machine."""
    return settings.jwks_path


def approvers_path(settings: Settings) -> Path:
    """Where the public keys that approve policies are published on this machine."""
    return settings.approvers_path


def private_key(ring: Ring) -> Ed25519PrivateKey:
    """The key that signs, as it was given or from its file. Raises SettingsError, which never quotes it."""
    if ring.given is None:
        return load_private_key(ring.private)
    # A variable may hold the line breaks written out, as many tools for secrets do.
    pem = ring.given.get_secret_value().replace("\\n", "\n").strip() + "\n"
    return _parsed(pem.encode("utf-8", "surrogateescape"), ring.variable)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key of a PKCS8 PEM file. Raises SettingsError when it is missing or something else."""
    try:
        return _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(f"The key {path} can't be read: {error.strerror}.") from None


def _parsed(pem: bytes, where: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{where} is not a private key in unencrypted PKCS8 PEM.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{where} is not an Ed25519 key.")
    return key


def jwks(settings: Settings) -> Jwks:
    """The keys that verify grants: as published, else the public half of the one that signs.

    No other is among them: who approves policies can't sign a grant.
    """
    return _public_keys(signing(settings))


def signers(settings: Settings) -> Jwks | Path:
    """The same for a process that goes on: their file where there is one, to be read again when it changes."""
    return settings.jwks_path if published(signing(settings)) else jwks(settings)


def approvers(settings: Settings) -> Jwks:
    """The keys that approve policies: as published, else the public half of the private one."""
    return _public_keys(approving(settings))


def approver_keys(settings: Settings) -> list[Ed25519PublicKey]:
    """The approvers' public keys; the private one is not needed where its public half is published."""
    return [_public(key) for key in approvers(settings)["keys"]]


def _public_keys(ring: Ring) -> Jwks:
    found = published(ring)
    if found:
        return {"keys": found}
    if not ring.is_there:
        raise SettingsError(f"There are no public keys in {ring.published}: bring the file that `mandate keys` writes.")
    return {"keys": [public_jwk(private_key(ring).public_key())]}


def public_jwk(key: Ed25519PublicKey) -> Jwk:
    """A public key as JWK; `kid` is its RFC 7638 thumbprint."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = _b64url(raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": _thumbprint(x), "alg": "EdDSA", "use": "sig"}


def key_id(key: Ed25519PrivateKey) -> str:
    """The `kid` that grants signed with this key carry."""
    return public_jwk(key.public_key())["kid"]


def _public(key: Jwk) -> Ed25519PublicKey:
    found = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4)))
    if key["kid"] != _thumbprint(key["x"]):
        raise ValueError("the kid is another key's")
    return found


def _thumbprint(x: str) -> str:
    required = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"), sort_keys=True)
    return _b64url(hashlib.sha256(required.encode()).digest())


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def create_private_key(path: Path) -> None:
    """A new Ed25519 key in a file of mode 0600; a file that is there already is kept."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem, mode=0o600, replace=False)


def _write(path: Path, content: bytes, mode: int, replace: bool = True) -> None:
    """Whole or not at all; with `replace` off, whoever comes first wins."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _draft(path, content, mode, replace)
    except OSError as error:
        raise SettingsError(f"{path} can't be written: {error.strerror}.") from None


def _draft(path: Path, content: bytes, mode: int, replace: bool) -> None:
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
