"""Intake ends at a stated rate of dead letters from one input partition, and loses nothing by it."""

import re
from pathlib import Path

import pytest

from deploy.settings import Settings
from schemas.records import DeadLetterCode
from streams import BadInput
from streams.dead_letter_rate import MINUTE_US, DeadLetterRate
from streams.kafka import Consumed
from streams.offsets import Place
from streams.registry import connect
from tests.topology.admitting import START, Desk, S, call, journaled
from tests.topology.intake_process import Topics, eventually, intake_process, unique

BAD = b"no avro"


def bad(desk: Desk, *, after_s: float = 0, partition: int = 0) -> list[str]:
    """Topics of what becomes of a bad record."""
    desk.clock.observe(START + round(after_s * S))
    return [out.topic for out in desk.take(BAD, partition=partition)]


def test_as_many_as_stated_are_set_aside_and_one_more_within_the_minute_ends_the_process():
    desk = Desk(dead_letter_limit=3)
    assert [bad(desk, after_s=second) for second in (0, 20, 59)] == [["dead.letters"]] * 3
    with pytest.raises(BadInput):
        bad(desk, after_s=59.999)
    assert desk.receipts[-1].holds == 1, "the record that was one too many must stay uncommitted"


def test_a_minute_later_there_is_room_for_another():
    desk = Desk(dead_letter_limit=3)
    for second in (0, 20, 59, 60, 80):
        assert bad(desk, after_s=second) == ["dead.letters"]
    with pytest.raises(BadInput):
        bad(desk, after_s=118.9)


def test_good_records_are_not_counted():
    desk = Desk(dead_letter_limit=1)
    assert bad(desk) == ["dead.letters"]
    assert journaled([out for n in range(5) for out in desk.take(call(f"e{n}", lead="lead-1"))]) == [
        "e0", "e1", "e2", "e3", "e4",
    ]  # fmt: skip


def test_each_partition_has_a_count_of_its_own():
    desk = Desk(dead_letter_limit=2)
    assert [bad(desk, partition=number) for number in (0, 1, 0, 1)] == [["dead.letters"]] * 4
    with pytest.raises(BadInput, match=r"telephony\.events/1 "):
        bad(desk, partition=1)


def test_what_waited_in_vain_for_its_lead_counts_too():
    desk = Desk(dead_letter_limit=1)
    for number in range(2):
        desk.take(call(f"e{number}", call_id=f"CA{number}"))
    desk.clock.observe(START + MINUTE_US)
    with pytest.raises(BadInput, match="UNRESOLVED_LEAD"):
        desk.admission.expire()


def test_a_partition_that_was_given_up_begins_anew_when_it_comes_back():
    desk = Desk(dead_letter_limit=1)
    bad(desk)
    desk.admission.forget({Place("telephony.events", 0)})
    assert bad(desk) == ["dead.letters"]


def test_without_a_limit_all_are_set_aside():
    desk = Desk(dead_letter_limit=0)
    assert {tuple(bad(desk)) for _ in range(2_000)} == {("dead.letters",)}


def test_the_line_says_where_how_many_why_and_what_to_do_and_passes_no_control_characters_on():
    rate = DeadLetterRate(1_000)
    record = Consumed("agent.requests", 2, 4711, None, BAD, [], None)
    for number in range(1_000):
        rate.note(record, DeadLetterCode.NOT_AVRO, "first", START + number * 12_000)
    with pytest.raises(BadInput) as raised:
        rate.note(record, DeadLetterCode.BAD_VALUE, "no \x1b[31m\nprice" + "!" * 9_999, START + 12 * S)
    line = str(raised.value)
    assert line.startswith("agent.requests/2 gave 1,001 dead letters in 12.0 s, more than the 1,000 a minute")
    assert "BAD_VALUE at offset 4711: no  [31m price!" in line
    assert "mandate dead-letters list --topic agent.requests --summary" in line
    assert "MANDATE_DEAD_LETTER_LIMIT" in line
    assert line.isprintable()
    assert len(line) < 1_000


@pytest.mark.broker
def test_intake_ends_with_65_and_what_lay_behind_is_taken_once_the_limit_is_lifted(
    stack: Settings, tmp_path: Path
) -> None:
    topics, lead, log = Topics(stack, connect(stack)), unique("lead"), tmp_path / "intake.log"
    with intake_process(stack.model_copy(update={"dead_letter_limit": 3}), log) as process:
        for number in range(5):
            topics.sender.send("telephony.events", BAD + b"%d" % number, key="any", partition=0)
        topics.put(call("e1", lead=lead, call_id=lead), partition=0)
        assert process.wait(60) == BadInput.exit_code == 65
    (line,) = re.findall(r"mandate: telephony\.events/0 gave 4 dead letters in .*", log.read_text())
    assert "at offset 3: " in line
    assert topics.events_of(lead) == []
    assert topics.lag() == 3
    with intake_process(stack.model_copy(update={"dead_letter_limit": 0}), tmp_path / "again.log"):
        assert eventually(lambda: topics.events_of(lead)) == ["e1"]
    letters = {letter.dead_letter_id: letter.value for _, letter in topics.dead_letters()}
    assert sorted(letters.values(), key=str) == [BAD + b"%d" % number for number in range(5)]
