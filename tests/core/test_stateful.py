"""The invariants of the design hold at every entry of journals drawn by chance: see `tests/core/simulation`.

Journals are reordered and repeated, entries come late, clocks go back, workers die between any two writes, two own a
partition. Each world is folded by an owner whom nothing disturbs, and by owners who die; their bytes must agree.
"""

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from processors import checks, grants, judge
from schemas.records import Verdict
from tests.core.simulation.moves import Move, draw
from tests.core.simulation.owners import Broken
from tests.core.simulation.world import World

STEPS = 10_000
A_WORLD = 50
"""Moves in one world; every move is one or more entries."""
SEEN: Counter[str] = Counter()


class Machine(RuleBasedStateMachine):
    """One world. Hypothesis draws its moves, and shrinks them when an invariant breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(leads=st.integers(1, 3), partitions=st.integers(1, 2), scene=st.sampled_from(("known", "answered", "closing")))
    def begin(self, leads: int, partitions: int, scene: str) -> None:
        self.world = World(leads, partitions)
        self.world.begin(scene)

    @rule(move=st.randoms(use_true_random=False).map(draw))
    def move(self, move: Move) -> None:
        SEEN["steps"] += 1
        self.world.play(move)

    def teardown(self) -> None:
        self.world.finish()
        SEEN.update(self.world.seen)


def run(steps: int) -> None:
    worlds = settings(
        max_examples=steps // A_WORLD + 1, stateful_step_count=A_WORLD, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(Machine, settings=worlds)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_invariant_holds_after_each_of_ten_thousand_steps() -> None:
    SEEN.clear()
    while SEEN["steps"] < STEPS:
        run(STEPS - SEEN["steps"])
    assert SEEN["steps"] >= STEPS
    print(SEEN)
