"""The model that the checker holds a run against: what it says of timers."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.partition import LEAD_PREFIX, TIMER_PREFIX
from schemas.records import LeadId
from tests.benchmarks.workload import Lead
from tests.faults.checks import state_equals_the_fold_of_the_journal
from tests.faults.history import History, Model, court_of
from tests.topology.worker_process import entry_of

LEAD, TIMER = LEAD_PREFIX + b"lead-1", TIMER_PREFIX + b"lead-1"
SECOND = 1_000_000


def modelled() -> tuple[History, int, int]:
    """A call, and an event 20 s later that puts its end off; when the call would have ended at first, and now."""
    history, key = History(), Ed25519PrivateKey.from_private_bytes(b"a key of these tests, no secret!")
    model = Model(0, court_of(key, key.public_key()), history, applied=1)
    events = [step for step in Lead(LeadId("lead-1"), 1, "Etc/UTC").opening() if step(0).topic == "telephony.events"]
    for offset, at in enumerate((1_000 * SECOND, 1_020 * SECOND)):
        model.take(entry_of(events[offset](at).value, at, offset), offset)
    undisturbed = int(model._rows.rows[TIMER])
    return history, undisturbed, int(history.model_rows[0][TIMER])


def test_a_timer_may_stand_where_its_lead_s_row_says_though_the_undisturbed_fold_still_has_it_earlier() -> None:
    history, undisturbed, due = modelled()
    assert due == undisturbed + 20 * SECOND
    for stands, findings in ((0, 0), (undisturbed, 0), (due, 0), (due + 1, 1)):
        history.rows = {0: {**history.model_rows[0], TIMER: str(stands).encode()}}
        assert len(list(state_equals_the_fold_of_the_journal(history))) == findings, stands


def test_a_timer_that_is_missing_is_a_finding() -> None:
    history, _, _ = modelled()
    history.rows = {0: {LEAD: history.model_rows[0][LEAD]}}
    kinds = [finding.kind for finding in state_equals_the_fold_of_the_journal(history)]
    assert "lost" in kinds
