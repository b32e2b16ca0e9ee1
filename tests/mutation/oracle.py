"""Is a mutant that no test noticed dangerous? The same journals are played with it and without it.

A mutant is dangerous when on some journal the first entry that is answered otherwise is answered with a PERMIT where
the unchanged source gives none, or leaves a grant in force that it revokes. After the first difference the two go
different ways, and what differs later is a consequence: who was refused once leaves room for another.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from deploy.commands.policy_test import offline_court
from processors.draft import Output
from processors.offline import MemoryRows
from processors.partition import Partition
from processors.scenarios.document import load_directory
from processors.scenarios.runner import _begin, _play
from schemas.records import Decision, JournalEntry, Revocation, RevocationScope, Verdict
from tests.core.decision_table import BUNDLE
from tests.core.simulation.moves import draw
from tests.core.simulation.world import Line, World
from tests.core.story import COURT
from tests.mutation.cases import PLAYED, ROOT

WORLDS = 30
MOVES = 60
SCENES = ("known", "answered", "closing")


class Answer(NamedTuple):
    """What an entry came to: permitted and otherwise answered requests, and what was revoked."""

    permits: frozenset[str]
    others: frozenset[str]
    revoked: frozenset[str]


class Journal(NamedTuple):
    """A journal and what the unchanged source makes of it."""

    name: str
    scenario: str
    entries: tuple[JournalEntry, ...]
    answers: tuple[Answer, ...]


def journals(worlds: int = WORLDS, seed: int = 0, only: str = "") -> list[Journal]:
    """Journals of scenarios (with `only` in the name) and of worlds by chance, with the unchanged source's answers."""
    found = []
    scenarios, _ = load_directory(ROOT / "tests" / "scenarios")
    for scenario in [scenario for scenario in scenarios if only in scenario.name]:
        tale = _begin(scenario, BUNDLE, offline_court())
        _play(scenario, tale)
        found.append(
            (f"scenario {scenario.name}", f"{scenario.file} {scenario.name}", tuple(told.entry for told in tale.told))
        )
    found += [(f"world {number}", "", _drawn(Random(number))) for number in range(seed, seed + worlds)]
    return [Journal(*one, answers=tuple(play(one[2], one[1]))) for one in found]


class _Line(Line):
    """A journal that is only folded. What must hold of it is checked by test_stateful."""

    def append(self, entry: JournalEntry) -> list[Output]:
        self.journal.append(entry)
        return self.first.apply(entry, len(self.journal) - 1)

    def check(self, entry: JournalEntry, outputs: list[Output]) -> None:
        """Nothing is checked here."""


_OF_OWNERS = ("flush", "crash", "fork", "stale")
"""Moves that trouble the owners of a partition and leave the journal as it is."""


def _drawn(random: Random) -> tuple[JournalEntry, ...]:
    world = World(random.choice((1, 1, 2)), 1)
    world.lines = [_Line()]
    world.begin(random.choice(SCENES))
    for move in (draw(random) for _ in range(MOVES)):
        if move.word not in _OF_OWNERS:
            world.play(move)
    return tuple(world.lines[0].journal)


def play(entries: tuple[JournalEntry, ...], scenario: str) -> list[Answer]:
    """What each entry of a journal comes to."""
    partition = Partition(0, MemoryRows(), offline_court() if scenario else COURT)
    return [_answer(partition.apply(entry, offset)) for offset, entry in enumerate(entries)]


def _answer(outputs: Iterable[Output]) -> Answer:
    values = [output.value for output in outputs]
    decisions = [value for value in values if isinstance(value, Decision)]
    revoked = [v.subject for v in values if isinstance(v, Revocation) and v.scope is RevocationScope.GRANT]
    return Answer(
        frozenset(d.request_id for d in decisions if d.verdict is Verdict.PERMIT),
        frozenset(d.request_id for d in decisions if d.verdict is not Verdict.PERMIT),
        frozenset(revoked),
    )


def danger(known: list[Journal]) -> str:
    """What the source, as it is in this process, permits on some journal and should not; empty when nothing.

    Scenarios that were played as cases are not played again; the others do not run through what is changed.
    """
    for journal in known:
        if journal.scenario and PLAYED and journal.scenario not in PLAYED:
            continue
        played = PLAYED.get(journal.scenario)
        now = play(journal.entries, journal.scenario) if played is None else list(map(_answer, played))
        found = _first_difference(journal.answers, now)
        if found:
            return f"{journal.name}, {found}"
    return ""


def _first_difference(before: Sequence[Answer], now: Sequence[Answer]) -> str:
    """What is permitted or kept by the first entry that is answered otherwise; empty when it only restrains."""
    for offset, (was, answer) in enumerate(zip(before, now, strict=False)):
        if answer.permits - was.permits:
            return f"entry {offset}: permits {', '.join(sorted(answer.permits - was.permits))}"
        if was.revoked - answer.revoked:
            return f"entry {offset}: keeps {len(was.revoked - answer.revoked)} grants"
        if was != answer:
            return ""
    return ""
