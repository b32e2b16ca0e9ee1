"""A decision is explained from its journal: reasons, facts with their words, what would change it, and its bytes."""

from dataclasses import dataclass

import msgspec
import pytest

from processors.authority import override_text, public_jwk
from processors.explain.decision import explain
from processors.explain.notes import Explanation, FactNote, as_json, from_json
from processors.explain.refold import Refold, compare
from processors.explain.text import as_text
from processors.policy import CutOff, Person
from schemas.codec import encode
from schemas.records import (
    Decision,
    HumanIntervention,
    InterventionType,
    JournalEntry,
    LeadId,
    PolicySignature,
    Verdict,
)
from streams.code_texts import REASONS
from tests.core.story import COURT, KEY, Story, activation, default_bundle

TEXTS = {code: (text.meaning, text.advice) for code, text in REASONS.items()}


def explained(story: Story, decision: Decision, journal: list[tuple[int, JournalEntry]] | None = None) -> Explanation:
    """The explanation of a decision from a journal; default: the story's own, whole."""
    refold = Refold(LeadId(story.lead), decision.position, COURT)
    for offset, entry in journal if journal is not None else enumerate(story.journal):
        refold.take(entry, offset)
    comparison = compare(decision, encode(decision), refold.again(decision), COURT.signer.kid)
    return explain(decision, refold, TEXTS, comparison)


def fact(explanation: Explanation, name: str) -> FactNote:
    """A fact of the explanation's reasons, or of what its grant rests on."""
    facts = [f for c in explanation.criteria for r in c.reasons for f in r.facts]
    return next(f for f in (*facts, *explanation.rests_on) if f.name == name)


def maybe_commitment(price: int = 1000) -> tuple[Story, Decision]:
    """A closer wants to record a commitment that the buyer only hinted at, in interim words."""
    story = Story()
    story.answered_call()
    segment = story.says("yeah maybe, why not", status="INTERIM")
    story.signal("LANGUAGE_COMMITMENT", segment, confidence=0.72)
    return story, story.ask("closing", "capture_commitment", parameters={"price_minor": price})


def test_a_block_shows_what_each_criterion_found_and_the_words_behind_it() -> None:
    story, decision = maybe_commitment(price=99_999_999)
    explanation = explained(story, decision)
    assert [(c.name, c.verdict) for c in explanation.criteria] == [
        ("STATE", "DEFER"),
        ("ROLE", "BLOCK"),
        ("GOVERNANCE", "DEFER"),
    ]
    intent = fact(explanation, "intent.language_commitment")
    assert (intent.value, intent.final, intent.confidence) == ("indicated", False, 0.72)
    assert intent.set_by == "signal LANGUAGE_COMMITMENT (confidence 0.72, detector test/1)"
    (words,) = intent.words
    assert (words.text, words.speaker, words.status) == ("yeah maybe, why not", "LEAD", "INTERIM")
    assert words.said_at is not None
    assert list(words.said_at.local) == ["America/New_York"]
    text = as_text(explanation)
    assert text.startswith("BLOCK  capture_commitment by closing-agent (closing) for lead-1, 2026-11-18 17:00:")
    assert '"yeah maybe, why not" (lead, 17:00:' in text
    assert "The buyer committed in words (rule state-commitment-language, severity medium)" in text
    assert "intent.language_commitment is confirmed by LANGUAGE_COMMITMENT on final words" in text
    assert "closing lacked intent.readiness (not set)" in text
    assert "Would hold when: price_minor is a whole number from 0 to 5000000." in text
    assert "At the time: it asked for 99999999;" in text
    assert "executive (up to 50000000)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_a_source_is_named_where_the_rule_has_one() -> None:
    story = Story()
    story.answered_call()
    story.says("please stop calling me")
    explanation = explained(story, story.ask("booking", "confirm_availability"))
    text = as_text(explanation)
    assert "Source: 47 CFR 64.1200(a)(10) and (d)(3)" in text
    assert [words.text for words in fact(explanation, "do_not_contact").words] == ["please stop calling me"]


