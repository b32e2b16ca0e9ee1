"""The CRM sink between a real broker and a real store."""

import random
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from deploy.settings import Settings
from schemas.records import CrmResult, CrmUpdate, CrmWriteResult, DeadLetter, ReasonCode
from sinks.consume import Stop
from sinks.crm import serve
from streams import Broken
from streams.kafka import make_producer
from tests.sinks.broker import Topics, finish, kill_at_random, published, start
from tests.sinks.support import SECOND, Control, revocation
from tests.topology.collector import Collector

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def topics(stack: Settings) -> Topics:
    return Topics(stack)


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Settings:
    return stack.model_copy(update={"crm_url": f"sqlite:///{tmp_path / 'crm.sqlite'}"})


@pytest.fixture
def lead() -> str:
    return f"lead-{uuid4().hex[:12]}"


def now() -> int:
    return time.time_ns() // 1_000_000_000 * SECOND


def run(settings: Settings) -> None:
    serve(settings, **published(settings), once=True)


def rows(settings: Settings, sql: str, **values: str) -> list[tuple[object, ...]]:
    engine = create_engine(settings.crm_url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(sql), values)]
    engine.dispose()
    return found


def fields(settings: Settings, lead: str) -> dict[object, object]:
    sql = "SELECT field, value FROM crm_fields WHERE external_id = :id"
    return dict(rows(settings, sql, id=f"crm-{lead}"))  # type: ignore[arg-type]


def results(topics: Topics, lead: str) -> list[CrmResult]:
    decoded = (topics.codec.decode(CrmResult, message.value()) for message in topics.all("crm.results"))
    return [result for result in decoded if result.lead_id == lead]


def test_a_covered_write_is_in_the_store_and_answered(topics: Topics, settings: Settings, lead: str) -> None:
    at = now()
    topics.beat(at)
    topics.put(topics.control.update({"meeting_at": "tomorrow"}, lead=lead, update_id=f"u-{lead}", at=at))
    run(settings)
    assert fields(settings, lead) == {"meeting_at": "tomorrow"}
    [result] = results(topics, lead)
    assert (result.result, result.code, result.message) == (CrmWriteResult.APPLIED, None, "")


def test_each_write_that_no_grant_covers_is_refused_recorded_and_answered_with_its_reason(
    topics: Topics, settings: Settings, lead: str
) -> None:
    at, control = now(), topics.control
    topics.beat(at)
    topics.put(revocation(f"grant-revoked-{lead}", lead, at), key=f"GRANT:grant-revoked-{lead}")
    asked = {"meeting_at": "x"}
    good = control.update(asked, lead=lead, update_id=f"good-{lead}", at=at, offset=50)
    spent = control.update(asked, lead=lead, update_id=f"replayed-{lead}", at=at, grant=good.grant, offset=60)
    topics.put(
        Control().update(asked, lead=lead, update_id=f"forged-{lead}", at=at),
        control.update({"deal_status": "won"}, lead=lead, update_id=f"outside-{lead}", at=at),
        control.update(asked, lead=lead, update_id=f"revoked-{lead}", at=at),
        good,
        spent,
        control.update({"meeting_at": "older"}, lead=lead, update_id=f"older-{lead}", at=at, offset=40),
    )
    run(settings)
    answers = {r.update_id.removesuffix(f"-{lead}"): (r.result, r.code) for r in results(topics, lead)}
    refused = CrmWriteResult.REFUSED
    assert answers == {
        "forged": (refused, ReasonCode.GRANT_INVALID),
        "outside": (refused, ReasonCode.CRM_FIELD_OUTSIDE_ROLE),
        "revoked": (refused, ReasonCode.GRANT_REVOKED),
        "good": (CrmWriteResult.APPLIED, None),
        "replayed": (refused, ReasonCode.GRANT_REUSED),
        "older": (CrmWriteResult.SUPERSEDED, None),
    }
    assert fields(settings, lead) == {"meeting_at": "x"}
    recorded = rows(settings, "SELECT result, count(*) FROM crm_updates WHERE lead_id = :lead GROUP BY 1", lead=lead)
    assert dict(recorded) == {"REFUSED": 4, "APPLIED": 1, "SUPERSEDED": 1}  # type: ignore[comparison-overlap]


