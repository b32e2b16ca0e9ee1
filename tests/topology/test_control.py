"""The real control worker between a real journal and real output topics."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from agents import AgentKey
from deploy.commands import explain, state_verify, tail
from deploy.commands.policy_activate import sign
from deploy.settings import Settings
from processors.policy import load_bundle
from processors.policy.acting import RegisteredAgent
from schemas.codec import Codec
from schemas.records import (
    AgentId,
    AgentRequest,
    Channel,
    CrmEvent,
    CrmEventType,
    DeadLetter,
    DeadLetterCode,
    Decision,
    LeadId,
    LeadState,
    ReasonCode,
    RequestId,
)
from schemas.rows import decode_row, encode_row
from streams.kafka import make_producer
from streams.registry import connect
from tests.core.story import codes
from tests.topology.worker_process import JOURNAL, Journal, WorkerProcess, eventually, worker

pytestmark = pytest.mark.broker
DECISIONS, DEAD_LETTERS = "permission.decisions", "dead.letters"
CHANGELOG = "mandate-control-execution-changelog"
SIGNED_ONLY, UNSIGNED = 0, 1
"""A policy under which agents must sign comes to the first of these partitions and stays; none comes to the second."""


@pytest.fixture(scope="module")
def codec(stack: Settings) -> Codec:
    return connect(stack)


@pytest.fixture(scope="module")
def journal(stack: Settings, codec: Codec) -> Journal:
    return Journal(stack, codec)


@pytest.fixture
def running(stack: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that judges all partitions, with a state directory of its own."""
    with worker(stack.model_copy(update={"state_dir": tmp_path / "state"}), tmp_path) as started:
        started.wait_ready(lambda partitions: len(partitions) == stack.partitions)
        yield started


def request(lead: str | None = None) -> AgentRequest:
    lead = lead or f"lead-{uuid.uuid4()}"
    return AgentRequest(
        request_id=RequestId(f"request-{uuid.uuid4()}"),
        lead_id=LeadId(lead),
        agent_id=AgentId("agent-1"),
        role="booking",
        action="send_message",
        channel=Channel.SMS,
        requested_at=time.time_ns() // 1000,
    )


def answers(journal: Journal, codec: Codec, asked: AgentRequest, partition: int) -> list[tuple[Decision, Message]]:
    decided = [(codec.decode(Decision, m.value()), m) for m in journal.records(DECISIONS, partition)]
    return [(decision, m) for decision, m in decided if decision.request_id == asked.request_id]


def test_a_decision_lies_on_the_partition_of_its_request_with_key_headers_and_journal_time(
    running: WorkerProcess, journal: Journal, codec: Codec
) -> None:
    asked = request()
    partition, offset = journal.append(asked)
    ((decision, message),) = eventually(lambda: answers(journal, codec, asked, partition))
    headers = dict(message.headers() or ())
    assert (decision.position.partition, decision.position.offset) == (partition, offset)
    assert message.key() == asked.lead_id.encode()
    assert message.timestamp()[1] == decision.at // 1000
    assert headers["ce_id"] == decision.decision_id.encode()
    assert headers["ce_source"] == b"/mandate/control"
    assert headers["ce_subject"] == asked.lead_id.encode()
    assert headers["traceparent"].startswith(b"00-0af7651916cd43dd8448eb211c80319c")


def test_a_record_that_is_no_entry_becomes_a_dead_letter_and_the_next_one_is_judged(
    running: WorkerProcess, journal: Journal, codec: Codec
) -> None:
    before = journal.end(DEAD_LETTERS, 0)
    asked = request()
    partition, _ = journal.append(asked)
    _, bad = journal.append_bytes(b"\x00garbage", "who?", partition, timestamp_ms=1_700_000_000_000)
    after = request(asked.lead_id)
    journal.append(after)
    eventually(lambda: answers(journal, codec, after, partition))

    def written() -> list[DeadLetter]:
        letters = [codec.decode(DeadLetter, m.value()) for m in journal.records(DEAD_LETTERS, 0, before)]
        return [letter for letter in letters if letter.stage == "control"]

    (letter,) = eventually(written)  # it goes to another topic than the decision, in a request of its own
    assert (letter.topic, letter.partition, letter.offset) == (JOURNAL, partition, bad)
    assert (letter.key, letter.value, letter.code) == (b"who?", b"\x00garbage", DeadLetterCode.UNKNOWN_SCHEMA)
    assert "traceparent" in letter.headers
    assert letter.at == 1_700_000_000_000_000


