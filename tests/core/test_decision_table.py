"""Every role x action x stage x speech mode x escalation has one verdict; permits are as reviewed, and behave in order.

What the table is, what of it is synthetic, and how a change is accepted: `tests/core/decision_table.py`.
"""

from collections.abc import Callable
from itertools import pairwise

import pytest
from msgspec import structs

from schemas.records import SpeechMode, Verdict
from tests.core import decision_table
from tests.core.decision_table import (
    BUNDLE,
    MODES,
    NO_CALL,
    NO_CASE,
    ROLES,
    SNAPSHOT,
    STAGES,
    Ask,
    Cell,
    Table,
    is_permit,
    is_whole,
)

WIDEST_FIRST = tuple(mode for mode in MODES if mode != NO_CALL)
NOBODY = ("mandate", "wizard")
SAFE = tuple(name for name, action in BUNDLE.actions.items() if action.safe)


@pytest.fixture(scope="module")
def table() -> Table:
    return decision_table.table()


# --- what must hold of the table: each answers with the cells that break it
def without_one_verdict(table: Table) -> list[Cell]:
    return [cell for cell, decisions in table.items() if len(decisions) != 1 or not is_whole(decisions[0])]


def widened_by_a_narrower_mode(table: Table) -> list[Cell]:
    return [
        cell._replace(mode=narrower)
        for wider, narrower in pairwise(WIDEST_FIRST)
        for cell in table
        if cell.mode == wider and is_permit(table[cell._replace(mode=narrower)]) and not is_permit(table[cell])
    ]


def permitted_by_a_case(table: Table) -> list[Cell]:
    return [
        c for c, decisions in table.items() if is_permit(decisions) and not is_permit(table[c._replace(case=NO_CASE)])
    ]


def safe_actions_lost_by_a_later_stage(table: Table) -> list[Cell]:
    return [
        cell._replace(stage=later)
        for earlier, later in pairwise(STAGES)
        for cell in table
        if cell.stage == earlier and cell.ask.action in SAFE
        and is_permit(table[cell]) and not is_permit(table[cell._replace(stage=later)])
    ]  # fmt: skip


def permitted_before_their_stage(table: Table) -> list[Cell]:
    return [
        cell
        for cell, decisions in table.items()
        if is_permit(decisions) and STAGES.index(cell.stage) < STAGES.index(BUNDLE.actions[cell.ask.action].stage)
    ]


def permitted_to_nobody(table: Table) -> list[Cell]:
    unknown = [cell for cell in table if cell.role in NOBODY or cell.ask.action not in BUNDLE.actions]
    return [cell for cell in unknown if is_permit(table[cell])]


def permitted_outside_of_the_role(table: Table) -> list[Cell]:
    allowed = {(role, action) for role, envelope in BUNDLE.roles.items() for action in envelope.actions}
    return [c for c, decisions in table.items() if is_permit(decisions) and (c.role, c.ask.action) not in allowed]


HOLDS: tuple[Callable[[Table], list[Cell]], ...] = (
    without_one_verdict, widened_by_a_narrower_mode, permitted_by_a_case, safe_actions_lost_by_a_later_stage,
    permitted_before_their_stage, permitted_to_nobody, permitted_outside_of_the_role,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("broken", HOLDS, ids=lambda check: f"none_is_{check.__name__}")
def test_of_the_whole_table(broken: Callable[[Table], list[Cell]], table: Table) -> None:
    assert broken(table) == []


@pytest.mark.slow
def test_the_table_is_every_combination(table: Table) -> None:
    assert len(table) == len(ROLES) * len(decision_table.ASKS) * len(STAGES) * len(MODES) * len(decision_table.CASES)
    assert {mode for cell in table if (mode := cell.mode) != NO_CALL} == set(SpeechMode)
    assert {cell.ask.action for cell in table} > set(BUNDLE.actions)
    assert {cell.role for cell in table} > set(BUNDLE.roles)


@pytest.mark.slow
def test_permits_by_role_are_those_that_people_reviewed(table: Table) -> None:
    changed = decision_table.report(table)
    if changed:
        pytest.fail(changed, pytrace=False)


# --- bad samples
PLACE = Cell("closing", Ask("escalate"), "closing", "OPEN", NO_CASE)
PERMITTED = decision_table.decide(PLACE)
BLOCKED = decision_table.decide(PLACE._replace(role="wizard"))


def small_table() -> Table:
    """All of one ask of one role, all permitted."""
    return {cell: PERMITTED for cell in decision_table.cells() if (cell.role, cell.ask) == (PLACE.role, PLACE.ask)}


def test_a_cell_with_no_verdict_two_verdicts_or_a_broken_one_is_found() -> None:
    whole = PERMITTED[0]
    bad = {
        "none": [],
        "two": [whole, whole],
        "two criteria": [structs.replace(whole, criteria=whole.criteria[:2])],
        "a permit without a grant": [structs.replace(whole, grant=None)],
        "a permit with reasons": [structs.replace(whole, criteria=BLOCKED[0].criteria)],
        "a block without reasons": [structs.replace(whole, verdict=Verdict.BLOCK, grant=None)],
        "a defer without terms": [structs.replace(BLOCKED[0], verdict=Verdict.DEFER)],
    }
    assert without_one_verdict({PLACE: PERMITTED, PLACE._replace(role="wizard"): BLOCKED}) == []
    assert [name for name, decisions in bad.items() if without_one_verdict({PLACE: decisions}) != [PLACE]] == []


@pytest.mark.parametrize(
    ("check", "blocked", "found"),
    [
        (widened_by_a_narrower_mode, PLACE, PLACE._replace(mode="NO_COMMITMENT")),
        (permitted_by_a_case, PLACE, PLACE._replace(case="risk")),
        (safe_actions_lost_by_a_later_stage, PLACE, PLACE),
    ],
)
def test_a_permit_out_of_order_is_found(check: Callable[[Table], list[Cell]], blocked: Cell, found: Cell) -> None:
    assert check(small_table()) == []
    assert found in check({**small_table(), blocked: BLOCKED})


@pytest.mark.parametrize(
    ("check", "cell"),
    [
        (permitted_before_their_stage, PLACE._replace(ask=Ask("discuss_price"), stage="transfer")),
        (permitted_to_nobody, PLACE._replace(role="mandate")),
        (permitted_to_nobody, PLACE._replace(ask=Ask("sell_the_moon"))),
        (permitted_outside_of_the_role, PLACE._replace(ask=Ask("initiate_contact"))),
    ],
)
def test_a_permit_that_nobody_may_have_is_found(check: Callable[[Table], list[Cell]], cell: Cell) -> None:
    assert check({PLACE: PERMITTED, cell: PERMITTED}) == [cell]


def test_the_snapshot_tells_role_action_and_both_counts_when_it_does_not_agree() -> None:
    reviewed = decision_table.read(SNAPSHOT.read_text(encoding="utf-8"))
    count = reviewed["action"]["escalate", "closing"]
    assert count > 0
    changed = {**reviewed, "action": {**reviewed["action"], ("escalate", "closing"): count + 1}}
    assert decision_table.differences(reviewed, changed) == [
        f"role closing, action escalate: from {count} to {count + 1}"
    ]
    assert decision_table.read(decision_table.render(changed)) == changed
    assert "--write" in decision_table.report({PLACE: PERMITTED})