def test_the_telling_leads_with_the_gravest_of_several_reasons_and_leaves_their_order() -> None:
    story = Story()
    story.answered_call()
    story.says("please stop calling me")
    decision = story.ask("booking", "initiate_contact", conversation=None)
    explanation = explained(story, decision)
    reasons = [(r.code, r.severity) for c in explanation.criteria for r in c.reasons]
    assert reasons == [("CALL_IN_PROGRESS", "medium"), ("DO_NOT_CONTACT", "critical"), ("MIN_GAP", "high")]
    assert [code for code, _ in reasons] == [r.code for c in decision.criteria for r in c.reasons]
    head, _, rest = as_text(explanation).partition("\n\n")
    assert "Gravest of 3 reasons: DO_NOT_CONTACT (rule gov-do-not-contact, severity critical)" in _flat(head)
    assert "DO_NOT_CONTACT  The person did not opt out (rule gov-do-not-contact, severity critical)" in rest
    assert '"severity": "critical"' in as_json(explanation)


def test_of_equally_grave_reasons_one_that_blocks_leads() -> None:
    story, decision = maybe_commitment(price=99_999_999)
    explanation = explained(story, decision)
    assert {r.severity for c in explanation.criteria for r in c.reasons} == {"medium"}
    assert "Gravest of 4 reasons: PRICE_ABOVE_AUTHORITY (rule role-price" in as_text(explanation)


def test_a_refusal_that_is_built_in_leads_before_those_of_the_policy() -> None:
    cut_off = CutOff(agents=("closing-agent",))
    story = Story(policy=False)
    story.tell(activation(default_bundle().model_copy(update={"cut_off": cut_off})))
    story.answered_call()
    explanation = explained(story, story.ask("closing", "offer_discount", parameters={"discount_bp": 5000}))
    first = explanation.criteria[-1].reasons[0]
    assert (first.code, first.severity) == ("CUT_OFF", None)
    assert "reasons: CUT_OFF (rule built-in-cut-off): The policy cuts this agent or role off." in _flat(
        as_text(explanation)
    )


def test_no_reason_leads_where_there_is_one_or_none_or_the_policy_is_not_at_hand() -> None:
    story, decision = maybe_commitment()
    assert "Gravest" not in as_text(explained(story, story.ask("booking", "end_conversation")))
    assert "Gravest" not in as_text(explained(story, story.ask("wizard", "end_conversation")))
    gone = explained(story, decision, [])
    assert {r.severity for c in gone.criteria for r in c.reasons} == {None}
    assert "Gravest" not in as_text(gone)


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_a_defer_says_what_it_waits_for_and_its_end_says_what_did_not_come() -> None:
    story = Story()
    story.ready_to_close()
    story.signal("OBJECTION_RAISED", story.says("that is too much money"), subject="price")
    deferred = story.ask("closing", "request_commitment")
    assert deferred.verdict is Verdict.DEFER
    waiting = explained(story, deferred)
    assert waiting.defer is not None
    assert "objection.open" in waiting.defer.resume_when
    assert any("objection.open" in change for change in waiting.changes)
    assert any("never a permit" in change for change in waiting.changes)
    story.wait(600)
    ended = story.decisions(deferred.request_id)[-1]
    explanation = explained(story, ended)
    assert explanation.rederived.identical
    assert [(a.verdict, a.decision_id) for a in explanation.answers] == [("DEFER", deferred.decision_id)]
    (reason,) = explanation.criteria[0].reasons
    assert reason.code == "DEFER_EXPIRED"
    assert "objection.open is not set" in reason.would_hold_when
    assert [c.held for c in explanation.criteria] == [(), (), ()]


def test_a_defer_for_the_hour_says_when_in_the_leads_own_time() -> None:
    story = Story("2026-11-19T03:30:00Z")
    decision = story.ask("booking", "initiate_contact", conversation=None)
    assert decision.verdict is Verdict.DEFER
    text = as_text(explained(story, decision))
    assert "It is judged again at 2026-11-19 13:00:00Z (08:00:00 America/New_York)." in text
    assert "(2026-11-18 22:30:" in text
    assert "US: daily 08:00-21:00" in text


def test_a_permit_says_what_it_rests_on_and_until_when() -> None:
    story = Story()
    story.ready_to_close()
    decision = story.ask("closing", "offer_discount", parameters={"discount_bp": 500})
    assert decision.verdict is Verdict.PERMIT
    explanation = explained(story, decision)
    assert fact(explanation, "stage").value == "closing"
    assert fact(explanation, "floor").value == "closing-agent"
    assert fact(explanation, "do_not_contact").value is None
    assert explanation.grant is not None
    assert (explanation.grant.grant_id, explanation.grant.single_use) == (decision.grant_id, True)
    assert explanation.grant.claims["act"] == "offer_discount"
    assert all(c.held for c in explanation.criteria)
    text = as_text(explanation)
    assert "The grant expires 2026-11-18 17:01:" in text
    assert "approved by counsel" in text