def test_time_goes_on_in_partitions_where_nothing_happens(
    running: WorkerProcess, stack: Settings, journal: Journal
) -> None:
    starts = {number: journal.end(JOURNAL, number) for number in range(stack.partitions)}
    for number, start in starts.items():
        ticks = eventually(lambda number=number, start=start: list(journal.ticks(number, start))[1:])
        assert abs(ticks[0].at / 1e6 - time.time()) < 10
        assert ticks[0].at % 1000 == 0


def test_a_worker_told_to_end_has_committed_what_it_answered(
    running: WorkerProcess, journal: Journal, codec: Codec
) -> None:
    asked = request()
    partition, offset = journal.append(asked)
    eventually(lambda: answers(journal, codec, asked, partition))
    began = time.monotonic()
    assert running.terminate() == 0
    assert time.monotonic() - began < 5
    assert journal.committed(partition) > offset


def test_state_lost_with_its_disk_comes_back_from_the_changelog_and_nothing_is_answered_again(
    stack: Settings, tmp_path: Path, journal: Journal, codec: Codec
) -> None:
    first, second = (stack.model_copy(update={"state_dir": tmp_path / name}) for name in ("one", "two"))
    asked = request()
    with worker(first, tmp_path / "one") as killed:
        killed.wait_ready(lambda partitions: len(partitions) == stack.partitions)
        partition, _ = journal.append(asked)
        eventually(lambda: answers(journal, codec, asked, partition))
        time.sleep(0.5)  # its row is on the changelog too
        killed.kill()
    with worker(second, tmp_path / "two") as restored:
        restored.wait_ready(lambda partitions: partition in partitions)
        assert "restored" in restored.errors()
        later = request(asked.lead_id)
        journal.append(later)
        eventually(lambda: answers(journal, codec, later, partition))
        assert len(answers(journal, codec, asked, partition)) == 1


def test_two_workers_on_one_machine_share_the_partitions_and_hand_them_over(
    stack: Settings, tmp_path: Path, journal: Journal, codec: Codec
) -> None:
    settings = stack.model_copy(update={"data_dir": tmp_path / "data"})
    with worker(settings, tmp_path / "one") as one, worker(settings, tmp_path / "two") as two:
        shares = [
            set(each.wait_ready(lambda partitions: 0 < len(partitions) < stack.partitions)) for each in (one, two)
        ]
        assert shares[0] | shares[1] == set(range(stack.partitions))
        assert not shares[0] & shares[1]
        directories = sorted(path.name for path in (tmp_path / "data" / "state").iterdir())
        assert len(directories) == 2
        assert two.terminate() == 0
        one.wait_ready(lambda partitions: len(partitions) == stack.partitions, within_s=8)
        asked = request()
        partition, _ = journal.append(asked)
        eventually(lambda: answers(journal, codec, asked, partition))


