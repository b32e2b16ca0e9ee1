"""The invariants of docs/design.md, one by one: each test fails when its invariant is broken."""

import json

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors import checks
from processors.authority import AUDIENCE, Court
from processors.law import compile_law
from processors.policy import Bundle
from schemas.records import (
    AgentRequest,
    AnsweredBy,
    Channel,
    ConfidenceKind,
    CriterionName,
    CrmEventType,
    CrmUpdate,
    Decision,
    Directive,
    DirectiveType,
    EscalationCase,
    HumanIntervention,
    InterventionType,
    Revocation,
    RevocationScope,
    SegmentStatus,
    Speaker,
    SpeechMode,
    TranscriptSegment,
    Verdict,
)
from tests.core.story import KEY, SECOND, Story, activation, codes, default_bundle


def revoked(story: Story) -> list[str]:
    return [r.subject for r in story.of(Revocation) if r.scope is RevocationScope.GRANT]


# --- 1. three criteria at once
def test_all_three_criteria_are_reported_even_when_the_first_fails() -> None:
    story = Story(at="2026-11-18T06:00:00Z")
    decision = story.ask("transfer", "capture_commitment", parameters={"price_minor": 1})
    assert [c.name for c in decision.criteria] == list(CriterionName)
    assert {"STAGE_NOT_REACHED", "CALL_NOT_LIVE", "ACTION_OUTSIDE_ROLE", "INTENT_NOT_CONFIRMED"} <= codes(decision)


def test_a_permit_has_three_criteria_that_hold() -> None:
    decision = Story().ask("booking", "initiate_contact", conversation=None)
    assert decision.verdict is Verdict.PERMIT
    assert [(c.verdict, c.reasons) for c in decision.criteria] == [(Verdict.PERMIT, ())] * 3


# --- 2. default block
def test_without_a_policy_everything_is_blocked() -> None:
    decision = Story(policy=False).ask("booking", "initiate_contact", conversation=None)
    assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, {"NO_POLICY"})


def test_a_policy_signed_by_a_stranger_never_comes_into_force() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
    story = Story(policy=False)
    story.tell(activation(signer=Court.from_keys(stranger, [])))
    assert codes(story.ask("booking", "initiate_contact", conversation=None)) == {"NO_POLICY"}


def test_a_signature_that_is_not_the_approvers_puts_no_policy_into_force() -> None:
    good = activation()
    forged = msgspec.structs.replace(good.signatures[0], signature=bytes(64))
    story = Story(policy=False)
    story.tell(msgspec.structs.replace(good, signatures=(forged,)))
    assert codes(story.ask("booking", "initiate_contact", conversation=None)) == {"NO_POLICY"}


def test_an_approved_bundle_cannot_be_brought_back_under_a_new_revision() -> None:
    story = Story()
    story.tell(activation(default_bundle().model_copy(update={"version": "second"}), revision=2))
    story.tell(msgspec.structs.replace(activation(), revision=3))
    assert story.ask("booking", "initiate_contact", conversation=None).policy_version == "second"


def test_a_policy_whose_text_does_not_match_its_digest_never_comes_into_force() -> None:
    forged = default_bundle().model_copy(update={"version": "forged"})
    story = Story(policy=False)
    story.tell(msgspec.structs.replace(activation(), bundle=forged.canonical_json()))
    assert codes(story.ask("booking", "initiate_contact", conversation=None)) == {"NO_POLICY"}


def test_an_older_revision_does_not_replace_a_newer_one() -> None:
    other = default_bundle().model_copy(update={"version": "older"})
    story = Story()
    story.tell(activation(other, revision=1))
    assert story.ask("booking", "initiate_contact", conversation=None).policy_version == default_bundle().version
    story.tell(activation(other, revision=2))
    assert story.ask("booking", "update_crm", crm_fields={"meeting_at": "x"}).policy_version == "older"


