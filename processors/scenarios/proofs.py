"""What every scenario must show without being asked: cheap invariants of the outputs, and a replay of the journal."""

from collections.abc import Iterator

from processors.offline import MemoryRows
from processors.partition import Partition
from processors.scenarios.tale import Tale, Told
from schemas.codec import decode, encode
from schemas.records import CriterionName, Decision, JournalEntry, ReasonCode, Verdict


def broken(tale: Tale) -> Iterator[str]:
    """Sentences about what does not hold; none when all does."""
    for request_id, request in tale.requests().items():
        all_answers = tale.decisions(request_id)
        answers = [d for d in all_answers if not _is_to_another(d)] or all_answers[:1]
        state = tale.state(request.lead_id)
        waits = any(d.request.request_id == request_id for d in (state.deferrals if state else ()))
        yield from (f"request {request_id}: {problem}" for problem in problems(answers, waits=waits))
    for decision in tale.of(Decision):
        yield from (f"a decision on {decision.request_id}: {problem}" for problem in faults(decision))
    yield from replay(tale)


_TO_ANOTHER = (ReasonCode.REQUEST_CONFLICT, ReasonCode.IDENTITY_UNPROVEN)


def _is_to_another(decision: Decision) -> bool:
    """The answer to another request under an id that is taken, or to one that its agent is not shown to have sent."""
    return decision.defer is None and any(r.code in _TO_ANOTHER for c in decision.criteria for r in c.reasons)


def problems(answers: list[Decision], *, waits: bool) -> Iterator[str]:
    """What is wrong with all answers to one request. waits: it is among the lead's deferrals now."""
    final = [answer for answer in answers if answer.verdict is not Verdict.DEFER]
    if not answers:
        yield "it was never answered"
    elif len(final) + waits != 1:
        yield f"{len(final)} final decisions, and it {'still waits' if waits else 'waits no more'}; one of them is due"
    if final and answers[-1] is not final[-1]:
        yield "it was deferred after its final decision"
    if len({answer.defer.defer_id for answer in answers if answer.defer}) > 1:
        yield "it waited under more than one defer_id"


def faults(decision: Decision) -> Iterator[str]:
    """What is wrong with one decision on its own."""
    if [criterion.name for criterion in decision.criteria] != list(CriterionName):
        yield "not all three criteria are reported"
    if decision.verdict is Verdict.PERMIT:
        failing = [c.name.value for c in decision.criteria if c.verdict is not Verdict.PERMIT]
        if failing:
            yield f"PERMIT although {', '.join(failing)} does not hold"
        if not decision.grant or not decision.grant_id:
            yield "PERMIT without a grant"
    elif decision.grant or decision.grant_id:
        yield f"{decision.verdict} with a grant"
    if decision.verdict is Verdict.DEFER and (decision.defer is None or decision.defer.deadline <= decision.at):
        yield "DEFER without a deadline ahead of it"


def replay(tale: Tale) -> Iterator[str]:
    """Folds the journal once more, as read back from its bytes; the outputs must be the same bytes."""
    partition = Partition(0, MemoryRows(), tale.court)
    for offset, told in enumerate(tale.told):
        again = partition.apply(decode(JournalEntry, encode(told.entry)), offset)
        before = [(output.id, output.key, encode(output.value)) for output in told.outputs]
        if before != [(output.id, output.key, encode(output.value)) for output in again]:
            yield f"replayed, entry {offset} ({_said(told)}) gives other bytes"
            return


def _said(told: Told) -> str:
    return told.entry.kind.value
