"""Keys: made once, private, and published under the thumbprint that others compute too."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy import keys
from deploy.settings import Settings, SettingsError, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings(data_dir=tmp_path)
    keys.ensure_keys(settings)
    return settings


def test_keys_are_readable_by_their_owner_alone(settings: Settings) -> None:
    for path in (settings.signing_key_path, settings.approver_key_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_keys_stay(settings: Settings) -> None:
    before = settings.signing_key_path.read_bytes()
    keys.ensure_keys(settings)
    assert settings.signing_key_path.read_bytes() == before
    assert [path.name for path in settings.signing_key_path.parent.iterdir() if path.name.startswith(".")] == []


def test_thumbprint_is_that_of_rfc_8037() -> None:
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    assert keys.public_jwk(key)["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_published_keys_verify_what_the_private_ones_sign(settings: Settings) -> None:
    signing = keys.load_private_key(settings.signing_key_path)
    token = jwt.encode({"sub": "x"}, signing, algorithm="EdDSA", headers={"kid": keys.key_id(signing)})
    published = jwt.PyJWKSet.from_dict(json.loads(keys.jwks_path(settings).read_text()))
    kid = jwt.get_unverified_header(token)["kid"]
    assert jwt.decode(token, published[kid], algorithms=["EdDSA"]) == {"sub": "x"}
    assert len(published.keys) == 1


@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_what_is_no_ed25519_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is None:
        content = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"key\.pem"):
        keys.load_private_key(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.pem"):
        keys.load_private_key(tmp_path / "absent.pem")


def test_the_approver_key_is_not_among_those_that_verify_grants(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    keys.ensure_keys(settings)
    signing = json.loads(keys.jwks_path(settings).read_text())["keys"]
    approving = json.loads(keys.approvers_path(settings).read_text())["keys"]
    assert [key["kid"] for key in signing] == [keys.key_id(keys.load_private_key(settings.signing_key_path))]
    assert [key["kid"] for key in approving] == [keys.key_id(keys.load_private_key(settings.approver_key_path))]
    assert signing != approving