@pytest.mark.parametrize(
    ("role", "action", "code"),
    [
        ("booking", "hypnotise", "UNKNOWN_ACTION"),
        ("wizard", "initiate_contact", "UNKNOWN_ROLE"),
        ("mandate", "update_crm", "UNKNOWN_ROLE"),
    ],
)
def test_an_unknown_action_or_role_is_blocked(role: str, action: str, code: str) -> None:
    decision = Story().ask(role, action, conversation=None)
    assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, {code})


def test_a_lead_of_whom_nothing_is_known_is_not_called() -> None:
    decision = Story(known=False).ask("booking", "initiate_contact", conversation=None)
    assert decision.verdict is Verdict.BLOCK
    assert codes(decision) == {"NO_CONSENT", "MISSING_FACT"}


def test_a_request_that_comes_too_late_is_blocked() -> None:
    story = Story()
    old = story.ask("booking", "initiate_contact", conversation=None, requested_at=story.now - 60 * SECOND)
    assert (old.verdict, codes(old)) == (Verdict.BLOCK, {"TOO_LATE"})
    gone = story.ask("booking", "initiate_contact", conversation=None, deadline=story.now - SECOND)
    assert codes(gone) == {"TOO_LATE"}


def test_a_rule_that_errs_counts_against_the_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(hearing: object, check: object) -> None:
        raise ValueError("no")

    monkeypatch.setitem(checks.CHECKS, "consent", broken)
    compile_law.cache_clear()  # a law keeps its plan
    try:
        decision = Story().ask("booking", "initiate_contact", conversation=None)
    finally:
        compile_law.cache_clear()
    assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, {"RULE_ERROR"})


# --- 3. authority is earned per stage
def test_a_permit_in_one_stage_gives_nothing_in_the_next() -> None:
    story = Story()
    story.answered_call()
    story.report(story.ask("booking", "confirm_availability"))
    assert story.ask("qualification", "probe_intent").verdict is Verdict.PERMIT
    assert story.ask("closing", "discuss_price").verdict is Verdict.DEFER


def test_validated_signals_earn_the_next_stage() -> None:
    story = Story()
    story.ready_to_close()
    assert story.fact("stage") == "closing"
    assert story.ask("closing", "discuss_price").verdict is Verdict.PERMIT


# --- 4. intent is state
def test_a_confirmed_intent_is_carried_to_other_agents_and_not_asked_again() -> None:
    story = Story()
    story.answered_call()
    story.confirm("TIMING_ACCEPTANCE")
    story.hang_up()
    story.wait(2 * 3600)
    story.answered_call("c2")
    decision = story.ask("qualification", "probe_intent", conversation="c2", agent="another")
    assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, {"ALREADY_CONFIRMED"})


def test_a_weaker_signal_takes_nothing_from_a_confirmed_intent() -> None:
    story = Story()
    story.answered_call()
    story.confirm("TIMING_ACCEPTANCE")
    story.signal("TIMING_ACCEPTANCE", "nothing", confidence=0.1)
    assert story.fact("intent.timing_acceptance") == "confirmed"


def test_an_objection_pauses_commitment_until_it_is_resolved_on_final_words() -> None:
    story = Story()
    story.ready_to_close()
    story.signal("OBJECTION_RAISED", story.says("too expensive"), subject="price")
    assert story.fact("intent.language_commitment") == "paused"
    assert story.ask("closing", "capture_commitment", parameters={"price_minor": 1}).verdict is Verdict.DEFER
    story.signal("OBJECTION_RESOLVED", "not-heard-yet", subject="price")
    assert story.fact("objection.open") == "price"
    story.signal("OBJECTION_RESOLVED", story.says("fine then"), subject="price")
    assert (story.fact("objection.open"), story.fact("intent.language_commitment")) == ("", "confirmed")


