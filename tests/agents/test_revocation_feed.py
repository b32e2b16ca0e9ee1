"""What is void, how far it is known, and what may be forgotten."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.feed import MAX_GRANT_LIFETIME_US, RevocationFeed, partition_of
from schemas.records import Revocation, RevocationScope
from tests.agents.grants import NOW, SECOND, revocation


@dataclass(frozen=True)
class Held:
    """What a revocation may name of a grant."""

    grant_id: str = "grant-1"
    lead_id: str = "lead-1"
    agent_id: str = "closer-1"
    role: str = "closing"
    policy_digest: str = "policy-1"
    epoch: int = 3
    revision: int = 7


def heartbeat(at: int) -> Revocation:
    return revocation(RevocationScope.HEARTBEAT, "0", at=at)


def test_each_partition_is_known_as_far_as_its_own_heartbeat() -> None:
    feed = RevocationFeed(2)
    assert (feed.as_of(0), feed.as_of(1)) == (None, None)
    feed.observe(heartbeat(NOW), 1)
    feed.observe(heartbeat(NOW - SECOND), 1)
    assert (feed.as_of(0), feed.as_of(1)) == (None, NOW)


def test_a_revocation_alone_does_not_prove_that_the_feed_is_complete() -> None:
    feed = RevocationFeed(1)
    feed.observe(revocation(RevocationScope.GRANT, "grant-1"), 0)
    assert feed.as_of(0) is None


def test_a_repeated_revocation_changes_nothing() -> None:
    feed = RevocationFeed(1)
    for _ in range(3):
        feed.observe(revocation(RevocationScope.GRANT, "grant-1"), 0)
    assert len(feed) == 1
    assert feed.is_void(Held())


def test_an_older_cut_off_read_again_does_not_lower_the_newer() -> None:
    feed = RevocationFeed(1)
    feed.observe(revocation(RevocationScope.LEAD, "lead-1", epoch=5), 0)
    feed.observe(revocation(RevocationScope.LEAD, "lead-1", epoch=4), 0)
    assert feed.is_void(Held(epoch=4))


def test_a_lead_is_cut_off_by_its_own_epoch_whatever_the_revision() -> None:
    feed = RevocationFeed(1)
    feed.observe(revocation(RevocationScope.LEAD, "lead-1", epoch=4), 0)
    assert feed.is_void(Held(epoch=3, revision=99))
    assert feed.is_void(Held(epoch=4, revision=0)) is None


@pytest.mark.parametrize("scope", [RevocationScope.AGENT, RevocationScope.ROLE, RevocationScope.POLICY])
def test_agents_roles_and_policies_are_cut_off_by_revision_whatever_the_epoch(scope: RevocationScope) -> None:
    feed = RevocationFeed(1)
    feed.observe(revocation(scope, SUBJECTS[scope][0], epoch=8), 0)
    assert feed.is_void(Held(epoch=99, revision=7))
    assert feed.is_void(Held(epoch=0, revision=8)) is None


def test_a_cut_off_that_every_partition_repeats_is_kept_once() -> None:
    feed = RevocationFeed(4)
    for partition in range(4):
        feed.observe(revocation(RevocationScope.ROLE, "closing", epoch=8), partition)
    assert len(feed) == 1
    assert feed.is_void(Held(lead_id="any lead at all"))


def test_what_no_grant_can_outlive_is_forgotten() -> None:
    feed = RevocationFeed(1)
    for number in range(100):
        feed.observe(revocation(RevocationScope.GRANT, f"grant-{number}", at=NOW + number), 0)
    feed.observe(heartbeat(NOW + MAX_GRANT_LIFETIME_US), 0)
    assert len(feed) == 100
    feed.observe(heartbeat(NOW + MAX_GRANT_LIFETIME_US + 2 * 3600 * SECOND), 0)
    assert len(feed) == 0


def test_a_cut_off_that_was_renewed_is_kept_from_its_renewal() -> None:
    feed = RevocationFeed(1)
    renewed = NOW + MAX_GRANT_LIFETIME_US
    feed.observe(revocation(RevocationScope.LEAD, "lead-1", epoch=4), 0)
    feed.observe(revocation(RevocationScope.LEAD, "lead-1", epoch=5, at=renewed), 0)
    feed.observe(heartbeat(renewed + 2 * 3600 * SECOND), 0)
    assert feed.is_void(Held(epoch=4))


def test_cut_offs_of_agents_roles_and_policies_are_never_forgotten() -> None:
    feed = RevocationFeed(1)
    feed.observe(revocation(RevocationScope.ROLE, "closing", epoch=9), 0)
    feed.observe(heartbeat(NOW + 100 * MAX_GRANT_LIFETIME_US), 0)
    assert feed.is_void(Held())


def test_a_partition_with_an_unreadable_record_is_not_known_any_longer() -> None:
    feed = RevocationFeed(2)
    feed.observe(heartbeat(NOW), 0)
    feed.observe(heartbeat(NOW), 1)
    feed.lose(0, ValueError("not Avro"))
    feed.observe(heartbeat(NOW + SECOND), 0)
    assert (feed.as_of(0), feed.as_of(1)) == (None, NOW)


def test_a_feed_whose_reader_failed_is_known_nowhere() -> None:
    feed = RevocationFeed(3)
    for partition in range(3):
        feed.observe(heartbeat(NOW), partition)
    feed.lose_all(RuntimeError("the brokers are gone"))
    assert [feed.as_of(partition) for partition in range(3)] == [None, None, None]


# Values of Kafka's own test, `UtilsTest.testMurmur2`, as signed 32-bit integers.
MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("key", MURMUR2)
def test_a_lead_is_on_the_partition_that_java_clients_choose(key: str) -> None:
    for partitions in (1, 3, 4, 1024):
        assert partition_of(key, partitions) == (MURMUR2[key] & 0x7FFFFFFF) % partitions


SCOPES = [scope for scope in RevocationScope if scope is not RevocationScope.HEARTBEAT]
SUBJECTS = {
    RevocationScope.GRANT: ["grant-1", "grant-2"],
    RevocationScope.LEAD: ["lead-1", "lead-2"],
    RevocationScope.AGENT: ["closer-1", "closer-2"],
    RevocationScope.ROLE: ["closing", "booking"],
    RevocationScope.POLICY: ["policy-1", "policy-2"],
}
revocations = st.sampled_from(SCOPES).flatmap(
    lambda scope: st.builds(
        lambda subject, epoch: revocation(scope, subject, epoch=epoch),
        st.sampled_from(SUBJECTS[scope]),
        st.integers(0, 5),
    )
)


def names(found: Revocation, held: Held) -> bool:
    """The rule in one line each, over the whole list: the oracle."""
    subject = {
        RevocationScope.LEAD: held.lead_id,
        RevocationScope.AGENT: held.agent_id,
        RevocationScope.ROLE: held.role,
        RevocationScope.POLICY: held.policy_digest,
    }.get(found.scope)
    if found.scope is RevocationScope.GRANT:
        return found.subject == held.grant_id
    issued_at = held.epoch if found.scope is RevocationScope.LEAD else held.revision
    return found.subject == subject and issued_at < found.epoch


@given(st.lists(revocations, max_size=12), st.integers(0, 5), st.integers(0, 5))
def test_a_grant_is_void_when_and_only_when_some_revocation_names_it(
    seen: list[Revocation], epoch: int, revision: int
) -> None:
    feed, held = RevocationFeed(1), Held(epoch=epoch, revision=revision)
    for found in seen:
        feed.observe(found, 0)
    assert (feed.is_void(held) is not None) == any(names(found, held) for found in seen)
