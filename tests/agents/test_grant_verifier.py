"""A grant is taken for exactly what it says, while it holds, and for nothing else."""

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Grant, GrantVerifier, Refusal, RevocationFeed
from agents.grant import UsedGrants
from schemas.records import ReasonCode, RevocationScope
from tests.agents.grants import (
    EFFECT,
    JWKS,
    KEY,
    NOW,
    OTHER_KEY,
    SECOND,
    claims,
    jwk,
    revocation,
    signed,
    token,
)

LEASE = 5 * SECOND


def verifier(feed: RevocationFeed | None = None, **options: Any) -> GrantVerifier:
    return GrantVerifier(JWKS, feed=feed, lease_us=LEASE, **options)


def refusal_of(found: Grant | Refusal) -> Refusal:
    assert isinstance(found, Refusal), f"expected a refusal, got {found}"
    return found


def live_feed(*, at: int = NOW) -> RevocationFeed:
    feed = RevocationFeed(1)
    feed.observe(revocation(RevocationScope.HEARTBEAT, "0", at=at), 0)
    return feed


def test_a_good_grant_is_returned_with_all_it_says() -> None:
    grant = verifier().check(token(), **EFFECT, now=NOW)
    assert isinstance(grant, Grant)
    assert (grant.grant_id, grant.agent_id, grant.role, grant.request_id) == (
        "grant-1",
        "closer-1",
        "closing",
        "request-1",
    )
    assert grant.obligations == ("disclose_ai",)
    assert (grant.not_before, grant.expires_at) == (NOW - SECOND, NOW + 30 * SECOND)
    assert (grant.epoch, grant.policy_digest, grant.revision, grant.single_use) == (3, "policy-1", 7, False)


def test_a_refusal_is_false_and_a_grant_is_true() -> None:
    assert verifier().check(token(), **EFFECT, now=NOW)
    assert not verifier().check(None, **EFFECT, now=NOW)


WRONG_CLAIMS = {
    "iss": "mandat",
    "sub": "closer-2",
    "aud": "somebody-else",
    "iat": NOW // SECOND + 60,
    "nbf": NOW // SECOND + 60,
    "exp": NOW // SECOND,
    "act": "request_commitment",
    "pdg": "0" * 64,
    "chn": "SMS",
    "lead": "lead-2",
    "conv": "call-2",
    "role": "booking",
}


@pytest.mark.parametrize("claim", WRONG_CLAIMS)
def test_each_claim_that_is_wrong_alone_refuses_the_grant(claim: str) -> None:
    refusal = refusal_of(verifier().check(token(**{claim: WRONG_CLAIMS[claim]}), **EFFECT, now=NOW))
    expected = ReasonCode.GRANT_EXPIRED if claim == "exp" else ReasonCode.GRANT_INVALID
    assert refusal.code is expected, refusal.message


@pytest.mark.parametrize("claim", sorted(claims()))
def test_each_claim_that_is_missing_refuses_the_grant(claim: str) -> None:
    rest = {name: value for name, value in claims().items() if name != claim}
    assert refusal_of(verifier().check(signed(rest), **EFFECT, now=NOW)).code is ReasonCode.GRANT_INVALID


@pytest.mark.parametrize("claim", sorted(claims()))
def test_each_claim_of_the_wrong_type_refuses_the_grant(claim: str) -> None:
    wrong: Any = {"not": "that"}
    assert refusal_of(verifier().check(token(**{claim: wrong}), **EFFECT, now=NOW)).code is ReasonCode.GRANT_INVALID


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("action", "request_commitment"),
        ("lead_id", "lead-2"),
        ("agent_id", "closer-2"),
        ("role", "booking"),
        ("conversation_id", "call-2"),
        ("channel", "SMS"),
        ("parameters", {"discount_bp": 501, "currency": "EUR", "recorded": True}),
        ("parameters", {"discount_bp": "500", "currency": "EUR", "recorded": True}),
        ("parameters", {}),
        ("parameters", {"discount_bp": 2**60}),
        ("crm_fields", {"status": "won"}),
        ("tool", None),
    ],
)
def test_an_effect_that_differs_in_one_point_is_refused(name: str, other: Any) -> None:
    refusal = refusal_of(verifier().check(token(), **{**EFFECT, name: other}, now=NOW))
    assert refusal.code is ReasonCode.GRANT_INVALID


