"""What the CRM sink refuses before the effect."""

from typing import Any

import msgspec
import pytest

from agents.feed import RevocationFeed
from agents.verify import Grant, Refusal
from schemas.records import ReasonCode, RevocationScope
from sinks.crm_judge import MAX_LATE_US, NotYet, judge
from tests.sinks.support import NOON, POLICY, SECOND, Control, bench, cut_off, partition, revocation

FIELDS = {"meeting_at": "2026-05-28T15:00Z"}


@pytest.fixture
def control() -> Control:
    return Control()


def verdict(control: Control, update: Any, *, now: int = NOON, feed: RevocationFeed | None = None) -> Any:
    return judge(update, bench(control, feed=feed), now)


def refused(found: Any) -> ReasonCode:
    assert isinstance(found, Refusal), found
    assert found.message
    return found.code


def test_a_covered_write_gets_its_grant(control: Control) -> None:
    found = verdict(control, control.update(FIELDS))
    assert isinstance(found, Grant)
    assert found.grant_id == "grant-update-1"


def test_a_grant_that_names_the_crm_tool_covers_the_write_too(control: Control) -> None:
    grant = control.grant(FIELDS, lead="lead-1", tool="crm")
    assert isinstance(verdict(control, control.update(FIELDS, grant=grant, tool="crm")), Grant)
    assert refused(verdict(control, control.update(FIELDS, grant=grant))) is ReasonCode.GRANT_INVALID


def test_a_grant_signed_by_another_key_is_refused(control: Control) -> None:
    forged = Control().grant(FIELDS, lead="lead-1")
    assert refused(verdict(control, control.update(FIELDS, grant=forged))) is ReasonCode.GRANT_INVALID


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\ud800.x.y", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_is_refused_and_never_crashes(control: Control, token: str) -> None:
    update = control.update(FIELDS, grant=token or "no grant")
    assert refused(verdict(control, update)) is ReasonCode.GRANT_INVALID