def test_an_override_is_told_with_what_it_lifted() -> None:
    author = Person(role="executive", public_key=public_jwk(KEY.public_key())["x"], may_override=("*",))
    story = Story(policy=False)
    story.tell(activation(default_bundle().model_copy(update={"people": {"carol": author}})))
    story.ready_to_close()
    asked = {"parameters": {"discount_bp": 1500}}
    refused = story.ask("closing", "offer_discount", **asked)
    assert "A signed override lifts it, for one request, by carol (executive)." in explained(story, refused).changes
    unsigned = HumanIntervention(
        intervention_id="o1", lead_id=LeadId(story.lead), type=InterventionType.OVERRIDE, author="carol",
        author_role="executive", reason="a good customer", request_id=refused.request_id, occurred_at=story.now,
    )  # fmt: skip
    signature = PolicySignature(key_id="carol", signature=KEY.sign(override_text(unsigned)))
    story.tell(msgspec.structs.replace(unsigned, signature=signature))
    (case,) = story.state().cases
    story.human("CASE_RESOLVED", case_id=case.case_id)
    passed = story.ask("closing", "offer_discount", **asked)
    assert passed.verdict is Verdict.PERMIT
    explanation = explained(story, passed)
    assert explanation.override is not None
    assert [reason.code for reason in explanation.override.lifted] == ["DISCOUNT_ABOVE_AUTHORITY"]
    text = as_text(explanation)
    assert "Overridden: the rules alone say BLOCK" in text
    assert "carol (executive): a good customer" in text
    assert from_json(as_json(explanation)) == explanation


def test_no_override_is_promised_where_the_law_bars_it() -> None:
    story = Story()
    story.answered_call()
    story.says("please stop calling me")
    changes = explained(story, story.ask("booking", "confirm_availability")).changes
    assert any(change.startswith("No person's override lifts") for change in changes)


def test_no_token_is_in_any_form_of_an_explanation() -> None:
    story = Story()
    decision = story.ask("booking", "initiate_contact", conversation=None)
    assert decision.grant is not None
    forged = msgspec.structs.replace(decision, grant=decision.grant[:-4] + "AAAA")
    unlike = msgspec.structs.replace(decision, grant=None)
    for each in (decision, forged, unlike):
        explanation = explained(story, each)
        printed = as_text(explanation, rederived=True) + as_json(explanation)
        for token in filter(None, (decision.grant, forged.grant)):
            assert not any(part in printed for part in token.split("."))


def test_an_explanation_comes_back_from_its_json() -> None:
    story, decision = maybe_commitment()
    explanation = explained(story, decision)
    assert from_json(as_json(explanation)) == explanation
    permit = story.ask("booking", "end_conversation")
    assert permit.verdict is Verdict.PERMIT
    again = explained(story, permit)
    assert from_json(as_json(again)) == again


def test_the_journal_gives_every_decision_again_in_the_same_bytes() -> None:
    story, _ = maybe_commitment()
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
    story.ask("closing", "offer_discount", parameters={"discount_bp": 9000})
    story.wait(61)
    story.hang_up()
    story.wait(4000)
    decisions = list(story.of(Decision))
    assert len({d.verdict for d in decisions}) == 3
    for decision in decisions:
        found = explained(story, decision).rederived
        assert (found.identical, found.signature_compared, found.difference) == (True, True, None)
        assert found.recorded_sha256 == found.derived_sha256


@dataclass(frozen=True)
class Tampering:
    """A change to a recorded permit, and the place where it must be found."""

    change: dict[str, object]
    place: str


@pytest.mark.parametrize(
    "tampering",
    [
        Tampering({"verdict": Verdict.BLOCK}, "verdict"),
        Tampering({"agent_id": "someone-else"}, "agent_id"),
        Tampering({"expires_at": 1}, "expires_at"),
        Tampering({"policy_digest": "0" * 64}, "policy_digest"),
        Tampering({"read_set": ()}, "read_set"),
        Tampering({"grant": "no.token.atall"}, "grant"),
        Tampering({"grant": None}, "grant"),
    ],
    ids=lambda tampering: str(tampering.change)[:40],
)
def test_a_decision_that_was_tampered_with_is_found_with_the_field(tampering: Tampering) -> None:
    story = Story()
    decision = story.ask("booking", "initiate_contact", conversation=None)
    explanation = explained(story, msgspec.structs.replace(decision, **tampering.change))
    assert not explanation.rederived.identical
    assert str(explanation.rederived.difference).startswith(tampering.place)
    assert "does not give this decision again" in explanation.caveats[0]
    assert "Rederived: DIFFERENT" in as_text(explanation, rederived=True)