def test_what_the_enforcer_can_not_know_is_not_compared() -> None:
    known = {key: EFFECT[key] for key in EFFECT if key not in ("role", "conversation_id", "channel")}
    assert verifier().check(token(), **known, now=NOW)


def test_a_grant_that_begins_a_conversation_covers_the_one_it_began() -> None:
    assert verifier().check(token(conv=None), **EFFECT, now=NOW)


def test_a_grant_signed_by_another_key_under_a_known_kid_is_refused() -> None:
    refusal = refusal_of(verifier().check(token(OTHER_KEY), **EFFECT, now=NOW))
    assert refusal.code is ReasonCode.GRANT_INVALID
    assert "signature" in refusal.message


@pytest.mark.parametrize("kid", ["key-2", None])
def test_an_unknown_or_missing_kid_is_refused(kid: str | None) -> None:
    refusal = refusal_of(verifier().check(token(OTHER_KEY, kid), **EFFECT, now=NOW))
    assert refusal.code is ReasonCode.GRANT_INVALID
    assert "JWKS" in refusal.message


def test_an_unsigned_grant_is_refused() -> None:
    unsigned = jwt.encode(claims(), None, algorithm="none", headers={"kid": "key-1"})
    assert "EdDSA" in refusal_of(verifier().check(unsigned, **EFFECT, now=NOW)).message


def test_a_grant_signed_with_the_public_key_as_a_shared_secret_is_refused() -> None:
    secret = JWKS["keys"][0]["x"] + "=" * 40
    forged = jwt.encode(claims(), secret, algorithm="HS256", headers={"kid": "key-1"})
    assert "EdDSA" in refusal_of(verifier().check(forged, **EFFECT, now=NOW)).message


def test_a_grant_with_a_claim_changed_after_signing_is_refused() -> None:
    header, _, signature = token().split(".")
    better = base64.urlsafe_b64encode(json.dumps(claims(exp=NOW)).encode()).rstrip(b"=").decode()
    refusal = refusal_of(verifier().check(f"{header}.{better}.{signature}", **EFFECT, now=NOW))
    assert "signature" in refusal.message


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "é.é.é", "." * 9, "eyJ" + "[" * 100_000 + ".e30.e30"])
def test_text_that_is_no_token_is_refused_and_never_raises(text: str) -> None:
    assert refusal_of(verifier().check(text, **EFFECT, now=NOW)).code is ReasonCode.GRANT_INVALID


def test_a_header_nested_without_end_is_refused_and_never_raises() -> None:
    nested = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 200_000).rstrip(b"=").decode()
    assert refusal_of(verifier().check(f"{nested}.e30.e30", **EFFECT, now=NOW)).code is ReasonCode.GRANT_INVALID


def test_keys_that_can_not_sign_grants_are_a_mistake_of_the_caller() -> None:
    for bad in ({}, {"keys": []}, {"keys": [{"kty": "RSA", "kid": "a", "n": "x", "e": "AQAB"}]}):
        with pytest.raises(ValueError, match="no Ed25519 key"):
            GrantVerifier(bad, feed=None, lease_us=LEASE)


def test_any_published_key_is_taken_so_that_keys_can_be_changed() -> None:
    both = {"keys": [jwk(OTHER_KEY, "key-0"), jwk(KEY, "key-1")]}
    checked = GrantVerifier(both, feed=None, lease_us=LEASE)
    assert checked.check(token(), **EFFECT, now=NOW)
    assert checked.check(token(OTHER_KEY, "key-0"), **EFFECT, now=NOW)


