"""The audit sink between a real broker and real Iceberg tables."""

import json
import random
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.settings import Settings, load_settings
from schemas import records as r
from schemas.records import AuditCheckpoint
from sinks.audit import completeness, serve
from sinks.lake import AUDITED, load_table, open_catalog, table_name
from sinks.queries import query
from tests.sinks.broker import Topics, finish, kill_at_random, start
from tests.sinks.support import NOON, revocation

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def topics(stack: Settings) -> Topics:
    return Topics(stack)


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Settings:
    lake = {"lake_dir": tmp_path / "lake", "lake_catalog_url": f"sqlite:///{tmp_path / 'lake' / 'catalog.sqlite'}"}
    return stack.model_copy(update=lake)


@pytest.fixture
def lead() -> str:
    return f"lead-{uuid4().hex[:12]}"


def tick(number: int, lead: str) -> r.JournalEntry:
    """A journal entry that is about the test's lead alone."""
    return r.JournalEntry(
        entry_id=f"{lead}-{number}", lead_id=r.LeadId(lead), kind=r.EntryKind.TICK, at=NOON + number * 1000,
        source_topic="", source_partition=-1, source_offset=-1, body=r.Tick(tick_id=str(number), at=NOON),
    )  # fmt: skip


def transition(number: int, lead: str) -> r.Transition:
    return r.Transition(
        transition_id=f"{lead}-{number}", lead_id=r.LeadId(lead), fact="stage", old_value="", new_value=str(number),
        version=number, final=True, cause_kind=r.EntryKind.TICK, cause_id="x",
        position=r.Position(partition=0, offset=number), at=NOON,
    )  # fmt: skip


def landed(settings: Settings, table: str, lead: str) -> list[str]:
    column = {"execution_journal": "entry_id", "execution_transitions": "transition_id"}[table]
    found = query(settings, f"SELECT {column} AS id FROM {table} WHERE lead_id LIKE '{lead}%'")
    return sorted(found["id"].to_pylist())


def test_every_record_of_every_audited_topic_lands_once(topics: Topics, settings: Settings, lead: str) -> None:
    topics.put(*(tick(number, lead) for number in range(50)), *(transition(number, lead) for number in range(30)))
    topics.put(revocation(f"grant-{lead}", lead), key=f"GRANT:grant-{lead}")
    serve(settings, once=True)
    assert landed(settings, "execution_journal", lead) == sorted(f"{lead}-{number}" for number in range(50))
    report = completeness(settings)
    assert report["complete"], report
    assert set(report["topics"]) == set(AUDITED)
    assert report["records"] == sum(part["landed"] for part in report["topics"].values()) >= 81


def test_a_second_run_lands_only_what_is_new(topics: Topics, settings: Settings, lead: str) -> None:
    topics.put(tick(0, lead))
    serve(settings, once=True)
    assert serve(settings, once=True) == 0
    topics.put(tick(1, lead))
    assert serve(settings, once=True) == 1
    assert landed(settings, "execution_journal", lead) == [f"{lead}-0", f"{lead}-1"]


def test_once_ends_though_ticks_go_on(topics: Topics, settings: Settings, lead: str) -> None:
    """As they do while control lives: a dozen partitions tick at a time of their own each."""
    topics.put(tick(0, lead))
    ended = threading.Event()

    def go_on() -> None:
        for number in range(1, 400):
            if not ended.wait(0.05):
                topics.put(tick(number, lead))

    ticking = threading.Thread(target=go_on)
    ticking.start()
    try:
        assert serve(settings, once=True) >= 1
        assert ticking.is_alive()
    finally:
        ended.set()
        ticking.join()
    assert f"{lead}-0" in landed(settings, "execution_journal", lead)


def test_what_cannot_be_decoded_lands_with_its_bytes_and_the_reason(
    topics: Topics, settings: Settings, lead: str
) -> None:
    hostile = b"\x00\x00\x00\x00\x00\xff\xfe" + lead.encode()
    topics.put_raw("execution.transitions", hostile, lead)
    serve(settings, once=True)
    found = query(settings, f"SELECT _raw, _error, lead_id FROM execution_transitions WHERE _key = '{lead}'")
    [row] = found.to_pylist()
    assert row["_raw"] == hostile
    assert row["_error"]
    assert row["lead_id"] is None
    report = completeness(settings)
    assert report["complete"]
    assert report["topics"]["execution.transitions"]["undecodable"] >= 1


