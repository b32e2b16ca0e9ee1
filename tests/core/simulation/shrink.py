"""One world from a seed; when an invariant breaks in it, the fewest moves that still break it."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tests.core.simulation.moves import Move, draw
from tests.core.simulation.world import World

SCENES = ("known", "answered", "closing", "closing")
MAX_TRIES = 2_000
A_WORLD = 100
"""Moves in one world of a seed."""


class Plan(NamedTuple):
    """A world as it can be played again."""

    leads: int
    partitions: int
    scene: str
    moves: tuple[Move, ...]


class Failure(NamedTuple):
    """What broke, and the world as far as it came."""

    what: str
    world: World
    plan: Plan

    @property
    def invariant(self) -> str:
        """Name of the invariant."""
        return self.what.partition(":")[0]


class Done(NamedTuple):
    """What became of the world of a seed. what: what broke, or nothing."""

    seed: int
    what: str
    seen: Counter[str]


def plan_of(seed: int, steps: int) -> Plan:
    """The world of a seed."""
    random = Random(seed)
    leads, partitions, scene = random.randint(1, 3), random.randint(1, 2), random.choice(SCENES)
    return Plan(leads, partitions, scene, tuple(draw(random) for _ in range(steps)))


def play(plan: Plan, seen: Counter[str] | None = None) -> Failure | None:
    """Plays a world to its end; what broke, or None."""
    world = World(plan.leads, plan.partitions)
    try:
        world.begin(plan.scene)
        for move in plan.moves:
            world.play(move)
        world.finish()
    except AssertionError as error:
        return Failure(str(error), world, plan)
    if seen is not None:
        seen.update(world.seen)
    return None


def play_seed(seed: int) -> Done:
    """Plays the world of a seed."""
    seen: Counter[str] = Counter()
    failure = play(plan_of(seed, A_WORLD), seen)
    return Done(seed, failure.what if failure else "", seen)


def shrink(failure: Failure) -> Failure:
    """Leaves moves out, large pieces first, as long as the same invariant breaks."""
    size, tries = max(1, len(failure.plan.moves) // 2), 0
    while size and tries < MAX_TRIES:
        at, shorter = 0, False
        while at < len(failure.plan.moves) and tries < MAX_TRIES:
            tries += 1
            found = play(failure.plan._replace(moves=_without(failure.plan.moves, at, size)))
            if found is not None and found.invariant == failure.invariant:
                failure, shorter = found, True
            else:
                at += size
        size = size if shorter and size == 1 else size // 2
    return failure


def _without(moves: Sequence[Move], at: int, size: int) -> tuple[Move, ...]:
    return (*moves[:at], *moves[at + size :])