def test_time_is_what_the_caller_says_not_the_wall_clock() -> None:
    long_ago = NOW - 10**6 * SECOND
    seconds = long_ago // SECOND
    old = token(iat=seconds, nbf=seconds, exp=seconds + 30)
    assert verifier().check(old, **EFFECT, now=long_ago)
    assert refusal_of(verifier().check(old, **EFFECT, now=NOW)).code is ReasonCode.GRANT_EXPIRED


def test_a_grant_ends_with_its_last_microsecond_and_gets_no_leeway() -> None:
    end = NOW + 30 * SECOND
    assert verifier().check(token(), **EFFECT, now=end - 1)
    assert refusal_of(verifier().check(token(), **EFFECT, now=end)).code is ReasonCode.GRANT_EXPIRED


def test_a_clock_that_runs_behind_by_the_leeway_takes_a_fresh_grant() -> None:
    start = NOW - SECOND
    assert verifier(leeway_us=SECOND).check(token(), **EFFECT, now=start - SECOND)
    refusal = refusal_of(verifier(leeway_us=SECOND).check(token(), **EFFECT, now=start - SECOND - 1))
    assert refusal.code is ReasonCode.GRANT_INVALID


def test_a_grant_that_lives_longer_than_revocations_are_remembered_is_refused() -> None:
    forever = token(exp=NOW // SECOND + 25 * 3600)
    assert refusal_of(verifier().check(forever, **EFFECT, now=NOW)).code is ReasonCode.GRANT_INVALID


def test_a_single_use_grant_is_taken_once() -> None:
    checked = verifier()
    assert checked.check(token(one=True), **EFFECT, now=NOW)
    assert refusal_of(checked.check(token(one=True), **EFFECT, now=NOW)).code is ReasonCode.GRANT_REUSED
    assert checked.check(token(one=True, jti="grant-2"), **EFFECT, now=NOW)


def test_a_refused_or_merely_looked_at_single_use_grant_is_not_used_up() -> None:
    checked = verifier()
    assert not checked.check(token(one=True), **{**EFFECT, "tool": "x"}, now=NOW)
    assert checked.check(token(one=True), **EFFECT, now=NOW, use=False)
    assert checked.check(token(one=True), **EFFECT, now=NOW)
    assert refusal_of(checked.check(token(one=True), **EFFECT, now=NOW, use=False)).code is ReasonCode.GRANT_REUSED


def test_a_grant_for_many_uses_is_taken_many_times() -> None:
    checked = verifier()
    assert all(checked.check(token(), **EFFECT, now=NOW) for _ in range(3))


def test_the_memory_of_used_grants_is_bounded_and_refuses_rather_than_forgets() -> None:
    used = UsedGrants(limit=2)
    grants = [
        verifier().check(token(one=True, jti=f"g{n}", exp=NOW // SECOND + 10 + n), **EFFECT, now=NOW) for n in range(3)
    ]
    first, second, third = (grant for grant in grants if isinstance(grant, Grant))
    assert used.take(first, NOW) is None
    assert used.take(second, NOW) is None
    refusal = used.take(third, NOW)
    assert refusal is not None
    assert refusal.code is ReasonCode.GRANT_REUSED
    assert used.take(third, first.expires_at) is None


def test_a_revoked_grant_is_refused_with_the_reason_of_the_revocation() -> None:
    feed = live_feed()
    feed.observe(revocation(RevocationScope.GRANT, "grant-1"), 0)
    refusal = refusal_of(verifier(feed).check(token(), **EFFECT, now=NOW))
    assert refusal.code is ReasonCode.GRANT_REVOKED
    assert "FACT_CHANGED: timing changed" in refusal.message
    assert verifier(feed).check(token(jti="grant-2"), **EFFECT, now=NOW)


CUT_OFFS = [
    (RevocationScope.LEAD, "lead-1", "epoch"),
    (RevocationScope.AGENT, "closer-1", "rev"),
    (RevocationScope.ROLE, "closing", "rev"),
    (RevocationScope.POLICY, "policy-1", "rev"),
]


@pytest.mark.parametrize(("scope", "subject", "claim"), CUT_OFFS)
def test_a_cut_off_voids_grants_of_a_lower_epoch_or_revision_alone(
    scope: RevocationScope, subject: str, claim: str
) -> None:
    feed = live_feed()
    feed.observe(revocation(scope, subject, epoch=9), 0)
    before, after = token(**{claim: 8}), token(**{claim: 9})
    assert refusal_of(verifier(feed).check(before, **EFFECT, now=NOW)).code is ReasonCode.GRANT_REVOKED
    assert verifier(feed).check(after, **EFFECT, now=NOW)


@pytest.mark.parametrize(("scope", "subject", "_claim"), CUT_OFFS)
def test_a_cut_off_of_another_subject_voids_nothing_here(scope: RevocationScope, subject: str, _claim: str) -> None:
    feed = live_feed()
    feed.observe(revocation(scope, f"not-{subject}", epoch=9), 0)
    assert verifier(feed).check(token(), **EFFECT, now=NOW)


def test_a_feed_within_its_lease_is_believed_and_one_behind_it_is_not() -> None:
    assert verifier(live_feed(at=NOW - LEASE)).check(token(), **EFFECT, now=NOW)
    refusal = refusal_of(verifier(live_feed(at=NOW - LEASE - 1)).check(token(), **EFFECT, now=NOW))
    assert refusal.code is ReasonCode.REVOCATION_FEED_STALE
    assert "5 s are allowed" in refusal.message


def test_a_feed_that_never_had_a_heartbeat_refuses() -> None:
    refusal = refusal_of(verifier(RevocationFeed(1)).check(token(), **EFFECT, now=NOW))
    assert refusal.code is ReasonCode.REVOCATION_FEED_STALE


def test_a_single_use_grant_refused_for_a_stale_feed_can_be_used_when_the_feed_is_back() -> None:
    feed = RevocationFeed(1)
    checked = verifier(feed)
    assert not checked.check(token(one=True), **EFFECT, now=NOW)
    feed.observe(revocation(RevocationScope.HEARTBEAT, "0"), 0)
    assert checked.check(token(one=True), **EFFECT, now=NOW)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), replacement=st.integers(0, 255))
def test_no_byte_of_a_grant_can_be_changed_to_any_other_meaning(position: int, replacement: int) -> None:
    good = bytearray(token().encode())
    good[position % len(good)] = replacement
    found = verifier().check(good.decode("latin-1"), **EFFECT, now=NOW)
    # The last character of a base64 part has bits that mean nothing: then it is the same grant.
    assert isinstance(found, Refusal) or found == verifier().check(token(), **EFFECT, now=NOW)


def _json_values(depth_text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), depth_text, st.lists(depth_text))


@settings(max_examples=200, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(claims())), _json_values(st.text()), min_size=1, max_size=3))
def test_properly_signed_nonsense_never_raises_and_passes_only_when_it_covers_the_effect(
    changes: dict[str, Any],
) -> None:
    found = verifier().check(token(**changes), **EFFECT, now=NOW)
    if isinstance(found, Refusal):
        return
    covers = claims(**changes)
    free = {"iat", "nbf", "exp", "jti", "req", "one", "epoch", "pol", "rev", "obl", "aud", "conv"}
    assert {k: v for k, v in covers.items() if k not in free} == {k: v for k, v in claims().items() if k not in free}
    assert covers["conv"] in (None, "call-1")
    assert max(covers["iat"], covers["nbf"]) * SECOND <= NOW + SECOND < covers["exp"] * SECOND + SECOND
