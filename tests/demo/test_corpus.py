"""The sample corpus, judged by the real core in memory: every kind is there, and what is claimed of it holds."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from deploy.demo import claims
from deploy.demo.cast import Lead, make_cast
from deploy.demo.gather import EVENT_TOPICS
from deploy.demo.kinds import KINDS
from deploy.demo.office import ROLES, Tally
from deploy.demo.play import Play
from deploy.demo.scripts import SCRIPTS
from schemas.records import TimeUs
from tests.demo.memory import Memory

HOUR_US = 3_600_000_000


def give(cast: Sequence[Lead]) -> tuple[Memory, list[TimeUs], Tally]:
    """A performance in memory: what came of it, and the moments that journal time stood at."""
    memory, moments, tally = Memory(), list[TimeUs](), Tally()
    play = Play(memory, cast, tally, moments.append)
    asyncio.run(play.give(memory.client(play.now)))
    return memory, moments, tally


def few(seed: int = 1) -> list[Lead]:
    """Two leads of each kind."""
    return [lead for lead in make_cast(seed) if lead.number < 2]


@pytest.fixture(scope="module")
def whole() -> tuple[Memory, list[TimeUs], Tally]:
    return give(make_cast())


@pytest.fixture(scope="module")
def people() -> dict[str, Lead]:
    return {lead.lead_id: lead for lead in make_cast()}


def test_every_kind_has_a_script_and_a_claim() -> None:
    names = {kind.name for kind in KINDS}
    assert set(SCRIPTS) == names == set(claims.CLAIMS)


def test_there_are_300_leads_and_10_000_events_over_several_hours(
    whole: tuple[Memory, list[TimeUs], Tally], people: dict[str, Lead]
) -> None:
    memory, moments, tally = whole
    events = sum(topic in EVENT_TOPICS for _, topic, _, _ in memory.inputs)
    assert len(people) >= 300
    assert events >= 10_000
    assert tally.verdicts.total() >= 2_500
    assert moments[-1] - moments[0] > 3 * HOUR_US


def test_about_half_of_the_call_events_come_as_raw_webhooks(whole: tuple[Memory, list[TimeUs], Tally]) -> None:
    by_topic = Counter(topic for _, topic, _, _ in whole[0].inputs)
    raw, typed = by_topic["perception.raw"], by_topic["telephony.events"] + by_topic["transcription.events"]
    assert 0.3 < raw / (raw + typed) < 0.7


def test_every_claim_holds(whole: tuple[Memory, list[TimeUs], Tally], people: dict[str, Lead]) -> None:
    memory, _, tally = whole
    assert claims.failures(memory.evidence, people) == {}
    assert claims.malformed_failures(memory.evidence) == []
    assert tally.unanswered == []


def test_every_request_is_decided_and_every_defer_ends(whole: tuple[Memory, list[TimeUs], Tally]) -> None:
    evidence = whole[0].evidence
    assert evidence.undecided() == []
    assert evidence.open_defers() == []


def test_no_claim_holds_of_a_lead_that_nothing_is_known_of(people: dict[str, Lead]) -> None:
    for lead in people.values():
        if lead.number == 0:
            empty = claims.LeadEvidence(lead.lead_id)
            assert claims.CLAIMS[lead.kind.name](empty, lead), lead.kind.name


def test_all_four_roles_are_permitted_something(whole: tuple[Memory, list[TimeUs], Tally]) -> None:
    roles = {permit.role for lead in whole[0].evidence.leads.values() for permit in lead.permits}
    assert roles >= set(ROLES)


def test_the_same_seed_sends_the_same_bytes() -> None:
    first, second = give(few())[0], give(few())[0]
    assert first.inputs == second.inputs


def test_another_seed_sends_other_bytes() -> None:
    assert give(few(1))[0].inputs != give(few(2))[0].inputs