def test_each_commit_is_announced_with_the_offsets_that_it_holds(topics: Topics, settings: Settings, lead: str) -> None:
    topics.put(*(tick(number, lead) for number in range(20)))
    serve(settings, once=True)
    catalog = open_catalog(settings)
    ours = {}
    for topic in AUDITED:
        table = load_table(catalog, topic)
        assert table is not None
        ours |= {snapshot.snapshot_id: table_name(topic) for snapshot in table.metadata.snapshots}
    said = [topics.codec.decode(AuditCheckpoint, m.value()) for m in topics.all("audit.checkpoints")]
    mine = [checkpoint for checkpoint in said if checkpoint.snapshot_id in ours]
    assert {checkpoint.snapshot_id for checkpoint in mine} == set(ours)
    assert sum(checkpoint.records for checkpoint in mine) == completeness(settings)["records"]
    assert all(c.next_offset - c.first_offset >= c.records > 0 for c in mine)


def test_a_checkpoint_that_is_said_again_has_the_same_bytes(topics: Topics, settings: Settings, lead: str) -> None:
    topics.put(tick(0, lead))
    serve(settings, once=True)
    before = [message.value() for message in topics.all("audit.checkpoints")]
    serve(settings, once=True)
    repeated = [message.value() for message in topics.all("audit.checkpoints")][len(before) :]
    assert repeated
    assert set(repeated) <= set(before)


def test_a_lake_that_lacks_or_doubles_a_row_is_not_complete(topics: Topics, settings: Settings, lead: str) -> None:
    topics.put(*(transition(number, lead) for number in range(5)))
    serve(settings, once=True)
    table = load_table(open_catalog(settings), "execution.transitions")
    assert table is not None
    mine = table.scan(row_filter=f"transition_id == '{lead}-3'").to_arrow()
    table.delete(f"transition_id == '{lead}-3'")
    report = completeness(settings)
    assert (report["complete"], report["missing"], report["doubled"]) == (False, 1, 0)
    table.append(mine)
    table.append(mine)
    report = completeness(settings)
    assert (report["complete"], report["missing"], report["doubled"]) == (False, 0, 1)


def test_an_empty_lake_is_not_complete_and_every_table_can_be_asked(
    topics: Topics, settings: Settings, lead: str
) -> None:
    topics.put(tick(0, lead))
    assert not completeness(settings)["complete"]
    assert query(settings, "SELECT count(*) AS n FROM escalation_cases").to_pylist() == [{"n": 0}]


def test_sigterm_commits_what_was_read(topics: Topics, settings: Settings, lead: str) -> None:
    sink = start(settings, "sink", "audit", "--interval", "3600")
    assert sink.stdout is not None
    assert "ready" in sink.stdout.readline()
    topics.put(*(tick(number, lead) for number in range(10)))
    time.sleep(2)
    assert landed(settings, "execution_journal", lead) == []
    sink.send_signal(signal.SIGTERM)
    out, err = sink.communicate(timeout=30)
    assert sink.returncode == 0, err
    assert "records landed" in out
    assert len(landed(settings, "execution_journal", lead)) == 10


@pytest.mark.faults
@pytest.mark.slow
def test_kills_at_random_points_lose_no_record_and_double_none(topics: Topics, settings: Settings, lead: str) -> None:
    dice = random.Random(20261122)
    count = 4000
    topics.put(*(tick(number, f"{lead}-{number % 16}") for number in range(count)))
    topics.put(*(transition(number, f"{lead}-{number % 16}") for number in range(count)))
    kill_at_random(settings, ["sink", "audit", "--interval", "0.1"], 6, dice)
    finish(settings, "sink", "audit", "--once")
    expected = sorted(f"{lead}-{number % 16}-{number}" for number in range(count))
    assert landed(settings, "execution_journal", lead) == expected
    assert landed(settings, "execution_transitions", lead) == expected
    report = completeness(settings)
    assert report["complete"], json.dumps(report, indent=1)


@pytest.mark.slow
def test_without_a_broker_the_sink_ends_with_one_line_and_the_code_of_a_broken_part(tmp_path: Path) -> None:
    nowhere = load_settings(data_dir=tmp_path, kafka_bootstrap="127.0.0.1:1", registry_url="http://127.0.0.1:1")
    sink = start(nowhere, "sink", "audit", "--once")
    _, err = sink.communicate(timeout=60)
    assert sink.returncode == 70
    assert "Traceback" not in err
    assert "mandate:" in err