@pytest.mark.parametrize(
    "changed",
    [
        {"fields": {"meeting_at": "2026-05-29T15:00Z"}},
        {"fields": FIELDS | {"availability": "never"}},
        {"lead_id": "lead-2"},
        {"agent_id": "agent-2"},
        {"role": "closing"},
        {"at": NOON + 10 * SECOND},
        {"at": NOON - 10 * SECOND},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_grant_covers_nothing_but_what_it_was_given_for(control: Control, changed: dict[str, Any]) -> None:
    update = msgspec.structs.replace(control.update(FIELDS), **changed)
    assert refused(verdict(control, update, now=update.at)) is ReasonCode.GRANT_INVALID


def test_a_grant_for_another_action_is_refused(control: Control) -> None:
    grant = control.grant(FIELDS, lead="lead-1", act="send_message")
    assert refused(verdict(control, control.update(FIELDS, grant=grant))) is ReasonCode.GRANT_INVALID


def test_a_grant_that_had_ended_at_the_updates_time_is_refused(control: Control) -> None:
    grant = control.grant(FIELDS, lead="lead-1", at=NOON - 400 * SECOND)
    assert refused(verdict(control, control.update(FIELDS, grant=grant))) is ReasonCode.GRANT_EXPIRED


def test_a_field_outside_the_role_is_refused_though_the_grant_names_it(control: Control) -> None:
    update = control.update({"deal_status": "won"})
    assert refused(verdict(control, update)) is ReasonCode.CRM_FIELD_OUTSIDE_ROLE


def test_a_role_that_the_policy_does_not_know_may_write_nothing(control: Control) -> None:
    grant = control.grant(FIELDS, lead="lead-1", role="stranger")
    update = control.update(FIELDS, grant=grant, role="stranger")
    assert refused(verdict(control, update)) is ReasonCode.CRM_FIELD_OUTSIDE_ROLE


def test_a_grant_under_a_policy_that_nobody_approved_is_refused(control: Control) -> None:
    grant = control.grant(FIELDS, lead="lead-1", pol="q" * 64)
    assert refused(verdict(control, control.update(FIELDS, grant=grant))) is ReasonCode.POLICY_UNVERIFIED


def test_a_revoked_grant_is_refused(control: Control) -> None:
    feed = RevocationFeed(4)
    feed.observe(revocation("grant-update-1", "lead-1"), partition("lead-1"))
    assert refused(verdict(control, control.update(FIELDS), feed=feed)) is ReasonCode.GRANT_REVOKED


@pytest.mark.parametrize(
    ("scope", "subject", "claim"),
    [
        (RevocationScope.LEAD, "lead-1", "epoch"),
        (RevocationScope.AGENT, "agent-1", "rev"),
        (RevocationScope.ROLE, "booking", "rev"),
        (RevocationScope.POLICY, POLICY, "rev"),
    ],
)
def test_a_write_granted_before_a_cut_off_is_refused_and_one_granted_after_it_is_made(
    control: Control, scope: RevocationScope, subject: str, claim: str
) -> None:
    feed = RevocationFeed(4)
    feed.observe(cut_off(scope, subject, 5), partition("lead-1"))
    before, after = (control.grant(FIELDS, lead="lead-1", **{claim: number}) for number in (4, 5))
    assert refused(verdict(control, control.update(FIELDS, grant=before), feed=feed)) is ReasonCode.GRANT_REVOKED
    assert isinstance(verdict(control, control.update(FIELDS, grant=after), feed=feed), Grant)


@pytest.mark.parametrize(("scope", "subject"), [(RevocationScope.LEAD, "lead-1"), (RevocationScope.POLICY, POLICY)])
def test_an_opt_out_is_written_though_lead_or_policy_were_cut_off_since(
    control: Control, scope: RevocationScope, subject: str
) -> None:
    feed = RevocationFeed(4)
    feed.observe(cut_off(scope, subject, 5), partition("lead-1"))
    fields = {"do_not_contact": "true"}
    update = control.update(fields, grant=control.grant(fields, lead="lead-1", role="mandate"), role="mandate")
    assert isinstance(verdict(control, update, feed=feed), Grant)


def test_a_write_waits_while_the_revocation_feed_is_behind_it(control: Control) -> None:
    later = NOON + 60 * SECOND
    found = judge(control.update(FIELDS, at=later), bench(control, at=NOON), later)
    assert isinstance(found, NotYet)


def test_a_forged_write_never_waits_for_the_revocation_feed(control: Control) -> None:
    later = NOON + 60 * SECOND
    forged = Control().update(FIELDS, at=later)
    found = judge(forged, bench(control, at=NOON), later)
    assert refused(found) is ReasonCode.GRANT_INVALID


def test_an_outage_of_the_sink_costs_no_write_within_a_day(control: Control) -> None:
    assert isinstance(verdict(control, control.update(FIELDS), now=NOON + MAX_LATE_US), Grant)


def test_a_write_of_an_agent_is_refused_after_a_day(control: Control) -> None:
    late = verdict(control, control.update(FIELDS), now=NOON + MAX_LATE_US + SECOND)
    assert refused(late) is ReasonCode.GRANT_EXPIRED


def test_an_opt_out_is_written_however_late(control: Control) -> None:
    fields = {"do_not_contact": "true"}
    grant = control.grant(fields, lead="lead-1", role="mandate")
    update = control.update(fields, grant=grant, role="mandate")
    assert isinstance(verdict(control, update, now=NOON + 30 * MAX_LATE_US), Grant)


@pytest.mark.parametrize(
    "changed",
    [
        {"fields": {}},
        {"external_id": ""},
        {"external_id": "x" * 201},
        {"fields": {"meeting_at": "a\0b"}},
        {"update_id": "\0"},
    ],
)
def test_what_no_store_can_hold_is_refused_and_not_tried(control: Control, changed: dict[str, Any]) -> None:
    assert (
        refused(verdict(control, msgspec.structs.replace(control.update(FIELDS), **changed)))
        is ReasonCode.PARAMETER_INVALID
    )
