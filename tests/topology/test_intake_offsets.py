"""Low-water marks: an offset is committed when everything before it is dealt with, and never earlier."""

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka import is_of_moving_group
from streams.offsets import Offsets, Place

HERE, THERE = Place("t", 0), Place("t", 1)


def test_nothing_is_committable_while_the_first_record_is_open():
    offsets = Offsets()
    first, second = offsets.received(HERE, 7), offsets.received(HERE, 8)
    second.release()
    assert offsets.take_committable() == {}
    first.release()
    assert offsets.take_committable() == {HERE: 9}
    assert offsets.take_committable() == {}


def test_partitions_do_not_wait_for_each_other():
    offsets = Offsets()
    offsets.received(HERE, 0)
    offsets.received(THERE, 4).release()
    assert offsets.take_committable() == {THERE: 5}


def test_gaps_between_offsets_are_passed():
    offsets = Offsets()
    for offset in (3, 9):
        offsets.received(HERE, offset).release()
    assert offsets.take_committable() == {HERE: 10}


def test_a_partition_that_was_given_up_is_not_committed():
    offsets = Offsets()
    receipt = offsets.received(HERE, 0)
    offsets.forget({HERE})
    receipt.release()
    assert offsets.take_committable() == {}


@settings(deadline=None)
@given(st.permutations(range(8)), st.data())
def test_the_mark_is_the_first_open_record_whatever_the_order_of_deliveries(order, data):
    offsets = Offsets()
    receipts = [offsets.received(HERE, offset) for offset in range(8)]
    committed = 0
    done: set[int] = set()
    for number in order:
        receipts[number].release()
        done.add(number)
        if data.draw(st.booleans()):
            committed = offsets.take_committable().get(HERE, committed)
            assert committed == next((n for n in range(8) if n not in done), 8)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (KafkaError.NOT_COORDINATOR, True),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, True),
        (KafkaError._TRANSPORT, True),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, False),
        (KafkaError.OFFSET_METADATA_TOO_LARGE, False),
    ],
)
def test_a_commit_is_made_again_when_the_groups_broker_changed_and_not_when_it_is_refused(code, again):
    assert is_of_moving_group(KafkaError(code)) is again
