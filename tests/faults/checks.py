"""The checks on a history: each is a function that answers what it found wrong.

`tests/faults/test_checks.py` feeds each one histories that it must refuse.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from schemas.catalogue import TOPICS
from tests.faults.history import DECISIONS, Answer, Effect, History

BOUND_S = 5.0
"""The lease: so long after a revocation could be read an effect may still happen, and no longer."""
JUMP_S = 900.0
"""Far less than a clock is put wrong by, and longer than nobody appends anything, not even ticks."""
_TIMER = b"t/"

Kind = Literal["lost", "doubled", "wrong"]


class Finding(NamedTuple):
    """One thing wrong. request_id: the request that it is about; empty when it is about none."""

    kind: Kind
    request_id: str
    text: str


Findings = Iterator[Finding]


def every_request_has_one_effective_decision(history: History) -> Findings:
    """At least one answer; a wait may end once, under the same defer; nothing else is a second answer.

    A wait ends with the first tick of its own partition that comes at its deadline or later.
    """
    answers: dict[str, list[Answer]] = defaultdict(list)
    for answer in history.answers:
        if not answer.is_conflict:
            answers[answer.request_id].append(answer)
    for request in history.notes.requests:
        found = answers.get(request, [])
        ends = [answer for answer in found if answer.verdict != "DEFER"]
        waits = [answer for answer in found if answer.verdict == "DEFER"]
        if not found:
            yield Finding("lost", request, f"request {request} has no decision")
        elif len(ends) > 1 or len(waits) > 1:
            yield Finding("doubled", request, f"request {request} has {len(ends)} ends and {len(waits)} defers")
        elif ends and waits and ends[0].defer_id != waits[0].defer_id:
            yield Finding("doubled", request, f"request {request} waits as one defer and ends as another")
        elif not ends and waits[0].deadline <= history.ticked.get(history.journalled.get(request, -1), 0):
            yield Finding("lost", request, f"request {request} waits past its deadline")


def every_acknowledged_request_is_in_the_journal(history: History) -> Findings:
    for request in history.notes.requests:
        if request not in history.journalled:
            yield Finding("lost", request, f"request {request} was acknowledged and is not in the journal")


def copies_of_an_output_are_the_same_bytes(history: History) -> Findings:
    requests = {answer.decision_id: answer.request_id for answer in history.answers}
    for topic, found in history.written.items():
        for name, copies in found.items():
            if len(copies) > 1:
                request = requests.get(name, "") if topic == DECISIONS else ""
                yield Finding("doubled", request, f"{topic} {name} came in {len(copies)} versions")


def no_effect_without_its_grant(history: History) -> Findings:
    """What was done rests on a permit that the log holds, and on that permit's grant."""
    permits = {answer.decision_id: answer for answer in history.answers if answer.verdict == "PERMIT"}
    for effect in history.effects:
        permit = permits.get(effect.decision_id)
        if permit is None:
            yield Finding("wrong", "", f"{effect.where} did {effect.name} without a permit in the log")
        elif not effect.grant_id or permit.grant_id != effect.grant_id:
            yield Finding("wrong", permit.request_id, f"{effect.where} did {effect.name} under another grant")


def no_effect_happens_twice(history: History) -> Findings:
    requests = {answer.decision_id: answer.request_id for answer in history.answers}
    by_grant: dict[tuple[str, str], list[Effect]] = defaultdict(list)
    for effect in history.effects:
        by_grant[effect.where, effect.grant_id].append(effect)
    for (where, grant), effects in by_grant.items():
        if len(effects) > 1:
            request = requests.get(effects[0].decision_id, "")
            yield Finding("doubled", request, f"{where} acted {len(effects)} times on grant {grant}")


def no_effect_comes_after_its_revocation(history: History) -> Findings:
    """Later than BOUND_S after the revocation could be read in the log."""
    answers = {answer.grant_id: answer for answer in history.answers if answer.grant_id}
    for effect in history.effects:
        answer = answers.get(effect.grant_id)
        known = [history.notes.revoked[effect.grant_id]] if effect.grant_id in history.notes.revoked else []
        if answer is not None:
            known += [at for epoch, at in history.notes.cut_off.get(answer.lead_id, ()) if answer.epoch < epoch]
        if known and effect.at > min(known) + BOUND_S:
            late = effect.at - min(known)
            request = answer.request_id if answer else ""
            yield Finding("wrong", request, f"{effect.where} did {effect.name} {late:.1f} s after its revocation")


