"""SIGKILL at any moment: the worker that comes after decides what is left, and nothing lost or doubled comes out.

Load runs all the while through the real intake; CRM and audit sinks run beside. The seed is printed: the same one
gives the same load and the same plan of kills.
"""

import os
import random
import shutil
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from deploy import keys
from deploy.commands import policy_activate, sink_audit, sink_crm
from deploy.settings import PACKAGED_POLICY, Settings
from processors.authority import Court
from processors.offline import MemoryRows
from processors.partition import Partition
from schemas.catalogue import TOPIC_OF, TOPICS
from schemas.codec import Codec, decode
from schemas.records import AgentRequest, CrmResult, CrmUpdate, Decision, JournalEntry
from sinks.complete import completeness
from streams.registry import connect
from tests.faults.load import Load
from tests.topology.worker_process import JOURNAL, Journal, WorkerProcess, eventually

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 21
SEED = int(os.environ.get("FAULT_SEED", "3"))
PREFIX = 5
OUTPUTS = [topic.name for topic in TOPICS.values() if topic.writers == ("control",) and topic.value]
DECISIONS, UPDATES, RESULTS = (TOPIC_OF[record] for record in (Decision, CrmUpdate, CrmResult))


@pytest.fixture(scope="module")
def after_the_kills(own_stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> "Aftermath":
    """What lies in topics and stores after KILLS kills under load."""
    settings = own_stack
    codec = connect(settings)
    journal = Journal(settings, codec)
    assert policy_activate.run(settings, bundle=PACKAGED_POLICY) == 0
    directory = tmp_path_factory.mktemp("processes")
    load = Load(settings, codec, SEED)
    with ExitStack() as ending:
        others = [
            WorkerProcess(settings, directory / name, command)
            for name, command in (
                ("intake", ("intake",)),
                ("crm", ("sink", "crm")),
                ("audit", ("sink", "audit")),
            )
        ]
        for other in others:
            ending.callback(_end, other)
        load.start()
        kills = _kill_again_and_again(settings, directory, ending, load)
        eventually(lambda: _all_admitted(settings, journal, load), 120)
        eventually(lambda: _all_judged(settings, journal), 180)
    assert sink_crm.run(settings, once=True) == 0
    assert sink_audit.run(settings, once=True) == 0
    return Aftermath(settings, codec, journal, load.requests, kills)


def _end(process: WorkerProcess) -> None:
    if process.process.poll() is None:
        process.terminate(20)


def _kill_again_and_again(settings: Settings, directory: Path, ending: ExitStack, load: Load) -> int:
    """Kills the worker KILLS times, then stops the load and leaves a last worker running."""
    chance = random.Random(SEED)
    state = directory / "state"
    mine = settings.model_copy(update={"state_dir": state})
    print(f"seed {SEED}", end=" ")
    kills = 0
    for turn in range(KILLS):
        running = WorkerProcess(mine, directory / "control")
        ending.callback(_end, running)
        if turn % 5 == 4:
            time.sleep(chance.uniform(0.5, 3.0))  # while it starts or recovers, too
        else:
            running.wait_ready()
            time.sleep(chance.uniform(0.05, 1.2))
        running.kill()
        kills += 1
        if turn % 3 == 2:
            for database in [path for path in state.iterdir() if path.is_dir()]:
                shutil.rmtree(database)
    load.stop()
    last = WorkerProcess(mine, directory / "control")
    ending.callback(_end, last)
    last.wait_ready()
    return kills


def _all_admitted(settings: Settings, journal: Journal, load: Load) -> bool:
    entries = sum(journal.end(JOURNAL, number) for number in range(settings.partitions))
    return entries >= load.sent


def _all_judged(settings: Settings, journal: Journal) -> bool:
    return all(journal.committed(number) == journal.end(JOURNAL, number) for number in range(settings.partitions))


class Aftermath:
    """Journal and outputs as the topics hold them, and the outputs that a fold of that journal gives."""

    def __init__(
        self, settings: Settings, codec: Codec, journal: Journal, requests: list[AgentRequest], kills: int
    ) -> None:
        self.settings = settings
        self.codec = codec
        self.requests = requests
        self.kills = kills
        self.entries: dict[int, list[tuple[int, JournalEntry]]] = {}
        self.written: dict[str, dict[str, list[bytes]]] = {topic: defaultdict(list) for topic in (*OUTPUTS, RESULTS)}
        for number in range(settings.partitions):
            self.entries[number] = [
                (m.offset() or 0, codec.decode(JournalEntry, m.value())) for m in journal.records(JOURNAL, number)
            ]
            for topic, found in self.written.items():
                for message in journal.records(topic, number):
                    name = dict(message.headers() or ())["ce_id"].decode()
                    found[name].append(bytes(message.value() or b"")[PREFIX:])

    def folded(self) -> dict[str, dict[str, bytes]]:
        """Every output by topic and id, from an undisturbed fold of the journal."""
        key = keys.load_private_key(self.settings.signing_key_path)
        approver = keys.load_private_key(self.settings.approver_key_path).public_key()
        outputs: dict[str, dict[str, bytes]] = {topic: {} for topic in OUTPUTS}
        for number, entries in self.entries.items():
            rows = MemoryRows()
            partition = Partition(number, rows, Court.from_keys(key, [approver]))
            for offset, entry in entries:
                for output in partition.apply(entry, offset):
                    body = self.codec.encode(output.value)[PREFIX:]
                    outputs[TOPIC_OF[type(output.value)]][output.id] = body
                rows.rows.update(partition.take_writes())
        return outputs


def test_every_request_is_decided_and_each_decision_is_one_sequence_of_bytes(after_the_kills: Aftermath) -> None:
    assert after_the_kills.kills >= 20
    decided = defaultdict(set)
    for name, copies in after_the_kills.written[DECISIONS].items():
        assert len(set(copies)) == 1, f"decision {name} came in {len(set(copies))} versions"
        decision = decode(Decision, copies[0])
        decided[decision.request_id].add(name)
    assert set(decided) >= {request.request_id for request in after_the_kills.requests}


def test_outputs_equal_an_undisturbed_fold_of_the_same_journal_byte_for_byte(after_the_kills: Aftermath) -> None:
    folded = after_the_kills.folded()
    for topic in OUTPUTS:
        written = after_the_kills.written[topic]
        assert set(written) <= set(folded[topic]), topic
        for name, copies in written.items():
            assert set(copies) == {folded[topic][name]}, f"{topic} {name}"
        if TOPICS[topic].cleanup == "delete":
            assert set(written) == set(folded[topic]), topic
    repeated = sum(len(copies) - 1 for found in after_the_kills.written.values() for copies in found.values())
    count = sum(len(found) for found in folded.values())
    print(
        f"{after_the_kills.kills} kills, {len(after_the_kills.requests)} requests, {count} outputs, {repeated} repeated"
    )


def test_the_journal_holds_each_request_once_and_in_the_order_sent(after_the_kills: Aftermath) -> None:
    told = defaultdict(list)
    for entries in after_the_kills.entries.values():
        for _, entry in entries:
            if isinstance(entry.body, AgentRequest):
                told[entry.lead_id].append(entry.body.request_id)
    sent = defaultdict(list)
    for request in after_the_kills.requests:
        sent[request.lead_id].append(request.request_id)
    assert told == sent


def test_no_crm_row_is_lost_or_doubled(after_the_kills: Aftermath) -> None:
    updates = after_the_kills.written[UPDATES]
    assert updates
    results = after_the_kills.written[RESULTS]
    answered = [decode(CrmResult, copies[0]) for copies in results.values()]
    decoded = [decode(CrmUpdate, copies[0]) for copies in updates.values()]
    assert sorted(result.update_id for result in answered) == sorted(update.update_id for update in decoded)
    with create_engine(after_the_kills.settings.crm_url).connect() as store:
        rows = store.execute(text("SELECT update_id, count(*) FROM crm_updates GROUP BY update_id")).all()
        applied = store.execute(text("SELECT count(*) FROM crm_updates WHERE result = 'APPLIED'")).scalar_one()
        fields = store.execute(text("SELECT count(*) FROM (SELECT DISTINCT external_id, field FROM crm_fields)"))
        assert fields.scalar_one() == store.execute(text("SELECT count(*) FROM crm_fields")).scalar_one()
    assert {row[0]: row[1] for row in rows} == {update.update_id: 1 for update in decoded}
    assert applied > 0


def test_the_audit_lake_holds_each_record_once(after_the_kills: Aftermath) -> None:
    report = completeness(after_the_kills.settings)
    assert report["complete"], {name: topic for name, topic in report["topics"].items() if topic["missing"]}
    assert report["doubled"] == 0
    assert report["topics"][DECISIONS]["landed"] >= len(after_the_kills.requests)
