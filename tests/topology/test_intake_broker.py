"""Intake between real input topics and the real journal."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from deploy.settings import Settings
from schemas import records
from schemas.records import DeadLetterCode
from streams import EXIT_BROKEN, Broken
from streams.kafka import make_producer
from streams.registry import connect
from streams.sender import Sender
from tests.faults.fuzz import broker as fuzz
from tests.topology.admitting import call
from tests.topology.intake_process import Topics, eventually, intake, intake_process, unique

pytestmark = pytest.mark.broker
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def topics(stack: Settings) -> Topics:
    return Topics(stack, connect(stack))


def test_an_input_reaches_the_journal_with_one_time_and_its_trace(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    with intake(stack):
        topics.put(call("e1", lead=lead, call_id=lead), headers=[("traceparent", TRACE)])
        ((record, entry),) = eventually(lambda: topics.journal_of(lead))
    assert record.key == lead.encode()
    assert record.timestamp_ms is not None
    assert entry.at == record.timestamp_ms * 1000
    assert abs(entry.at / 1e6 - time.time()) < 60
    headers = dict(record.headers)
    assert headers["ce_type"] == b"mandate.execution.journal"
    assert headers["traceparent"] == TRACE
    assert topics.lag() == 0


def test_bad_bytes_become_a_dead_letter_and_what_follows_goes_on(stack: Settings, topics: Topics) -> None:
    lead, junk = unique("lead"), unique("junk").encode()
    with intake(stack):
        topics.put_bytes("agent.requests", junk, [("x-app", b"v1")])
        topics.put(call("e1", lead=lead, call_id=lead))
        assert eventually(lambda: topics.events_of(lead)) == ["e1"]
        found = eventually(lambda: [pair for pair in topics.dead_letters() if pair[1].value == junk])
    ((record, letter),) = found
    assert letter.code is DeadLetterCode.NOT_AVRO
    headers = dict(record.headers)
    assert headers["x-app"] == b"v1"
    assert headers["__connect.errors.topic"] == b"agent.requests"


def test_a_record_of_the_largest_size_that_its_topic_takes_is_a_dead_letter(stack: Settings, topics: Topics) -> None:
    huge = b"\x00" * 1_048_000
    with intake(stack):
        topics.put_bytes("perception.raw", huge)
        assert eventually(lambda: [letter for _, letter in topics.dead_letters() if letter.value == huge])


def test_a_policy_reaches_every_partition(stack: Settings, topics: Topics) -> None:
    digest = unique("digest")
    activation = records.PolicyActivation(
        activation_id=digest, version="1", revision=1, digest=digest, bundle="{}", approved_by="x", reason=""
    )
    with intake(stack):
        topics.put(activation)
        eventually(lambda: len(_partitions_of(topics, digest)) == stack.partitions)
    assert sorted(_partitions_of(topics, digest)) == list(range(stack.partitions))


def _partitions_of(topics: Topics, digest: str) -> list[int]:
    return [
        record.partition
        for record, entry in topics.journal()
        if isinstance(entry.body, records.PolicyActivation) and entry.body.digest == digest
    ]


def test_events_wait_for_the_lead_that_a_record_of_another_partition_names(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    with intake(stack.model_copy(update={"unresolved_wait_s": 30})):
        topics.put(call("e1", call_id=lead), partition=0)
        topics.put(call("e2", call_id=lead), partition=0)
        time.sleep(1)
        topics.put(call("e3", call_id=lead, lead=lead), partition=1)
        eventually(lambda: len(topics.events_of(lead)) == 3)
    assert topics.events_of(lead) == ["e1", "e2", "e3"]
    assert topics.lag() == 0


def test_an_event_whose_lead_stays_unknown_is_a_dead_letter_after_its_wait(stack: Settings, topics: Topics) -> None:
    call_id = unique("call")
    with intake(stack.model_copy(update={"unresolved_wait_s": 0.5})):
        topics.put(call("e1", call_id=call_id))
        found = eventually(lambda: [letter for _, letter in topics.dead_letters() if call_id in letter.error])
    assert [letter.code for letter in found] == [DeadLetterCode.UNRESOLVED_LEAD]
    assert topics.lag() == 0


def test_what_waits_is_not_committed_and_waits_again_after_a_restart(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    with intake(stack.model_copy(update={"unresolved_wait_s": 60})):
        topics.put(call("e1", call_id=lead))
        time.sleep(1)
    assert topics.lag() > 0
    with intake(stack):
        topics.put(call("e2", call_id=lead, lead=lead))
        eventually(lambda: len(topics.events_of(lead)) == 2)
    assert sorted(topics.events_of(lead)) == ["e1", "e2"]


def test_a_call_that_was_learned_is_known_after_a_restart(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    with intake(stack):
        topics.put(call("e1", call_id=lead, lead=lead))
        eventually(lambda: topics.events_of(lead))
    with intake(stack):
        topics.put(call("e2", call_id=lead))
        eventually(lambda: len(topics.events_of(lead)) == 2)
    assert topics.events_of(lead) == ["e1", "e2"]


def test_two_intakes_share_the_inputs_and_the_directory(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    waiting = stack.model_copy(update={"unresolved_wait_s": 60})
    with intake(waiting), intake(waiting):
        time.sleep(2)  # the second one's share
        for partition in range(stack.partitions):
            topics.put(call(f"e{partition}", call_id=lead), partition=partition)
        topics.put(call("told", call_id=lead, lead=lead), partition=0)
        eventually(lambda: len(set(topics.events_of(lead))) == stack.partitions + 1)
    assert set(topics.events_of(lead)) == {"told", *(f"e{partition}" for partition in range(stack.partitions))}


def test_a_driven_clock_takes_the_time_of_the_records(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    later_ms = int(time.time() * 1000) + 3_600_000
    with intake(stack.model_copy(update={"clock": "driven"})):
        topics.put(call("e1", call_id=lead, lead=lead), at_ms=later_ms)
        topics.put(call("e2", call_id=lead, lead=lead), at_ms=later_ms - 500)
        eventually(lambda: len(topics.events_of(lead)) == 2)
    assert [entry.at // 1000 - later_ms for _, entry in topics.journal_of(lead)] == [0, 0]


def test_a_wait_does_not_end_while_what_would_tell_the_lead_lies_unread(stack: Settings, topics: Topics) -> None:
    """After a pause the clock runs through hours of backlog before the last record is read."""
    lead, other, start_ms = unique("lead"), unique("other"), int(time.time() * 1000)
    topics.put(call("e1", call_id=lead), partition=0, at_ms=start_ms)
    for second in range(5_000):
        value = topics.codec.encode(call(f"o{second}", call_id=other, lead=other))
        at_ms = start_ms + second * 1000
        topics.sender.send("telephony.events", value, key="any", partition=0, timestamp_ms=at_ms)
    topics.put(call("told", call_id=lead, lead=lead), partition=0, at_ms=start_ms + 100)
    with intake(stack.model_copy(update={"clock": "driven", "unresolved_wait_s": 1})):
        eventually(lambda: topics.lag() == 0)
    assert topics.events_of(lead) == ["e1", "told"]
    assert not [letter for _, letter in topics.dead_letters() if lead in letter.error]


def test_a_delivery_that_fails_ends_intake_and_nothing_is_lost(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    with pytest.raises(Broken, match=r"execution\.journal"):
        _send_to_a_journal_that_refuses(stack, topics, lead)
    assert topics.events_of(lead) == []
    assert topics.lag() > 0
    with intake(stack):
        assert eventually(lambda: topics.events_of(lead)) == ["e1"]


def _send_to_a_journal_that_refuses(stack: Settings, topics: Topics, lead: str) -> None:
    with intake(stack):
        _limit_journal(stack, 200)
        try:
            topics.put(call("e1", call_id=lead, lead=lead))
            time.sleep(3)
        finally:
            _limit_journal(stack, 1_048_588)


def _limit_journal(settings: Settings, limit: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "execution.journal", incremental_configs=[entry])
    admin = AdminClient(settings.client_config())
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def test_a_sender_tells_nobody_of_a_record_that_the_broker_refused(stack: Settings) -> None:
    topic = unique("small")
    admin = AdminClient(stack.client_config())
    admin.create_topics([NewTopic(topic, num_partitions=1, config={"max.message.bytes": "1000"})])[topic].result()
    sender = Sender(make_producer(stack))
    delivered: list[int] = []
    sender.send(topic, b"x" * 100, key=None, delivered=lambda: delivered.append(1))
    sender.send(topic, b"x" * 5000, key=None, delivered=lambda: delivered.append(2))
    with pytest.raises(Broken, match=topic):
        sender.flush()
    assert 2 not in delivered


def test_intake_ends_with_one_line_when_there_is_no_broker(stack: Settings) -> None:
    env = {**os.environ, **stack.to_env(), "PYTHONPATH": str(Path(__file__).parents[2])}
    env["MANDATE_REGISTRY_URL"] = "http://127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "intake"], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == EXIT_BROKEN
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_sigterm_ends_intake_with_everything_committed(stack: Settings, topics: Topics, tmp_path: Path) -> None:
    lead = unique("lead")
    with intake_process(stack, tmp_path / "log") as process:
        for number in range(200):
            topics.put(call(f"e{number}", call_id=lead, lead=lead), partition=0)
        eventually(lambda: topics.events_of(lead))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    in_journal = topics.events_of(lead)
    with intake(stack):
        eventually(lambda: topics.lag() == 0)
    assert topics.events_of(lead) == [f"e{number}" for number in range(200)]
    assert in_journal == topics.events_of(lead)[: len(in_journal)]


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_kills_at_any_moment_lose_nothing_and_every_repeat_bears_the_same_id(
    stack: Settings, topics: Topics, tmp_path: Path
) -> None:
    """SIGKILL under load; entries are repeated, never lost, and each event keeps one entry id."""
    lead, chance, total = unique("lead"), random.Random(7), 0
    for _round in range(6):
        with intake_process(stack, tmp_path / "log") as process:
            end = time.monotonic() + chance.uniform(0.05, 0.6)
            while time.monotonic() < end:
                for _ in range(20):
                    topics.sender.send(
                        "telephony.events", topics.codec.encode(call(f"e{total}", call_id=lead, lead=lead)), key=lead
                    )
                    total += 1
                topics.sender.flush()
            process.kill()
    with intake(stack):
        eventually(lambda: topics.lag() == 0, within_s=60)
    entries = [entry for _, entry in topics.journal_of(lead)]
    ids = {(entry.body.event_id, entry.entry_id) for entry in entries if isinstance(entry.body, records.CallEvent)}
    assert {event_id for event_id, _ in ids} == {f"e{number}" for number in range(total)}
    assert len(ids) == total


def test_a_header_name_that_is_no_text_does_not_end_intake(stack: Settings, topics: Topics) -> None:
    # After the many records of the test above: a warm interpreter looks less often whether a call set an error.
    lead, junk = unique("lead"), unique("junk").encode()
    with intake(stack):
        fuzz.send_with_header(stack, "telephony.events", b"\xff\xfe", junk)
        fuzz.send_with_header(stack, "telephony.events", b"\xff\xfe", topics.codec.encode(call("e1", lead=lead)))
        assert eventually(lambda: [letter for _, letter in topics.dead_letters() if letter.value == junk])
        assert eventually(lambda: topics.events_of(lead)) == ["e1"]


@pytest.mark.faults
@pytest.mark.slow
def test_hostile_records_and_webhooks_are_dead_letters_or_accepted_and_never_end_intake(
    stack: Settings, topics: Topics, tmp_path: Path
) -> None:
    # Last in this file: it leaves what it sent.
    hardened = stack.model_copy(update={"dead_letter_limit": 0, "unresolved_wait_s": 0.5})
    with intake_process(hardened, tmp_path / "log") as process:
        sent = fuzz.send(stack, topics.codec, 2_000, fuzz.register_foreign(stack), seed=11)
        eventually(lambda: process.poll() is not None or topics.lag() == 0, within_s=120)
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert topics.lag() == 0
    found = fuzz.judge(sent, topics)
    assert found.total() == len(sent) == 2_000
    assert found["dead letter"] > 1_000
    assert found["accepted"] > 100