def outputs_equal_the_fold_of_the_journal(history: History) -> Findings:
    """Nothing else was written, and, where a topic is not compacted, nothing is missing."""
    requests = {answer.decision_id: answer.request_id for answer in history.answers}
    for topic in sorted(set(history.written) | set(history.folded)):
        if "control" not in TOPICS[topic].writers:
            continue
        written, folded = history.written.get(topic, {}), history.folded.get(topic, {})
        allowed = folded | history.folded_later.get(topic, {})
        for name, copies in written.items():
            if name not in allowed:
                yield Finding("wrong", requests.get(name, ""), f"{topic} {name} is not in the fold")
            elif set(copies) != {allowed[name]}:
                yield Finding("wrong", requests.get(name, ""), f"{topic} {name} is not what the fold gives")
        if TOPICS[topic].cleanup == "delete":
            for name in folded.keys() - written.keys():
                yield Finding("lost", "", f"{topic} {name} is in the fold and was not written")


def state_equals_the_fold_of_the_journal(history: History) -> Findings:
    """The changelog's last row of each key, byte for byte. A timer may stand too early, never too late."""
    for number in sorted(set(history.rows) | set(history.model_rows)):
        rows, model = history.rows.get(number, {}), history.model_rows.get(number, {})
        for key in sorted(rows.keys() | model.keys()):
            have, want = rows.get(key), model.get(key)
            if have == want or (key.startswith(_TIMER) and _in_time(have, want)):
                continue
            state = "is missing" if have is None else "should not be there" if want is None else "differs"
            yield Finding("lost" if have is None else "wrong", "", f"row {key!r} of partition {number} {state}")


def every_entry_was_applied(history: History) -> Findings:
    """Ticks may stand behind the last entry applied: they go on while a worker ends."""
    for place in history.unapplied:
        yield Finding("lost", "", f"journal entry {place.partition}@{place.offset} was not applied")


def _in_time(have: bytes | None, want: bytes | None) -> bool:
    never = 1 << 62
    return int(have or never) <= int(want or never)


def the_journal_has_no_gap(history: History) -> Findings:
    for number, offsets in history.journal.items():
        for before, after in pairwise(offsets):
            if after != before + 1:
                yield Finding("lost", "", f"journal partition {number}: {after} follows {before}")


def no_wrong_clock_reached_the_journal(history: History) -> Findings:
    """Entries bear the time of whoever appended them; no outage of a run lasts as long as JUMP_S."""
    for number, times in history.stamped.items():
        for before, after in pairwise(times):
            apart = abs(after - before) / 1_000_000
            if apart > JUMP_S:
                text = f"journal partition {number}: an entry is stamped {apart:.0f} s apart from the one before"
                yield Finding("wrong", "", text)


def every_crm_write_is_answered_once(history: History) -> Findings:
    requests = {answer.decision_id: answer.request_id for answer in history.answers}
    counted: tuple[tuple[str, Counter[str]], ...] = (("stored", history.stored), ("answered", history.results))
    for update, decision in history.updates.items():
        request = requests.get(decision, "")
        for what, found in counted:
            if found[update] != 1:
                kind: Kind = "doubled" if found[update] else "lost"
                yield Finding(kind, request, f"write {update} was {what} {found[update]} times")
    for what, found in counted:
        for update in found.keys() - history.updates.keys():
            yield Finding("wrong", "", f"write {update} was {what} and never asked for")


def every_poison_record_is_one_dead_letter(history: History) -> Findings:
    for place in history.notes.poison:
        found = history.letters.get(place, set())
        if len(found) != 1:
            where = f"{place.topic}[{place.partition}]@{place.offset}"
            yield Finding("doubled" if found else "lost", "", f"{where} became {len(found)} dead letters")


def the_audit_has_no_gap(history: History) -> Findings:
    if not history.audit.get("complete"):
        topics = history.audit.get("topics", {})
        gaps = [f"{name}: {t['missing']} missing" for name, t in topics.items() if t["missing"] or t["doubled"]]
        yield Finding("lost", "", f"the audit is not complete ({', '.join(gaps) or 'it was not looked at'})")
    if history.audit.get("doubled"):
        yield Finding("doubled", "", f"the audit holds {history.audit['doubled']} records twice")


CHECKS: tuple[Callable[[History], Findings], ...] = (
    every_request_has_one_effective_decision,
    every_acknowledged_request_is_in_the_journal,
    copies_of_an_output_are_the_same_bytes,
    no_effect_without_its_grant,
    no_effect_happens_twice,
    no_effect_comes_after_its_revocation,
    outputs_equal_the_fold_of_the_journal,
    state_equals_the_fold_of_the_journal,
    every_entry_was_applied,
    the_journal_has_no_gap,
    no_wrong_clock_reached_the_journal,
    every_crm_write_is_answered_once,
    every_poison_record_is_one_dead_letter,
    the_audit_has_no_gap,
)


def check(history: History) -> dict[str, list[Finding]]:
    """What each check found, by its name in words."""
    return {one.__name__.replace("_", " "): list(one(history)) for one in CHECKS}