def test_a_price_objection_may_be_answered_with_the_price_but_not_with_a_close() -> None:
    story = Story()
    story.ready_to_close()
    story.signal("OBJECTION_RAISED", story.says("too expensive"), subject="price")
    assert story.ask("closing", "discuss_price").verdict is Verdict.PERMIT
    assert "OBJECTION_OPEN" in codes(story.ask("closing", "request_commitment"))


def test_a_resolution_or_consent_heard_before_its_words_are_final_counts_once_they_are() -> None:
    story = Story()
    story.ready_to_close()
    story.signal("OBJECTION_RAISED", story.says("too expensive"), subject="price")
    story.signal("OBJECTION_RESOLVED", "later", subject="price")
    story.signal("CONSENT_GIVEN", "later", subject="email")
    assert (story.fact("objection.open"), story.fact("consent.email.sales")) == ("price", "indicated")
    story.says("fine, and you may mail me", "later")
    assert (story.fact("objection.open"), story.fact("consent.email.sales")) == ("", "EXPRESS")
    story.says("not fine, and do not mail me", "later", status="CORRECTED")
    assert (story.fact("objection.open"), story.fact("consent.email.sales")) == ("price", "")


def test_only_a_recognition_confidence_is_compared_with_its_threshold() -> None:
    story = Story()
    story.answered_call()
    segment = TranscriptSegment(
        event_id="e", lead_id=story.lead, conversation_id="c1", provider="twilio", call_id="c1", segment_id="s",
        status=SegmentStatus.FINAL, text="tuesday works", speaker=Speaker.LEAD, confidence=0.1,
        confidence_kind=ConfidenceKind.STABILITY, received_at=story.now,
    )  # fmt: skip
    story.tell(segment)
    story.signal("TIMING_ACCEPTANCE", "s")
    assert story.fact("intent.timing_acceptance") == "confirmed"


# --- 5. a defer always ends
def test_a_defer_is_judged_again_when_the_fact_it_waits_for_changes() -> None:
    story = Story()
    story.ready_to_close()
    first = story.ask("closing", "discuss_price")
    story.ask("transfer", "validate_readiness")
    other = story.ask("closing", "request_commitment", agent="closer-2")
    assert (other.verdict, codes(other)) == (Verdict.DEFER, {"FLOOR_HELD"})
    story.report(first)
    answers = story.decisions(other.request_id)
    assert [d.verdict for d in answers] == [Verdict.DEFER, Verdict.PERMIT]
    assert answers[1].defer is not None
    assert answers[0].defer is not None
    assert answers[1].defer.defer_id == answers[0].defer.defer_id


def test_a_defer_ends_as_a_block_at_its_deadline_and_never_as_a_permit() -> None:
    story = Story()
    story.answered_call()
    deferred = story.ask("closing", "discuss_price")
    assert deferred.verdict is Verdict.DEFER
    assert deferred.defer is not None
    story.wait(120)
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
    answers = story.decisions(deferred.request_id)
    assert [(d.verdict, codes(d)) for d in answers[1:]] == [(Verdict.BLOCK, {"DEFER_EXPIRED"})]
    assert story.state().deferrals == ()


def test_a_deadline_that_passed_unticked_still_blocks_before_the_fact_arrives() -> None:
    story = Story()
    story.answered_call()
    deferred = story.ask("qualification", "probe_intent", agent="q", deadline=story.now + 600 * SECOND)
    assert deferred.verdict is Verdict.PERMIT
    waiting = story.ask("closing", "discuss_price")
    story.says("late words after the deadline")
    story.now += 120 * SECOND
    story.says("more words")
    assert [d.verdict for d in story.decisions(waiting.request_id)] == [Verdict.DEFER, Verdict.BLOCK]


def test_a_defer_about_a_conversation_ends_with_it() -> None:
    story = Story()
    story.answered_call()
    deferred = story.ask("closing", "discuss_price")
    story.hang_up()
    last = story.decisions(deferred.request_id)[-1]
    assert last.verdict is Verdict.BLOCK
    assert codes(last) & {"CONVERSATION_ENDED", "CALL_NOT_LIVE"}


