"""The key of an agent: read from PEM or JWK, never shown; what it signs is heard, and nothing that differs."""

import base64
import json
import pickle
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from agents import AgentConfig, AgentKey, MandateClient
from processors.authority import public_jwk
from processors.identity import unproven
from processors.law import Law
from schemas.records import AgentOutcome, AgentRequest, AgentSignature, Channel, GrantId, OutcomeResult, RequestId
from schemas.signing import signed_text
from tests.agents.grants import JWKS
from tests.agents.records import NOW, request
from tests.core.story import default_bundle

RAW = b"an agent's private key: 32 bytes"
PRIVATE = Ed25519PrivateKey.from_private_bytes(RAW)
SECRET = base64.urlsafe_b64encode(RAW).rstrip(b"=").decode()
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
JWK = {"kty": "OKP", "crv": "Ed25519", "d": SECRET, "x": public_jwk(PRIVATE.public_key())["x"]}
KEY = AgentKey(PRIVATE, "k1")


def law(*, agents: dict[str, Any] | None = None, required: bool = False) -> Law:
    known = {"closer-1": {"roles": ["closing"], "public_keys": {"k1": KEY.public_key}}} if agents is None else agents
    bundle = default_bundle()
    changed = {**bundle.model_dump(mode="json"), "agents": known, "identity": {"required": required}}
    return Law(type(bundle).model_validate_json(json.dumps(changed)), "digest", 1)


LAW = law()
REQUEST = request(
    "r1", conversation_id="call-1", parameters={"amount_minor": 100, "vip": True, "code": "1"},
    crm_fields={"scope": "x"}, tool="quote", deadline=NOW + 1, text="five per cent", prompt_scope="offer",
    max_tokens=50,
)  # fmt: skip
OUTCOME = AgentOutcome(
    outcome_id="o1", lead_id=REQUEST.lead_id, conversation_id=REQUEST.conversation_id, agent_id=REQUEST.agent_id,
    request_id=RequestId("r1"), grant_id=GrantId("g1"), result=OutcomeResult.DONE, fulfilled=("disclose_ai",),
    detail="done", occurred_at=NOW,
)  # fmt: skip


# --- the key
def test_a_key_comes_from_pem_and_from_a_jwk_and_goes_by_its_thumbprint_unless_it_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "agent.pem").write_text(PEM)
    thumbprint = public_jwk(PRIVATE.public_key())["kid"]
    named = json.dumps({**JWK, "kid": "2026-11"})
    found = [
        AgentKey.from_file(tmp_path / "agent.pem"),
        AgentKey.from_env("KEY", environ={"KEY": json.dumps(JWK)}),
        AgentKey.from_text(named),
        AgentKey.from_text(named, "another"),
        AgentKey.from_text(PEM, "k7"),
    ]
    assert [key.kid for key in found] == [thumbprint, thumbprint, "2026-11", "another", "k7"]
    assert {key.public_key for key in found} == {JWK["x"]}


ELLIPTIC = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
LOCKED = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()


@pytest.mark.parametrize(
    "text",
    ["", "no key", PEM[:-40], ELLIPTIC, LOCKED, SECRET, json.dumps({**JWK, "d": SECRET + "AAAA"}), json.dumps(JWK)[:-1],
     json.dumps({**JWK, "crv": "X25519"}), json.dumps({**JWK, "d": 7}), json.dumps({"x": JWK["x"]})],
)  # fmt: skip
def test_what_is_no_key_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^MY_KEY holds no Ed25519 private key") as refused:
        AgentKey.from_env("MY_KEY", environ={"MY_KEY": text})
    said = str(refused.value)
    assert SECRET[:12] not in said
    assert refused.value.__suppress_context__  # what the parser said may quote the key
    assert SECRET[:12] not in "".join(traceback.format_exception(refused.value, chain=True)).replace(repr(text), "")


def test_a_file_that_is_not_there_or_no_text_is_said_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"nowhere\.pem can't be read"):
        AgentKey.from_file(tmp_path / "nowhere.pem")
    with pytest.raises(ValueError, match="binary holds no Ed25519 private key"):
        AgentKey.from_file(tmp_path / "binary")


def test_a_key_shows_its_name_and_never_itself() -> None:
    config = AgentConfig(
        agent_id="closer-1", role="closing", kafka={"sasl.password": "x"}, registry={"url": "x"}, jwks=JWKS,
        signing_key=KEY,
    )  # fmt: skip
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr(config), repr(KEY.sign(REQUEST)), str(MandateClient(config))):
        assert SECRET[:12] not in shown
        assert RAW.decode() not in shown
    assert repr(KEY) == "AgentKey(kid='k1')"
    with pytest.raises(TypeError, match="does not leave its process"):
        pickle.dumps(KEY)


# --- what it signs
def test_what_a_registered_agent_signed_is_heard() -> None:
    assert unproven(KEY.sign(REQUEST), LAW) is None
    assert unproven(KEY.sign(OUTCOME), LAW) is None