def test_each_update_leaves_a_span_that_says_what_became_of_it(
    topics: Topics, settings: Settings, lead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, control, collector = now(), topics.control, Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    topics.beat(at)
    asked = {"meeting_at": "x"}
    written = control.update(asked, lead=lead, update_id=f"good-{lead}", at=at)
    topics.put(written, Control().update(asked, lead=lead, update_id=f"forged-{lead}", at=at), written)
    topics.put_raw("crm.updates", b"no update", lead)
    run(settings.model_copy(update={"tracing": True}))
    spans = collector.of("mandate-sink-crm")
    collector.close()
    told = [{k: v for k, v in s.attributes.items() if not k.startswith("messaging.")} for s in spans]
    assert {s.name for s in spans} == {"process crm.updates"}
    assert all(
        one in told
        for one in (
            {"mandate.crm.result": "APPLIED"},
            {"mandate.crm.result": "REFUSED", "mandate.reason": "GRANT_INVALID"},
            {"mandate.crm.result": "REPEATED"},
            {"error.type": "NOT_AVRO"},
        )
    )
    assert lead not in str(spans)


def test_a_record_of_the_crm_never_changes_hands(topics: Topics, settings: Settings, lead: str) -> None:
    at, other = now(), f"{lead}-b"
    topics.beat(at)
    theirs = topics.control.update({"availability": "theirs"}, lead=lead, update_id=f"a-{lead}", at=at)
    topics.put(theirs)
    run(settings)
    topics.put(
        topics.control.update(
            {"availability": "mine"}, lead=other, update_id=f"b-{lead}", at=at, external_id=theirs.external_id
        )
    )
    run(settings)
    assert fields(settings, lead) == {"availability": "theirs"}
    assert [(r.result, r.code) for r in results(topics, other)] == [(CrmWriteResult.REFUSED, ReasonCode.GRANT_INVALID)]


def test_an_update_that_control_repeats_is_applied_and_answered_once(
    topics: Topics, settings: Settings, lead: str
) -> None:
    at = now()
    topics.beat(at)
    update = topics.control.update({"availability": "morning"}, lead=lead, update_id=f"u-{lead}", at=at)
    topics.put(update, update)
    run(settings)
    topics.put(update)
    run(settings)
    assert [r.result for r in results(topics, lead)] == [CrmWriteResult.APPLIED]


def test_a_forged_update_with_a_stolen_id_does_not_keep_the_true_one_out(
    topics: Topics, settings: Settings, lead: str
) -> None:
    at = now()
    topics.beat(at)
    topics.put(
        Control().update({"availability": "forged"}, lead=lead, update_id=f"u-{lead}", at=at),
        topics.control.update({"availability": "true"}, lead=lead, update_id=f"u-{lead}", at=at),
    )
    run(settings)
    assert fields(settings, lead) == {"availability": "true"}


def test_bytes_that_are_no_update_become_a_dead_letter_and_the_sink_goes_on(
    topics: Topics, settings: Settings, lead: str
) -> None:
    at = now()
    topics.beat(at)
    hostile = f"\x00\xff{lead}".encode()
    topics.put_raw("crm.updates", hostile, lead)
    topics.put_raw("crm.updates", None, lead)
    topics.put(topics.control.update({"availability": "noon"}, lead=lead, update_id=f"u-{lead}", at=at))
    run(settings)
    assert fields(settings, lead) == {"availability": "noon"}
    letters = [topics.codec.decode(DeadLetter, message.value()) for message in topics.all("dead.letters")]
    mine = [letter for letter in letters if letter.stage == "crm-sink" and letter.key == lead.encode()]
    assert [letter.value for letter in mine] == [hostile, None]
    assert all(letter.topic == "crm.updates" for letter in mine)


def test_a_write_waits_until_the_revocation_feed_has_reached_it(topics: Topics, settings: Settings, lead: str) -> None:
    ahead = now() + 3600 * SECOND
    topics.put(topics.control.update({"availability": "later"}, lead=lead, update_id=f"u-{lead}", at=ahead))
    sink = start(settings, "sink", "crm", "--once")
    assert sink.stdout is not None
    assert "ready" in sink.stdout.readline()
    time.sleep(2.0)
    assert sink.poll() is None
    assert fields(settings, lead) == {}
    topics.beat(ahead)
    out, err = sink.communicate(timeout=30)
    assert sink.returncode == 0, out + err
    assert fields(settings, lead) == {"availability": "later"}


def test_once_ends_though_writes_go_on(topics: Topics, settings: Settings, lead: str) -> None:
    at, ended, stop = now(), Event(), Stop()
    topics.beat(at)
    topics.put(topics.control.update({"availability": "first"}, lead=lead, update_id=f"u-{lead}", at=at))

    def go_on() -> None:
        for number in range(1, 300):
            if not ended.wait(0.05):
                names = {"lead": f"{lead}-{number}", "update_id": f"u-{lead}-{number}"}
                topics.put(topics.control.update({"availability": "on"}, at=at, **names))
        stop.requested = True

    with ThreadPoolExecutor() as pool:
        going_on = pool.submit(go_on)
        try:
            assert serve(settings, **published(settings), once=True, stop=stop) >= 1
            assert not stop.requested
        finally:
            ended.set()
        going_on.result(timeout=60)
    assert fields(settings, lead) == {"availability": "first"}


def test_what_is_revoked_while_the_store_is_slow_is_not_written(topics: Topics, settings: Settings, lead: str) -> None:
    settings = settings.model_copy(update={"revocation_lease_s": 2.0})
    at, grant, stop, ready = now(), f"grant-slow-{lead}", Stop(), Event()
    topics.beat(at)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(serve, settings, **published(settings), stop=stop, ready=lambda _: ready.set())
        try:
            assert ready.wait(60)
            store = sqlite3.connect(settings.crm_url.removeprefix("sqlite:///"), isolation_level=None)
            store.execute("BEGIN IMMEDIATE")
            topics.put(topics.control.update({"meeting_at": "x"}, lead=lead, update_id=f"slow-{lead}", at=at))
            time.sleep(4)  # by now it knows what was revoked before, and waits for the store
            topics.put(revocation(grant, lead, at), key=f"GRANT:{grant}")
            store.execute("ROLLBACK")
            store.close()
            until = time.monotonic() + 30
            while not results(topics, lead) and time.monotonic() < until:
                time.sleep(0.2)
        finally:
            stop.requested = True
        running.result(timeout=60)
    [result] = results(topics, lead)
    assert (result.result, result.code) == (CrmWriteResult.REFUSED, ReasonCode.GRANT_REVOKED)
    assert fields(settings, lead) == {}


def test_a_store_of_another_cluster_is_not_written_to(settings: Settings) -> None:
    run(settings)
    rows_before = rows(settings, "SELECT count(*) FROM crm_updates")
    engine = create_engine(settings.crm_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE sink_facts SET value = 'elsewhere' WHERE name = 'cluster_id'"))
    with pytest.raises(Broken, match="another Kafka cluster"):
        run(settings)
    assert rows(settings, "SELECT count(*) FROM crm_updates") == rows_before


def test_sigterm_ends_the_sink_with_everything_answered(topics: Topics, settings: Settings, lead: str) -> None:
    at = now()
    topics.beat(at)
    sink = start(settings, "sink", "crm")
    assert sink.stdout is not None
    assert "ready" in sink.stdout.readline()
    topics.put(topics.control.update({"availability": "now"}, lead=lead, update_id=f"u-{lead}", at=at))
    deadline = time.monotonic() + 20
    while not fields(settings, lead) and time.monotonic() < deadline:
        time.sleep(0.1)
    sink.send_signal(signal.SIGTERM)
    assert sink.wait(20) == 0
    assert rows(settings, "SELECT count(*) FROM sink_outbox") == [(0,)]
    assert len(results(topics, lead)) == 1


def test_an_answer_that_the_broker_did_not_take_is_sent_by_the_next_run_as_it_was(
    topics: Topics, settings: Settings, lead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings)
    at = now()
    topics.beat(at)
    topics.put(topics.control.update({"availability": "soon"}, lead=lead, update_id=f"u-{lead}", at=at))
    out_of_reach = {"bootstrap.servers": "127.0.0.1:1", "delivery.timeout.ms": 1500, "log_level": 0}
    with monkeypatch.context() as patch:
        patch.setattr("sinks.crm.make_producer", lambda settings, **_: make_producer(settings, **out_of_reach))
        with pytest.raises(Broken):
            run(settings)
    assert fields(settings, lead) == {"availability": "soon"}
    owed = dict(rows(settings, "SELECT id, value FROM sink_outbox"))  # type: ignore[arg-type]
    assert results(topics, lead) == []
    run(settings)
    sent = [message.value() for message in topics.all("crm.results") if message.key() == lead.encode()]
    assert len(sent) == 1
    assert sent[0] in owed.values()
    assert rows(settings, "SELECT count(*) FROM sink_outbox") == [(0,)]


@pytest.mark.faults
@pytest.mark.slow
def test_kills_at_random_points_lose_no_write_and_double_none(topics: Topics, settings: Settings, lead: str) -> None:
    dice = random.Random(20261121)
    at, count, leads = now(), 2000, 40
    topics.beat(at)
    updates: list[CrmUpdate] = [
        topics.control.update(
            {"availability": str(number)},
            lead=f"{lead}-{number % leads}",
            update_id=f"u{number}-{lead}",
            at=at,
            offset=number,
        )
        for number in range(count)
    ]
    topics.put(*updates)
    kill_at_random(settings, ["sink", "crm"], 5, dice)
    finish(settings, "sink", "crm", "--once")
    recorded = rows(
        settings,
        "SELECT update_id, count(*), min(result) FROM crm_updates WHERE lead_id LIKE :l GROUP BY 1",
        l=f"{lead}%",
    )
    assert sorted(recorded) == sorted((u.update_id, 1, "APPLIED") for u in updates)
    for number in range(leads):
        assert fields(settings, f"{lead}-{number}") == {"availability": str(count - leads + number)}
    answers = [m for m in topics.all("crm.results") if (m.key() or b"").startswith(lead.encode())]
    by_update: dict[str, set[bytes]] = {}
    for message in answers:
        result = topics.codec.decode(CrmResult, message.value())
        by_update.setdefault(result.update_id, set()).add(message.value())
    assert by_update.keys() == {update.update_id for update in updates}
    assert Counter(len(versions) for versions in by_update.values()) == {1: count}
    assert rows(settings, "SELECT count(*) FROM sink_outbox") == [(0,)]