def test_a_call_outside_calling_hours_waits_for_the_morning_where_the_lead_is() -> None:
    story = Story(at="2026-11-19T03:00:00Z", known=False)
    story.known("America/Los_Angeles", "America/New_York")
    decision = story.ask("booking", "initiate_contact", conversation=None)
    assert decision.verdict is Verdict.DEFER
    assert decision.defer is not None
    # 08:00 in Los Angeles, the later of the two, is 16:00 UTC.
    assert decision.defer.not_before == 1795104000 * SECOND
    story.wait(13 * 3600)
    assert [d.verdict for d in story.decisions(decision.request_id)] == [Verdict.DEFER, Verdict.PERMIT]


# --- 6. irreversible actions rest on final transcript
@pytest.mark.parametrize("status", ["INTERIM", "UNKNOWN"])
def test_interim_words_do_not_confirm_a_commitment(status: str) -> None:
    story = Story()
    story.answered_call()
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS")
    story.signal("LANGUAGE_COMMITMENT", story.says("let us do it", status=status))
    decision = story.ask("closing", "capture_commitment", parameters={"price_minor": 1})
    assert decision.verdict is Verdict.DEFER
    assert "INTERIM_ONLY" in codes(decision)


def test_a_deferred_commitment_is_permitted_once_its_words_are_final() -> None:
    story = Story()
    story.answered_call()
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS")
    segment = story.says("let us do it", status="INTERIM")
    story.signal("LANGUAGE_COMMITMENT", segment)
    decision = story.ask("closing", "capture_commitment", parameters={"price_minor": 1})
    story.says("let us do it", segment)
    assert [d.verdict for d in story.decisions(decision.request_id)] == [Verdict.DEFER, Verdict.PERMIT]


@pytest.mark.parametrize(
    ("status", "text"), [("CORRECTED", "let us not do it"), ("WITHDRAWN", ""), ("FINAL", "let us not")]
)
def test_words_that_change_revoke_the_grant_that_rested_on_them(status: str, text: str) -> None:
    story = Story()
    said = story.ready_to_close()
    permit = story.ask("closing", "capture_commitment", parameters={"price_minor": 1})
    assert permit.verdict is Verdict.PERMIT
    story.says("unrelated words")
    assert revoked(story) == []
    story.says(text, said["LANGUAGE_COMMITMENT"], status=status)
    assert revoked(story) == [permit.grant_id]
    assert (
        story.ask("closing", "capture_commitment", agent="b", parameters={"price_minor": 1}).verdict
        is not Verdict.PERMIT
    )


def test_words_taken_back_before_the_signal_confirm_nothing() -> None:
    story = Story()
    story.answered_call()
    segment = story.says("let us do it")
    story.says("", segment, status="WITHDRAWN")
    story.signal("TIMING_ACCEPTANCE", segment)
    assert story.fact("intent.timing_acceptance") == "indicated"


@pytest.mark.parametrize(("confidence", "asr"), [(0.5, 0.95), (0.95, 0.3)])
def test_low_confidence_confirms_nothing(confidence: float, asr: float) -> None:
    story = Story()
    story.answered_call()
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS")
    story.signal("LANGUAGE_COMMITMENT", story.says("let us do it", confidence=asr), confidence=confidence)
    assert story.fact("intent.language_commitment") == "indicated"


