"""Who asks is shown by a signature that the fold checks: once a request, by the policy of the time, told as it was."""

import json
from hashlib import sha256

import msgspec
import pytest

from processors import identity
from processors.bounds import fault_in
from processors.explain.refold import Refold, compare
from processors.law import compile_law
from processors.policy import Bundle, PolicyError
from processors.policy.acting import RegisteredAgent
from processors.scenarios import people
from schemas.codec import decode, encode
from schemas.jsonio import from_json, to_json
from schemas.records import (
    AgentId,
    AgentRequest,
    AgentSignature,
    Channel,
    Decision,
    JournalEntry,
    LeadId,
    PolicySignature,
    ReasonCode,
    RequestId,
    Verdict,
)
from schemas.signing import Signable, signed_text
from tests.core.story import COURT, SECOND, Story, activation, codes, default_bundle

ADA = AgentId("ada")


def registered(*kids: str) -> Bundle:
    """The bundle that ships, which registers an agent that closes."""
    keys = {kid: people.public_key(f"{ADA}/{kid}") for kid in kids}
    return default_bundle().model_copy(update={"agents": {ADA: RegisteredAgent(roles=("closing",), public_keys=keys)}})


def begun() -> Story:
    story = Story(policy=False)
    story.tell(activation(registered("k1")))
    story.answered_call()
    return story


def ask(story: Story, request_id: str, *, action: str = "discuss_price", signed: bool = True) -> Decision:
    request = AgentRequest(
        request_id=RequestId(request_id), lead_id=LeadId(story.lead), conversation_id="c1", agent_id=ADA,
        role="closing", action=action, channel=Channel.VOICE, requested_at=story.now + SECOND,
    )  # fmt: skip
    body = people.signed_by_agent(request, f"{ADA}/k1") if signed else request
    return next(value for value in story.tell(body) if isinstance(value, Decision))


# --- cost
def test_a_signature_is_verified_once_however_often_its_request_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []

    def counted(record: Signable) -> bytes:
        verified.append(getattr(record, "request_id", ""))
        return signed_text(record)

    monkeypatch.setattr(identity, "signed_text", counted)
    story = begun()
    assert ask(story, "r1").verdict is Verdict.DEFER
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
    assert [d.verdict for d in story.decisions("r1")] == [Verdict.DEFER, Verdict.PERMIT]
    assert verified == ["r1"]


def test_a_waiting_request_is_verified_again_under_another_policy_and_once_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = begun()
    assert ask(story, "r1").verdict is Verdict.DEFER
    assert story.state().deferrals[0].proven_under == 1
    story.tell(activation(registered("k1", "k2"), revision=2))
    verified: list[bytes] = []
    monkeypatch.setattr(identity, "signed_text", lambda record: verified.append(b"") or signed_text(record))
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
    assert [d.verdict for d in story.decisions("r1")] == [Verdict.DEFER, Verdict.PERMIT]
    assert len(verified) == 1


# --- what is left of a request in another's name
def test_a_request_that_is_not_proven_leaves_the_leads_row_as_it_was() -> None:
    story = begun()
    before = story.state()
    refused = ask(story, "r1", signed=False)
    assert codes(refused) == {ReasonCode.IDENTITY_UNPROVEN}
    assert refused.grant is None
    assert story.state() == before


def test_each_of_two_requests_under_one_id_is_explained_by_itself() -> None:
    """Somebody asks for another action under the agent's name, and the agent then under the same id."""
    story = begun()
    forged, waiting = ask(story, "r1", action="capture_commitment", signed=False), ask(story, "r1")
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
    permit = story.decisions("r1")[-1]
    assert [d.verdict for d in (forged, waiting, permit)] == [Verdict.BLOCK, Verdict.DEFER, Verdict.PERMIT]
    for decision, action in ((forged, "capture_commitment"), (waiting, "discuss_price"), (permit, "discuss_price")):
        refold = Refold(LeadId(story.lead), decision.position, COURT)
        for offset, entry in enumerate(story.journal):
            refold.take(entry, offset)
        request = refold.request_of(decision)
        assert request is not None
        assert request.action == action
        assert compare(decision, encode(decision), refold.again(decision), COURT.signer.kid).identical


# --- bundles and bounds
def test_a_bundle_from_before_agents_were_registered_keeps_the_digest_that_was_approved() -> None:
    shipped = json.loads(default_bundle().canonical_json())
    del shipped["agents"], shipped["identity"]
    text = json.dumps(shipped, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    digest = sha256(text.encode()).hexdigest()
    law = compile_law(text, digest)
    assert (law.digest, law.bundle.agents, law.bundle.identity.required) == (digest, {}, False)
    with pytest.raises(PolicyError, match="digest"):
        compile_law(text.replace("default-2026", "other-2026"), digest)
    signer = COURT.signer
    old = msgspec.structs.replace(
        activation(), digest=digest, bundle=text,
        signatures=(PolicySignature(key_id=signer.kid, signature=signer.approve(digest, 1)),),
    )  # fmt: skip
    story = Story(policy=False)
    story.tell(old)
    assert story.ask("booking", "initiate_contact", conversation=None).policy_digest == digest


def test_a_signature_that_is_too_long_to_be_one_is_a_dead_letter_with_the_field() -> None:
    request = AgentRequest(
        request_id=RequestId("r1"), lead_id=LeadId("lead-1"), agent_id=ADA, role="closing", action="discuss_price",
        channel=Channel.VOICE, requested_at=SECOND, signature=AgentSignature(kid="k1", signature=bytes(64)),
    )  # fmt: skip
    assert fault_in(request) is None
    for signature, fault in (
        (AgentSignature(kid="k1", signature=bytes(65)), "AgentSignature.signature: 65 bytes"),
        (AgentSignature(kid="k" * 201, signature=bytes(64)), "AgentSignature.kid: 201 characters"),
    ):
        assert (fault_in(msgspec.structs.replace(request, signature=signature)) or "").startswith(fault)


def test_a_signature_holds_through_bytes_and_through_text_for_people() -> None:
    story = begun()
    ask(story, "r1")
    entry = story.journal[-1]
    bundle = registered("k1")
    law = compile_law(bundle.canonical_json(), bundle.digest())
    for again in (decode(JournalEntry, encode(entry)), from_json(JournalEntry, json.loads(json.dumps(to_json(entry))))):
        assert again == entry
        assert isinstance(again.body, AgentRequest)
        assert identity.unproven(again.body, law) is None