def test_a_permit_is_explained_and_derived_again_from_the_topics_and_from_an_export_of_them(
    running: WorkerProcess,
    stack: Settings,
    tmp_path: Path,
    journal: Journal,
    codec: Codec,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The agent is registered: its request is signed, and heard; another's in its name is not."""
    now = time.time_ns() // 1000
    lead, key = LeadId(f"lead-{uuid.uuid4()}"), AgentKey(Ed25519PrivateKey.generate(), "k1")
    known = CrmEvent(
        event_id="known", lead_id=lead, type=CrmEventType.LEAD_UPSERTED, external_id="crm-7",
        time_zones=("America/New_York",), received_at=now,
    )  # fmt: skip
    partition, _ = journal.append(known, partition=SIGNED_ONLY)
    agents = {"agent-1": RegisteredAgent(roles=("booking",), public_keys={key.kid: key.public_key})}
    bundle = load_bundle(stack.policy_bundle).model_copy(update={"agents": agents})
    policy = sign(stack, bundle, revision=now, reason="", approved_by="counsel")
    journal.append(policy, partition=partition)
    forged = AgentRequest(
        request_id=RequestId(f"request-{uuid.uuid4()}"), lead_id=lead, agent_id=AgentId("agent-1"), role="booking",
        action="update_crm", channel=Channel.BACKEND, crm_fields={"availability": "mornings"}, requested_at=now,
    )  # fmt: skip
    journal.append(forged, partition=partition)
    asked = key.sign(structs.replace(forged, request_id=RequestId(f"request-{uuid.uuid4()}")))
    journal.append(asked, partition=partition)
    ((decision, _),) = eventually(lambda: answers(journal, codec, asked, partition))
    ((refused, _),) = answers(journal, codec, forged, partition)
    assert codes(refused) == {ReasonCode.IDENTITY_UNPROVEN}
    assert explain.run(stack, wanted=decision.decision_id, rederive=True) == 0
    from_topics = capsys.readouterr().out
    assert from_topics.startswith("PERMIT  update_crm by agent-1 (booking)")
    assert "lead.external_id = crm-7 (final), set by crm event LEAD_UPSERTED" in from_topics
    assert "Rederived: identical\n" in from_topics
    assert decision.grant is not None
    assert decision.grant not in from_topics
    file = tmp_path / "journal.jsonl"
    with file.open("w") as out:
        tail.run(stack, topics=[JOURNAL, DECISIONS], from_start=True, until_idle=0, out=out)
    assert explain.run(stack, wanted=asked.request_id, journal=file, rederive=True) == 0
    assert capsys.readouterr().out == from_topics
    assert explain.run(stack, wanted="nobody-asked-this") == explain.BAD_INPUT


def rewrite(settings: Settings, journal: Journal, partition: int, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Puts a row on the changelog again, changed, as its last writer would, and ends the landing."""
    last = {m.key(): m for m in journal.records(CHANGELOG, partition)}
    producer = make_producer(settings)
    for record, value in ((last[key], change(last[key].value() or b"")), (last[b"p"], last[b"p"].value())):
        producer.produce(CHANGELOG, value, record.key(), partition, headers=record.headers() or [])
    assert producer.flush(10) == 0


def test_a_row_that_is_not_what_the_journal_gives_is_found_and_named(
    stack: Settings, tmp_path: Path, journal: Journal, codec: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    # Last in this file: the journal's beginning is gone from here on.
    settings = stack.model_copy(update={"state_dir": tmp_path / "state"})
    asked, later = request(), request()
    with worker(settings, tmp_path) as running:
        running.wait_ready(lambda partitions: len(partitions) == stack.partitions)
        # Where agents must sign, a request of nobody's leaves no row.
        partition, offset = journal.append(asked, partition=UNSIGNED)
        eventually(lambda: answers(journal, codec, asked, partition))
        eventually(lambda: journal.committed(partition) > offset)
        # The worker lives and goes on writing.
        assert state_verify.run(stack, every=True, state_dir=tmp_path / "state") == 0
        told = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in told] == [f"partition {number}" for number in range(stack.partitions)]
        assert all(line.endswith(": the same") for line in told)
        assert running.terminate() == 0
    key = b"l/" + asked.lead_id.encode()
    state = decode_row(LeadState, {m.key(): m.value() for m in journal.records(CHANGELOG, partition)}[key] or b"")
    rewrite(
        stack, journal, partition, key, lambda row: encode_row(structs.replace(decode_row(LeadState, row), epoch=5))
    )
    assert state_verify.run(stack, every=True, partitions=[partition]) == state_verify.DIFFERENT
    named = f"{asked.lead_id} differs, entry {state.applied_offset}, changelog "
    assert named in (out := capsys.readouterr().out)
    assert "epoch: recorded 5, the journal gives 0" in out
    rewrite(stack, journal, partition, key, lambda _: encode_row(state))
    assert state_verify.run(stack, sample=3) == 0
    # Retention removes the lead's beginning, and then another lead comes.
    admin = AdminClient({**stack.client_config()})
    for future in admin.delete_records([TopicPartition(JOURNAL, partition, state.applied_offset + 1)]).values():
        future.result()
    with worker(settings, tmp_path / "again") as running:
        running.wait_ready(lambda partitions: partition in partitions)
        journal.append(later, partition=partition)
        eventually(lambda: answers(journal, codec, later, partition))
        assert running.terminate() == 0
    capsys.readouterr()
    assert state_verify.run(stack, every=True, partitions=[partition]) == state_verify.BEYOND
    told, error = capsys.readouterr()
    assert f"{asked.lead_id} can't be verified, entry {state.applied_offset}" in told
    assert later.lead_id not in told
    assert f"begins at offset {state.applied_offset + 1}, retention removed" in error
    assert state_verify.run(stack, partitions=[99]) == state_verify.BAD_INPUT
    assert state_verify.run(stack, state_dir=tmp_path / "nowhere") == state_verify.BAD_INPUT