# --- 7. a no is remembered by its effect
@pytest.mark.parametrize("words", ["Please STOP calling me!", "take me off your list", "stop", "Don’t call again"])
def test_an_opt_out_in_words_binds_every_agent_channel_and_wording(words: str) -> None:
    story = Story()
    story.ready_to_close()
    permit = story.ask("closing", "capture_commitment", parameters={"price_minor": 1})
    story.says(words, confidence=0.2)
    assert story.fact("do_not_contact") == "buyer"
    assert revoked(story) == [permit.grant_id]
    assert [d.type for d in story.of(Directive)].count(DirectiveType.STOP) == 1
    assert [u.fields for u in story.of(CrmUpdate)] == [{"do_not_contact": "true"}]
    story.hang_up()
    story.wait(30 * 86_400)
    for role, action, channel in [
        ("booking", "initiate_contact", Channel.VOICE),
        ("booking", "send_message", Channel.SMS),
        ("executive", "initiate_contact", Channel.VOICE),
    ]:
        decision = story.ask(role, action, conversation=None, channel=channel)
        assert decision.verdict is Verdict.BLOCK
        assert "DO_NOT_CONTACT" in codes(decision)


def test_agents_words_and_innocent_words_are_no_opt_out() -> None:
    story = Story()
    story.answered_call()
    story.says("you can say stop calling me at any time", speaker=Speaker.AGENT)
    story.says("we call it a full stop in our office")
    assert story.fact("do_not_contact") == ""


def test_what_the_buyer_refused_the_crm_does_not_lift() -> None:
    story = Story()
    story.answered_call()
    story.says("never call me again")
    story.crm(CrmEventType.DO_NOT_CONTACT_LIFTED)
    assert story.fact("do_not_contact") == "buyer"


def test_not_now_bars_the_effect_for_other_agents_and_channels_until_the_cool_off_ends() -> None:
    story = Story()
    story.answered_call()
    story.signal("NOT_NOW", story.says("not now please"))
    story.hang_up()
    for channel in (Channel.VOICE, Channel.SMS):
        action = "initiate_contact" if channel is Channel.VOICE else "send_message"
        decision = story.ask("booking", action, conversation=None, channel=channel, agent=f"agent-{channel}")
        assert decision.verdict is Verdict.BLOCK
        assert "EFFECT_REFUSED" in codes(decision)
    story.wait(default_bundle().contact.cool_off_s)
    assert story.ask("booking", "initiate_contact", conversation=None).verdict is Verdict.PERMIT


# --- 11. everything is explained
def test_a_decision_names_rules_facts_offsets_and_policy() -> None:
    story = Story()
    story.answered_call()
    decision = story.ask("closing", "discuss_price")
    reason = next(r for c in decision.criteria for r in c.reasons if r.code == "STAGE_NOT_REACHED")
    assert reason.rule_id == "state-stage"
    stage = next(f for f in reason.facts if f.name == "stage")
    assert (stage.value, story.journal[stage.offset].kind) == ("qualification", "TRANSCRIPT")
    assert decision.policy_digest == default_bundle().digest()
    assert decision.position.offset == len(story.journal) - 1
    assert {f.name for r in [reason] for f in r.facts} <= {f.name for f in decision.read_set}


