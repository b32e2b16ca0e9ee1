"""What the core signs and publishes, an enforcer understands: grants, cut-offs, withdrawn requests."""

import pytest
from msgspec import structs

from agents import Grant, GrantVerifier, Refusal, RevocationFeed
from agents.messages import given_up
from processors.authority import public_jwk
from processors.policy import Bundle, CutOff
from schemas.records import (
    AgentRequest,
    Decision,
    Directive,
    ReasonCode,
    Revocation,
    RevocationScope,
    Verdict,
)
from tests.agents.grants import revocation
from tests.core.story import KEY, Story, activation, codes, default_bundle

JWKS = {"keys": [public_jwk(KEY.public_key())]}


@pytest.fixture
def story() -> Story:
    found = Story()
    found.answered_call()
    return found


def check(story: Story, permit: Decision) -> Grant | Refusal:
    """What an enforcer says that has read everything the story published, up to now."""
    assert permit.verdict is Verdict.PERMIT, codes(permit)
    feed = RevocationFeed(1)
    for published in story.of(Revocation):
        feed.observe(published, 0)
    feed.observe(revocation(RevocationScope.HEARTBEAT, "0", at=story.now), 0)
    asked = next(e.body for e in story.journal if getattr(e.body, "request_id", "") == permit.request_id)
    assert isinstance(asked, AgentRequest)
    return GrantVerifier(JWKS, feed=feed, lease_us=5_000_000).check(
        permit.grant, action=asked.action, lead_id=asked.lead_id, agent_id=asked.agent_id, role=asked.role,
        channel=asked.channel.value, conversation_id=asked.conversation_id, parameters=asked.parameters, now=story.now,
    )  # fmt: skip


def bundle(number: int, cut: CutOff | None = None) -> Bundle:
    """The default bundle with other cut-offs, and another version, so that its digest differs too."""
    return default_bundle().model_copy(update={"version": f"test-{number}", "cut_off": cut or CutOff()})


CUTS = {
    "agent": CutOff(agents=("qualification-agent",)),
    "role": CutOff(roles=("qualification",)),
    "policy": CutOff(policies=(default_bundle().digest(),)),
}


def test_a_grant_of_the_core_says_the_revision_that_permitted_it(story: Story) -> None:
    story.tell(activation(bundle(4), revision=4))
    grant = check(story, story.ask("qualification", "probe_intent"))
    assert isinstance(grant, Grant)
    assert grant.revision == 4


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_grant_from_before_its_holders_cut_off_is_void_and_one_from_after_its_end_holds(
    story: Story, cut: CutOff
) -> None:
    before = story.ask("qualification", "probe_intent")
    assert check(story, before)
    published = story.tell(activation(bundle(2, cut), revision=2))
    assert [found.epoch for found in published if isinstance(found, Revocation)] == [2]
    refusal = check(story, before)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ReasonCode.GRANT_REVOKED
    story.tell(activation(bundle(3), revision=3))
    story.report(before, "ABANDONED")
    assert check(story, story.ask("qualification", "probe_intent"))


def test_an_unrelated_cut_off_voids_nothing(story: Story) -> None:
    permit = story.ask("qualification", "probe_intent")
    story.tell(activation(bundle(2, CutOff(agents=("somebody-else",))), revision=2))
    assert check(story, permit)


def deferred(story: Story) -> Decision:
    """A request that waits, because another agent holds the lead."""
    story.ask("qualification", "probe_intent")
    found = story.ask("qualification", "probe_scope", agent="another-agent")
    assert found.verdict is Verdict.DEFER, codes(found)
    return found


def test_a_defer_that_the_client_gives_up_ends_on_the_log_as_withdrawn(story: Story) -> None:
    wait = deferred(story)
    came = story.tell(given_up(wait, "no need", story.now))
    [end] = [found for found in came if isinstance(found, Decision)]
    assert (end.request_id, end.verdict, codes(end)) == (wait.request_id, Verdict.BLOCK, {"REQUEST_CANCELLED"})
    assert end.defer is not None
    assert wait.defer is not None
    assert end.defer.defer_id == wait.defer.defer_id
    assert not story.state().deferrals


def test_a_withdrawal_that_crosses_the_end_of_its_defer_is_nobodys_fault(story: Story) -> None:
    wait = deferred(story)
    story.hang_up()
    assert story.decisions(wait.request_id)[-1].verdict is Verdict.BLOCK
    came = story.tell(given_up(wait, "no need", story.now))
    assert not [found for found in came if isinstance(found, Directive | Decision)]
    assert story.fact("grants.misused") == ""


def test_another_agent_can_not_withdraw_a_request(story: Story) -> None:
    wait = deferred(story)
    foreign = structs.replace(given_up(wait, "no need", story.now), agent_id="qualification-agent")
    assert not [found for found in story.tell(foreign) if isinstance(found, Decision)]
    assert [waiting.request.request_id for waiting in story.state().deferrals] == [wait.request_id]
