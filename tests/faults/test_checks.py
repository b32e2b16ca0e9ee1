"""Each check of the history passes over a whole history and refuses a broken one."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checks import BOUND_S, CHECKS, check
from tests.faults.history import (
    DECISIONS,
    UPDATES,
    Answer,
    Effect,
    History,
    Notes,
    Place,
    read_notes,
    seconds_of,
    write_notes,
)

STATES = "execution.state"


def answer(number: int, verdict: str = "PERMIT", **changed: object) -> Answer:
    whole = Answer(
        decision_id=f"d{number}", request_id=f"r{number}", lead_id=f"lead-{number}", verdict=verdict,
        grant_id=f"g{number}" if verdict == "PERMIT" else "", epoch=0, defer_id="", deadline=0, is_conflict=False, at=1,
    )  # fmt: skip
    return whole._replace(**changed)


def whole() -> History:
    """Two permits with an effect each, one of them revoked later; a defer that ended, and one that waits."""
    history = History(notes=Notes(requests={f"r{n}": 100.0 for n in range(1, 5)}))
    history.notes.revoked["g1"] = 103.0
    history.notes.cut_off["lead-2"] = [(1, 104.0)]
    history.notes.poison.append(Place("crm.events", 0, 7))
    history.letters[Place("crm.events", 0, 7)].add("crm.events:0:7")
    history.answers = [
        answer(1),
        answer(2),
        answer(3, "DEFER", defer_id="w3", decision_id="d3a", deadline=900),
        answer(3, "BLOCK", defer_id="w3"),
        answer(4, "DEFER", defer_id="w4", deadline=2_000),
        answer(1, "BLOCK", decision_id="d1-again", is_conflict=True),
    ]
    history.effects = [Effect("crm", "u1", "d1", "g1", 102.0), Effect("agent", "a2", "d2", "g2", 104.0 + BOUND_S - 1)]
    for one in history.answers:
        history.written[DECISIONS][one.decision_id] = Counter({b"body of " + one.decision_id.encode(): 2})
        history.folded[DECISIONS][one.decision_id] = b"body of " + one.decision_id.encode()
    history.written[UPDATES]["u1"] = Counter({b"u1": 1})
    history.folded[UPDATES]["u1"] = b"u1"
    history.folded[STATES] = {"old": b"compacted away", "new": b"view"}
    history.written[STATES]["new"] = Counter({b"view": 1})
    history.folded_later[UPDATES]["u2"] = b"u2"
    history.updates, history.results, history.stored = {"u1": "d1"}, Counter({"u1": 1}), Counter({"u1": 1})
    history.journal = {0: [5, 6, 7], 1: []}
    history.stamped = {0: [10_000_000, 9_000_000, 130_000_000], 1: []}
    history.journalled, history.ticked = dict.fromkeys(history.notes.requests, 0) | {"r4": 1}, {0: 1_500, 1: 1_000}
    history.rows = {0: {b"l/lead": b"row", b"t/lead": b"10"}}
    history.model_rows = {0: {b"l/lead": b"row", b"t/lead": b"20"}}
    history.audit = {"complete": True, "doubled": 0, "topics": {}}
    return history


def decides(request: str, *answers: Answer) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.answers = [a for a in history.answers if a.request_id != request] + list(answers)

    return change


def acts(*effects: Effect) -> Callable[[History], None]:
    return lambda history: history.effects.extend(effects)


def sets(name: str, *path: object, to: object) -> Callable[[History], None]:
    """Replaces one value deep in the history."""

    def change(history: History) -> None:
        found = getattr(history, name)
        for step in path[:-1]:
            found = found[step]
        found[path[-1]] = to

    return change


ONE_DECISION = "every request has one effective decision"
FOLD = "outputs equal the fold of the journal"
STATE = "state equals the fold of the journal"
WRITES = "every crm write is answered once"
GRANT = "no effect without its grant"
LATE = "no effect comes after its revocation"
POISON = "every poison record is one dead letter"
BROKEN: list[tuple[str, str, Callable[[History], None]]] = [
    (ONE_DECISION, "lost", decides("r1")),
    (ONE_DECISION, "doubled", decides("r1", answer(1), answer(1, "BLOCK", decision_id="other"))),
    (ONE_DECISION, "doubled", decides("r4", answer(4, "DEFER"), answer(4, "DEFER", decision_id="other"))),
    (ONE_DECISION, "doubled", decides("r3", answer(3, "DEFER", defer_id="w3"), answer(3, "BLOCK", defer_id="other"))),
    (ONE_DECISION, "lost", decides("r4", answer(4, "DEFER", defer_id="w4", deadline=1_000))),
    (ONE_DECISION, "lost", decides("r1", answer(1, "BLOCK", is_conflict=True))),
    (
        "every acknowledged request is in the journal",
        "lost",
        lambda history: history.journalled.pop("r2"),
    ),
    (
        "copies of an output are the same bytes",
        "doubled",
        sets("written", DECISIONS, "d1", to=Counter({b"one": 1, b"two": 1})),
    ),
    (GRANT, "wrong", acts(Effect("agent", "a9", "d9", "g9", 101.0))),
    (GRANT, "wrong", acts(Effect("agent", "a3", "d3", "g3", 101.0))),
    (GRANT, "wrong", acts(Effect("agent", "a1", "d1", "", 101.0))),
    ("no effect happens twice", "doubled", acts(Effect("crm", "u1-again", "d1", "g1", 102.0))),
    (LATE, "wrong", acts(Effect("agent", "a1", "d1", "g1", 103.1 + BOUND_S))),
    (LATE, "wrong", acts(Effect("crm", "u2", "d2", "g2", 104.1 + BOUND_S))),
    (FOLD, "wrong", sets("written", DECISIONS, "nobody's", to=Counter({b"body": 1}))),
    (FOLD, "wrong", sets("written", DECISIONS, "d1", to=Counter({b"other": 1}))),
    (FOLD, "lost", lambda history: history.written[DECISIONS].pop("d1")),
    (STATE, "lost", lambda history: history.rows[0].pop(b"l/lead")),
    (STATE, "wrong", sets("rows", 0, b"l/lead", to=b"older row")),
    (STATE, "wrong", sets("rows", 0, b"l/nobody", to=b"row")),
    (STATE, "wrong", sets("rows", 0, b"t/lead", to=b"21")),
    (STATE, "lost", sets("model_rows", 1, to={b"l/other": b"row"})),
    ("every entry was applied", "lost", lambda history: history.unapplied.append(Place("journal", 0, 8))),
    ("the journal has no gap", "lost", sets("journal", 0, to=[5, 7])),
    ("no wrong clock reached the journal", "wrong", sets("stamped", 0, to=[10_000_000, 3_510_000_000, 3_511_000_000])),
    ("no wrong clock reached the journal", "wrong", sets("stamped", 1, to=[3_510_000_000, 10_000_000])),
    (WRITES, "lost", lambda history: history.results.clear()),
    (WRITES, "lost", lambda history: history.stored.clear()),
    (WRITES, "doubled", sets("stored", "u1", to=2)),
    (WRITES, "wrong", sets("stored", "nobody's", to=1)),
    (POISON, "lost", lambda history: history.letters.clear()),
    (POISON, "doubled", sets("letters", Place("crm.events", 0, 7), to={"one", "two"})),
    ("the audit has no gap", "lost", sets("audit", "complete", to=False)),
    ("the audit has no gap", "doubled", sets("audit", "doubled", to=1)),
]


def test_a_whole_history_passes_every_check() -> None:
    found = check(whole())
    assert len(found) == len(CHECKS)
    assert not any(found.values()), found


@pytest.mark.parametrize(("name", "kind", "damage"), BROKEN)
def test_a_broken_history_is_refused(name: str, kind: str, damage: Callable[[History], None]) -> None:
    history = whole()
    damage(history)
    assert kind in {finding.kind for finding in check(history)[name]}


def test_every_check_is_fed_a_broken_history() -> None:
    assert {name for name, _, _ in BROKEN} == set(check(whole()))


def test_a_finding_names_the_request_that_it_is_about() -> None:
    history = whole()
    decides("r1")(history)
    acts(Effect("agent", "a2-again", "d2", "g2", 105.0))(history)
    named = {finding.request_id for findings in check(history).values() for finding in findings}
    assert {"r1", "r2"} <= named


def test_an_effect_within_the_bound_and_one_of_a_later_epoch_are_no_findings() -> None:
    history = whole()
    history.answers.append(answer(5, epoch=1, lead_id="lead-2"))
    acts(Effect("agent", "a5", "d5", "g5", 500.0))(history)
    assert check(history)[LATE] == []


def test_a_wait_is_not_over_before_its_own_partition_s_tick_whatever_time_it_is_in_another() -> None:
    history = whole()
    decides("r4", answer(4, "DEFER", defer_id="w4", deadline=1_001))(history)
    assert max(history.ticked.values()) > 1_001
    assert check(history)[ONE_DECISION] == []


def test_notes_come_back_as_they_were_written(tmp_path: Path) -> None:
    notes = whole().notes
    notes.effects.append(Effect("agent", "a2", "d2", "g2", 104.5))
    write_notes(notes, tmp_path / "notes")
    assert read_notes(tmp_path / "notes") == notes


def test_times_of_the_store_are_utc_whatever_it_prints() -> None:
    for stored in ("2026-11-18 17:00:00.500000", "2026-11-18 18:00:00.500000+01:00"):
        assert seconds_of(stored) == 1_795_021_200.5