def test_a_forged_signature_is_found_with_the_key_and_left_open_without_it() -> None:
    story = Story()
    decision = story.ask("booking", "initiate_contact", conversation=None)
    assert decision.grant is not None
    forged = msgspec.structs.replace(decision, grant=decision.grant[:-8] + "AAAAAAAA")
    with_key = compare(forged, encode(forged), decision, COURT.signer.kid)
    assert (with_key.identical, str(with_key.difference).split(":")[0]) == (False, "grant.sha256 of the token")
    without = compare(forged, encode(forged), decision, "another key")
    assert (without.identical, without.signature_compared) == (True, False)


def test_entries_of_other_leads_change_nothing_and_need_not_be_read() -> None:
    story, decision = maybe_commitment()
    stranger = msgspec.structs.replace(story.journal[6], lead_id=LeadId("lead-2"))
    mixed, unread = Refold(LeadId("lead-2"), decision.position, COURT), Refold(LeadId("l"), decision.position, COURT)
    for offset, entry in enumerate(story.journal):
        mixed.take(stranger if offset == 6 else entry, offset)
        unread.take(None, offset)
    assert list(mixed.entries) == [6]
    assert (unread.reached, unread.missing, unread.after) == (True, [], None)


def test_a_journal_whose_beginning_is_gone_is_said_and_the_decision_explains_itself() -> None:
    story, decision = maybe_commitment()
    rest = list(enumerate(story.journal))[6:]
    explanation = explained(story, decision, rest)
    assert not explanation.rederived.identical
    assert any("begins at offset 6" in caveat for caveat in explanation.caveats)
    intent = fact(explanation, "intent.language_commitment")
    assert intent.value == "indicated"
    assert [words.text for words in intent.words] == ["yeah maybe, why not"]
    assert [r.code for c in explanation.criteria for r in c.reasons] == [
        r.code for c in decision.criteria for r in c.reasons
    ]
    gone = explained(story, decision, [])
    assert "which the journal at hand does not show" in as_text(gone)
    assert any("ends before" in caveat for caveat in gone.caveats)


def test_an_export_with_holes_is_said() -> None:
    story, decision = maybe_commitment()
    holed = [(offset, entry) for offset, entry in enumerate(story.journal) if offset not in (0, 4, 5)]
    explanation = explained(story, decision, holed)
    assert any("Entries are missing in it: 4-5" in caveat for caveat in explanation.caveats)


def test_withdrawn_and_corrected_words_are_shown_as_they_stood_at_the_decision() -> None:
    story = Story()
    story.ready_to_close()
    segment = story.says("we have a deal", "s-deal")
    story.signal("OBJECTION_RAISED", segment, subject="price")
    decision = story.ask("closing", "request_commitment")
    story.says("", "s-deal", status="WITHDRAWN")
    assert [w.text for w in fact(explained(story, decision), "objection.open").words] == ["we have a deal"]
    later = story.ask("closing", "request_commitment", agent="another")
    (words,) = fact(explained(story, later), "objection.open").words
    assert (words.text, words.status) == ("", "WITHDRAWN")
    assert "(withdrawn)" in as_text(explained(story, later))


def test_what_people_said_can_not_drive_a_terminal() -> None:
    story = Story()
    story.answered_call()
    story.signal("OBJECTION_RAISED", story.says("no \x1b[2J\nPERMIT"), subject="price")
    text = as_text(explained(story, story.ask("closing", "capture_commitment", parameters={"price_minor": 1})))
    assert "\x1b" not in text
    assert "\nPERMIT" not in text


def test_every_rule_that_fails_for_a_lead_nobody_knows_says_what_it_takes() -> None:
    story = Story(known=False)
    for role, action in (("booking", "initiate_contact"), ("booking", "update_crm"), ("closing", "offer_discount"),
                         ("qualification", "route_call"), ("booking", "leave_voicemail")):  # fmt: skip
        explanation = explained(story, story.ask(role, action, tool="hammer", crm_fields={"shoe_size": "45"}))
        reasons = [r for c in explanation.criteria for r in c.reasons]
        assert len(reasons) >= 3
        assert all(reason.would_hold_when and reason.title for reason in reasons)