def test_the_text_that_is_signed_can_be_made_by_anybody_from_the_record() -> None:
    """The contract with agents in other languages; a change of these bytes makes every signature void."""
    assert signed_text(REQUEST) == (
        b"mandate AgentRequest 1\n"
        b'{"action":"discuss_price","agent_id":"closer-1","channel":"VOICE","conversation_id":"call-1",'
        b'"crm_fields":{"scope":"x"},"deadline":"1700000000000001","lead_id":"lead-1","max_tokens":"50",'
        b'"parameters":{"amount_minor":100,"code":"1","vip":true},"prompt_scope":"offer","request_id":"r1",'
        b'"requested_at":"1700000000000000","role":"closing","text":"five per cent","tool":"quote"}'
    )
    assert signed_text(OUTCOME) == (
        b"mandate AgentOutcome 1\n"
        b'{"agent_id":"closer-1","conversation_id":"call-1","detail":"done","fulfilled":["disclose_ai"],'
        b'"grant_id":"g1","lead_id":"lead-1","occurred_at":"1700000000000000","outcome_id":"o1",'
        b'"request_id":"r1","result":"DONE"}'
    )


def test_a_field_at_its_default_is_left_out_so_that_a_new_field_changes_no_old_signature() -> None:
    assert signed_text(request("r1")) == (
        b"mandate AgentRequest 1\n"
        b'{"action":"discuss_price","agent_id":"closer-1","channel":"VOICE","lead_id":"lead-1","request_id":"r1",'
        b'"requested_at":"1700000000000000","role":"closing"}'
    )


OTHERS: dict[str, Any] = {
    "role": "booking", "channel": Channel.SMS, "parameters": {"amount_minor": 101, "vip": True, "code": "1"},
    "crm_fields": {}, "requested_at": NOW + 1, "deadline": None, "max_tokens": 51, "result": OutcomeResult.DECLINED,
    "fulfilled": (), "occurred_at": NOW + 1,
}  # fmt: skip


@pytest.mark.parametrize("record", [REQUEST, OUTCOME], ids=["request", "outcome"])
def test_no_field_can_be_changed_after_signing(record: AgentRequest | AgentOutcome) -> None:
    signed, mine = KEY.sign(record), {"roles": ["closing", "booking"], "public_keys": {"k1": KEY.public_key}}
    known = law(agents={"closer-1": mine, "x": mine})
    fields = [field for field in record.__struct_fields__ if field != "signature"]
    assert len(fields) == (15 if isinstance(record, AgentRequest) else 10)
    heard = []
    for field in fields:
        tampered = msgspec.structs.replace(signed, **{field: OTHERS.get(field, "x")})
        assert tampered != signed
        heard += [field] if unproven(tampered, known) is None else []
    assert heard == []


@pytest.mark.parametrize(
    "other",
    [{"amount_minor": "100"}, {"amount_minor": True}, {"amount_minor": 100, "x": ""}, {"amount_minorx": 100}, {}],
)
def test_a_parameter_is_no_other_of_another_type_or_name(other: dict[str, Any]) -> None:
    signed = KEY.sign(request("r1", parameters={"amount_minor": 100}))
    assert unproven(signed, LAW) is None
    assert unproven(msgspec.structs.replace(signed, parameters=other), LAW) is not None


def test_integers_of_64_bits_are_signed_too() -> None:
    edges = request("r1", parameters={"low": -(2**63), "high": 2**63 - 1}, max_tokens=2**63 - 1, deadline=2**63 - 1)
    assert unproven(KEY.sign(edges), LAW) is None
    lower = msgspec.structs.replace(KEY.sign(edges), parameters={"low": -(2**63), "high": 2**63 - 2})
    assert unproven(lower, LAW) is not None


@pytest.mark.parametrize("length", [0, 1, 63, 65, 200])
def test_a_signature_of_another_length_is_refused_and_never_raises(length: int) -> None:
    bad = msgspec.structs.replace(REQUEST, signature=AgentSignature(kid="k1", signature=b"s" * length))
    assert "is not by the key 'k1'" in (unproven(bad, LAW) or "")


def test_a_signature_of_a_report_is_none_of_a_request() -> None:
    borrowed = msgspec.structs.replace(REQUEST, signature=KEY.sign(OUTCOME).signature)
    assert unproven(borrowed, LAW) is not None


_P = 2**255 - 19


@pytest.mark.parametrize("y", [0, 1, _P - 1, _P, _P + 1, 1 + 2**255, _P - 1 + 2**255])
def test_a_public_key_under_which_anybody_can_sign_is_no_key_of_a_policy(y: int) -> None:
    """Forty-three times A, a placeholder that comes to mind, is one of them."""
    weak = base64.urlsafe_b64encode(y.to_bytes(32, "little")).rstrip(b"=").decode()
    with pytest.raises(ValueError, match="under this key anybody can sign"):
        law(agents={"closer-1": {"roles": ["closing"], "public_keys": {"k1": weak}}})
