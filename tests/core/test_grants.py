"""Grants: what each says, who is cut off from theirs, and how many a lead can hold."""

import jwt

from processors.policy.bundle import CutOff
from schemas.digest import parameters_digest
from schemas.records import ReasonCode, Revocation, RevocationScope, Verdict
from tests.core.story import KEY, SECOND, Story, activation, codes, default_bundle

PRICE = {"discount_bp": 300, "note": "forty seats"}


def revoked(story: Story, scope: RevocationScope) -> list[Revocation]:
    return [r for r in story.of(Revocation) if r.scope is scope]


def test_a_grant_says_exactly_what_it_is_for() -> None:
    story = Story()
    story.ready_to_close()
    story.human("PAUSE")
    story.human("RESUME")
    decision = story.ask("closing", "offer_discount", parameters=PRICE)
    assert decision.grant
    assert decision.grant_id
    claims = jwt.decode(
        decision.grant, KEY.public_key(), algorithms=["EdDSA"], audience="mandate-enforcers",
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )  # fmt: skip
    issued = story.now // SECOND
    assert claims == {
        "iss": "mandate", "sub": "closing-agent", "aud": "mandate-enforcers", "iat": issued, "nbf": issued,
        "exp": issued + default_bundle().actions["offer_discount"].grant_ttl_s, "jti": decision.grant_id,
        "act": "offer_discount", "pdg": parameters_digest(PRICE, {}, None), "chn": "VOICE", "lead": "lead-1",
        "conv": "c1", "role": "closing", "req": decision.request_id, "one": True, "epoch": 1,
        "pol": default_bundle().digest(), "rev": 1, "obl": [],
    }  # fmt: skip


def test_each_stop_voids_what_was_granted_before_it_and_nothing_after() -> None:
    story = Story()
    story.ready_to_close()
    story.human("PAUSE")
    story.human("RESUME")
    story.human("PAUSE")
    assert [r.epoch for r in revoked(story, RevocationScope.LEAD)] == [1, 2]
    assert story.state().epoch == 2


def test_grants_under_a_policy_that_a_later_one_cuts_off_fall_and_new_ones_stand() -> None:
    story = Story()
    story.ready_to_close()
    old = story.ask("closing", "discuss_price")
    without = CutOff(policies=(default_bundle().digest(),))
    story.tell(activation(default_bundle().model_copy(update={"version": "after", "cut_off": without}), revision=2))
    assert [(r.scope, r.subject) for r in story.of(Revocation)][-1] == (
        RevocationScope.POLICY, default_bundle().digest(),
    )  # fmt: skip
    story.says("hm")
    assert [r.subject for r in revoked(story, RevocationScope.GRANT)] == [old.grant_id]
    new = story.ask("closing", "discuss_price")
    story.says("hm")
    assert new.verdict is Verdict.PERMIT
    assert [r.subject for r in revoked(story, RevocationScope.GRANT)] == [old.grant_id]


def test_a_lead_holds_so_many_grants_and_no_more() -> None:
    story = Story()
    story.ready_to_close()
    answers = [story.ask("closing", "discuss_price", parameters={"seats": seats}) for seats in range(60)]
    refused = [a for a in answers if a.verdict is Verdict.BLOCK]
    assert refused
    assert all(codes(answer) == {ReasonCode.TOO_MANY_OPEN} for answer in refused)
    assert {a.verdict for a in answers[:5]} == {Verdict.PERMIT}
    story.report(answers[0])
    assert story.ask("closing", "discuss_price", parameters={"seats": 99}).verdict is Verdict.PERMIT


def test_a_request_that_would_take_too_much_of_the_row_does_not_wait() -> None:
    story = Story()
    story.ready_to_close()
    story.ask("closing", "discuss_price", agent="first")
    long = story.ask("closing", "discuss_price", agent="second", parameters={"note": "x" * 2_000})
    short = story.ask("closing", "discuss_price", agent="second", parameters={"note": "x"})
    assert (long.verdict, codes(long)) == (Verdict.BLOCK, {ReasonCode.PARAMETER_INVALID})
    assert short.verdict is Verdict.DEFER