# --- grants
def test_a_grant_is_exact_bound_and_short() -> None:
    story = Story()
    decision = story.ask("booking", "initiate_contact", conversation=None)
    claims = jwt.decode(
        decision.grant or "",
        KEY.public_key(),
        algorithms=["EdDSA"],
        audience=AUDIENCE,
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert (claims["sub"], claims["act"], claims["lead"], claims["role"], claims["one"]) == (
        "booking-agent",
        "initiate_contact",
        "lead-1",
        "booking",
        True,
    )
    assert claims["exp"] - claims["iat"] == default_bundle().actions["initiate_contact"].grant_ttl_s
    assert claims["jti"] == decision.grant_id
    assert claims["pol"] == default_bundle().digest()


def test_a_used_grant_covers_no_second_outcome() -> None:
    story = Story()
    story.answered_call()
    story.confirm("TIMING_ACCEPTANCE")
    permit = story.ask("booking", "schedule_meeting")
    assert not [d for d in story.report(permit) if isinstance(d, Directive) and d.type is DirectiveType.STOP]
    second = [d for d in story.report(permit) if isinstance(d, Directive)]
    assert [(d.type, d.code) for d in second] == [(DirectiveType.STOP, "GRANT_REUSED")]
    assert story.fact("grants.misused") == "1"


def test_a_grant_for_several_uses_may_be_reported_again() -> None:
    story = Story()
    story.answered_call()
    permit = story.ask("booking", "confirm_availability")
    story.report(permit)
    assert not [d for d in story.report(permit) if isinstance(d, Directive)]


def test_an_expired_grant_frees_its_effect() -> None:
    story = Story()
    story.ask("booking", "initiate_contact", conversation=None)
    waiting = story.ask("booking", "initiate_contact", conversation=None, agent="other")
    assert waiting.verdict is Verdict.DEFER
    assert {"FLOOR_HELD", "EFFECT_PENDING"} == codes(waiting)
    story.wait(121)
    assert [d.verdict for d in story.decisions(waiting.request_id)] == [Verdict.DEFER]
    story.wait(60)
    # The defer's own deadline (180 s, for the effect) comes with the end of the first agent's lease.
    assert [d.verdict for d in story.decisions(waiting.request_id)][1:] in ([Verdict.PERMIT], [Verdict.BLOCK])
    assert story.ask("booking", "initiate_contact", conversation=None, agent="third").verdict is not Verdict.BLOCK


def test_two_agents_never_call_the_same_lead_at_once() -> None:
    story = Story()
    first = story.ask("booking", "initiate_contact", conversation=None, agent="a")
    second = story.ask("booking", "initiate_contact", conversation=None, agent="b")
    assert (first.verdict, second.verdict) == (Verdict.PERMIT, Verdict.DEFER)
    story.call("CALL_INITIATED", agent_id="a")
    story.call("CALL_ANSWERED")
    story.hang_up()
    assert story.decisions(second.request_id)[-1].verdict is not Verdict.PERMIT


def test_a_discount_above_authority_is_blocked_and_brought_to_a_person() -> None:
    story = Story()
    story.ready_to_close()
    assert story.ask("closing", "offer_discount", parameters={"discount_bp": 1000}, agent="x").verdict is Verdict.PERMIT
    story.wait(200)
    story.confirm("READINESS")
    too_much = story.ask("closing", "offer_discount", parameters={"discount_bp": 1001})
    assert too_much.verdict is Verdict.BLOCK
    assert "DISCOUNT_ABOVE_AUTHORITY" in codes(too_much)
    assert [c.cause for c in story.of(EscalationCase)] == ["discount_exception"]
    for wrong in (True, -1, "10"):
        decision = story.ask("closing", "offer_discount", parameters={"discount_bp": wrong})
        assert decision.verdict is Verdict.BLOCK
        assert "PARAMETER_INVALID" in codes(decision)


def test_a_role_writes_its_own_crm_fields_only() -> None:
    story = Story()
    good = story.ask(
        "booking", "update_crm", conversation=None, channel=Channel.BACKEND, crm_fields={"meeting_at": "x"}
    )
    bad = story.ask(
        "booking",
        "update_crm",
        conversation=None,
        channel=Channel.BACKEND,
        crm_fields={"meeting_at": "x", "deal_status": "won"},
    )
    assert (good.verdict, bad.verdict, codes(bad)) == (Verdict.PERMIT, Verdict.BLOCK, {"CRM_FIELD_OUTSIDE_ROLE"})
    assert [(u.fields, u.grant) for u in story.of(CrmUpdate)] == [({"meeting_at": "x"}, good.grant)]


# --- escalation
def test_a_wish_for_a_person_opens_one_case_and_suspends_its_scope_until_it_is_resolved() -> None:
    story = Story()
    story.ready_to_close()
    permit = story.ask("closing", "discuss_price")
    story.says("can I talk to a real person")
    story.signal("ASKS_FOR_HUMAN", story.says("a human please"))
    cases = list(story.of(EscalationCase))
    assert [(c.cause, c.status) for c in cases] == [("asks_for_human", "OPEN")]
    assert revoked(story) == [permit.grant_id]
    waiting = story.ask("closing", "discuss_price")
    assert waiting.verdict is Verdict.DEFER
    assert "CASE_OPEN" in codes(waiting)
    assert waiting.speech_mode is SpeechMode.NEUTRAL_HOLDING
    assert codes(story.ask("transfer", "route_to_human")) == {"FLOOR_HELD"}
    story.call("AGENT_DISENGAGED")
    assert "PERMIT" in [d.verdict for d in story.of(Decision) if d.action == "route_to_human"]
    story.human("CASE_RESOLVED", case_id=cases[0].case_id)
    story.call("AGENT_DISENGAGED")
    assert story.decisions(waiting.request_id)[-1].verdict is Verdict.PERMIT


def test_a_case_that_expires_lifts_nothing() -> None:
    story = Story()
    story.ready_to_close()
    story.says("let me speak to a human")
    story.wait(3601)
    assert [c.status for c in story.of(EscalationCase)] == ["OPEN", "EXPIRED"]
    assert story.fact("suspended.discuss_price") == "asks_for_human"


# --- 12. disorder
def test_an_ended_call_is_never_left() -> None:
    story = Story()
    story.call("CALL_ENDED")
    for late in ("CALL_INITIATED", "CALL_RINGING", "CALL_ANSWERED", "SPEECH_STARTED", "BARGE_IN", "HOLD"):
        assert story.call(late) == []
    assert story.fact("conversation.phase/c1") == "ended"
    assert story.fact("contact.attempts") == "1"


def test_phases_only_go_forward() -> None:
    story = Story()
    for kind in ("CALL_ANSWERED", "CALL_RINGING", "CALL_INITIATED"):
        story.call(kind)
    assert story.fact("conversation.phase/c1") == "answered"


def test_a_providers_repeat_changes_nothing() -> None:
    story = Story()
    story.call("CALL_INITIATED", event_id="same")
    before = story.state()
    assert story.call("CALL_INITIATED", event_id="same") == []
    assert story.state() == before


def test_a_repeated_request_is_answered_once_and_another_under_its_id_is_refused() -> None:
    story = Story()
    story.ask("booking", "initiate_contact", conversation=None, request_id="r")
    same = AgentRequest(
        request_id="r",
        lead_id="lead-1",
        agent_id="booking-agent",
        role="booking",
        action="initiate_contact",
        channel=Channel.VOICE,
        requested_at=story.now,
    )
    assert [v for v in story.tell(same) if isinstance(v, Decision)] == []
    other = story.ask("booking", "send_message", conversation=None, channel=Channel.SMS, request_id="r")
    assert (other.verdict, codes(other)) == (Verdict.BLOCK, {"REQUEST_CONFLICT"})


def test_an_answer_after_a_call_timed_out_changes_nothing() -> None:
    story = Story()
    story.call("CALL_INITIATED")
    story.wait(901)
    assert story.fact("conversation.phase/c1") == "ended"
    story.call("CALL_ANSWERED")
    assert story.fact("conversation.phase/c1") == "ended"


def test_the_leads_clock_never_goes_back() -> None:
    story = Story()
    story.call("CALL_INITIATED")
    before = story.state().now
    story.call("CALL_ANSWERED", after_s=-30)
    assert story.state().now == before


# --- dialogue
def test_barge_in_silence_and_hold_direct_the_agents() -> None:
    story = Story()
    story.answered_call()
    story.call("BARGE_IN")
    story.call("SILENCE", duration_ms=12_000)
    story.call("HOLD")
    kinds = [d.type for d in story.of(Directive)]
    assert DirectiveType.HOLD in kinds
    assert DirectiveType.PAUSE in kinds
    assert story.fact("speech_mode/c1") == SpeechMode.SILENT
    story.call("UNHOLD")
    assert story.fact("speech_mode/c1") == SpeechMode.NO_COMMITMENT


def test_a_machine_gets_a_voicemail_and_nothing_else() -> None:
    story = Story()
    story.ask("booking", "initiate_contact", conversation=None)
    story.call("CALL_INITIATED")
    story.call("CALL_ANSWERED")
    assert story.ask("booking", "leave_voicemail").verdict is Verdict.BLOCK
    story.call("MACHINE_DETECTED", answered_by=AnsweredBy.MACHINE)
    assert story.ask("booking", "confirm_availability").verdict is Verdict.BLOCK
    assert story.ask("booking", "leave_voicemail").verdict is Verdict.PERMIT


def test_a_greeting_taken_for_the_lead_reaches_nobody_once_the_machine_is_known() -> None:
    story = Story()
    story.ask("booking", "initiate_contact", conversation=None)
    story.call("CALL_INITIATED")
    story.call("CALL_ANSWERED")
    story.says("you have reached the mailbox of")
    assert story.fact("contact.reached") == "yes"
    story.call("MACHINE_DETECTED", answered_by=AnsweredBy.MACHINE)
    assert (story.fact("contact.reached"), story.fact("stage")) == ("", "contact")


def test_orders_of_a_barge_in_and_a_silence_are_taken_back() -> None:
    story = Story()
    story.answered_call()
    for order, release in (("BARGE_IN", "SPEECH_STOPPED"), ("SILENCE", "SPEECH_STARTED")):
        story.call(order, duration_ms=12_000)
        found = story.call(release, speaker=Speaker.LEAD)
        assert [d.type for d in found if isinstance(d, Directive)] == [DirectiveType.RELEASE]


def test_a_call_that_ends_by_its_own_grant_is_no_breach() -> None:
    story = Story()
    story.answered_call()
    permit = story.ask("booking", "end_conversation")
    story.hang_up()
    assert revoked(story) == []
    assert [v for v in story.report(permit) if isinstance(v, Directive)] == []


def test_a_role_without_discounts_opens_no_case_for_them() -> None:
    story = Story()
    story.ready_to_close()
    decision = story.ask("booking", "offer_discount", parameters={"discount_bp": 9000})
    assert codes(decision) >= {"ACTION_OUTSIDE_ROLE"}
    assert list(story.of(EscalationCase)) == []


def test_a_person_who_pauses_automation_stops_every_grant_until_resume() -> None:
    story = Story()
    story.ready_to_close()
    permit = story.ask("closing", "discuss_price")
    story.human("PAUSE")
    assert permit.grant_id in revoked(story)
    assert codes(story.ask("closing", "discuss_price")) >= {"PAUSED_BY_HUMAN"}
    story.human("RESUME")
    assert story.ask("closing", "discuss_price").verdict is Verdict.PERMIT


def test_the_bundle_refuses_names_that_do_not_exist() -> None:
    raw = default_bundle().model_dump(mode="json")
    raw["rules"][0]["actions"] = ["fly"]
    with pytest.raises(ValueError, match="no action 'fly'"):
        Bundle.model_validate_json(json.dumps(raw))


def test_who_acknowledges_a_case_with_its_deadline_is_told_beside_its_end() -> None:
    story = Story()
    story.answered_call()
    story.says("can I talk to a real person")
    [opened] = story.of(EscalationCase)
    acknowledged = HumanIntervention(
        intervention_id="ack", lead_id=story.lead, type=InterventionType.CASE_ACKNOWLEDGED, author="ann",
        author_role="supervisor", reason="mine", case_id=opened.case_id, occurred_at=story.now,
    )  # fmt: skip
    story.tell(acknowledged, after_s=(opened.deadline - story.now) / SECOND + 1)
    _, ended, told = story.of(EscalationCase)
    assert [(ended.status, ended.author), (told.status, told.author)] == [("EXPIRED", None), ("EXPIRED", "ann")]
    ids = [output.id for output in story.outputs]
    assert len(ids) == len(set(ids))
