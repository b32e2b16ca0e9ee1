"""How far control is behind gets into the entries of requests, and of nothing else."""

import time

import pytest

from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.headers import Headers
from schemas.partitioner import partition_of
from schemas.records import AgentId, AgentRequest, Channel, JournalEntry, LeadId, Record, RequestId
from streams.admission import Admission
from streams.behind import TOPIC, Behind, follow_control
from streams.clock import Clock, DrivenClock, SystemClock
from streams.directory import CallDirectory
from streams.kafka import Consumed, make_producer
from streams.metrics import intake as metrics
from streams.offsets import Receipt
from streams.sender import Sender
from tests.topology.admitting import CODEC, START, S, call
from tests.topology.intake_process import eventually

LEAD = LeadId("lead-1")
HERE = partition_of(LEAD, 4)
NONE: Headers = []


def at(time_us: int) -> Clock:
    clock = DrivenClock()
    clock.observe(time_us)
    return clock


def asked() -> AgentRequest:
    return AgentRequest(
        request_id=RequestId("r1"), lead_id=LEAD, agent_id=AgentId("a"), role="booking", action="send_message",
        channel=Channel.SMS, requested_at=START,
    )  # fmt: skip


def entry_of(value: Record, behind: Behind) -> JournalEntry:
    admission = Admission(CODEC, at(START), CallDirectory(), partitions=4, wait_us=S, limit=10, behind=behind.of_lead)
    record = Consumed(TOPIC_OF[type(value)], 0, 0, None, CODEC.encode(value), [], None)
    *_, out = admission.take(record, Receipt(0))
    return CODEC.decode(JournalEntry, out.value)


def test_a_request_bears_how_far_control_is_behind_in_its_partition():
    behind = Behind(at(START), 4, S // 2)
    for partition in range(4):
        behind.told(partition, START - 7 * S if partition == HERE else START)
    assert entry_of(asked(), behind).behind_us == 7 * S


def test_a_partition_that_is_behind_delays_no_request_of_another():
    behind = Behind(at(START), 4, S // 2)
    for partition in range(4):
        behind.told(partition, START if partition == HERE else START - 7 * S)
    assert entry_of(asked(), behind).behind_us == 0


def test_an_event_bears_no_measure():
    behind = Behind(at(START), 4, S // 2)
    behind.told(HERE, START - 7 * S)
    assert entry_of(call("e1", lead=LEAD), behind).behind_us == 0


@pytest.mark.parametrize(("age_us", "measure"), [(0, 0), (S // 2, 0), (S // 2 + 1000, S // 2 + 1000), (-S, 0)])
def test_the_usual_age_of_a_heartbeat_is_no_lag(age_us: int, measure: int):
    behind = Behind(at(START), 4, S // 2)
    behind.told(HERE, START - age_us)
    assert behind.of_lead(LEAD) == measure


def test_where_control_never_ran_nothing_is_late():
    assert Behind(at(START), 4, 0).each() == dict.fromkeys(range(4), 0)


def test_a_heartbeat_of_an_older_owner_takes_nothing_back():
    behind = Behind(at(START), 4, 0)
    behind.told(HERE, START - S)
    behind.told(HERE, START - 9 * S)
    assert behind.of_lead(LEAD) == S


def test_the_measure_of_each_partition_is_shown():
    behind = Behind(at(START), 2, 0)
    behind.told(1, START - 3 * S)
    metrics.show_behind(behind.each())
    shown = [metrics.REGISTRY.get_sample_value(metrics.BEHIND._name, {"partition": number}) for number in "01"]
    assert shown == [0, 3]


@pytest.mark.broker
def test_the_newest_record_of_the_feed_is_found_and_followed(stack: Settings) -> None:
    sender = Sender(make_producer(stack))

    def beat(age_s: float) -> None:
        now_ms = time.time_ns() // 1_000_000
        sender.send(TOPIC, b"any", key=f"HEARTBEAT:{HERE}", partition=HERE, timestamp_ms=now_ms - round(age_s * 1000))
        sender.flush()

    beat(900)
    beat(8)
    behind = follow_control(stack, SystemClock(), stack.partitions)
    try:
        assert 8 * S <= eventually(lambda: behind.of_partition(HERE)) < 60 * S
        assert not any(late for number, late in behind.each().items() if number != HERE)
        beat(0)
        assert eventually(lambda: behind.of_partition(HERE) == 0)
    finally:
        behind.close()


@pytest.mark.broker
def test_under_a_driven_clock_nobody_is_late(stack: Settings) -> None:
    sender = Sender(make_producer(stack))
    sender.send(TOPIC, b"any", key="k", partition=HERE, timestamp_ms=START // 1000)
    sender.flush()
    behind = follow_control(stack.model_copy(update={"clock": "driven"}), SystemClock(), stack.partitions)
    time.sleep(1)
    assert behind.of_partition(HERE) == 0
