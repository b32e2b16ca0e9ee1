"""One contract for every database that the CRM store can be: SQLite always, PostgreSQL where a URL is given."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from schemas.records import CrmResult, CrmUpdate, CrmWriteResult, LeadId
from sinks.consume import Place
from sinks.crm_store import CrmStore, Outgoing
from streams import Broken
from tests.sinks.support import NOON, Control

POSTGRES = "MANDATE_TEST_POSTGRES_URL"
PLACE = Place("crm.updates", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'crm.sqlite'}"
        return
    server = os.environ.get(POSTGRES)
    if server is None:
        pytest.skip(f"{POSTGRES} names no server")
    schema = f"test_{uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
    with admin.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()


@pytest.fixture
def store(url: str) -> Iterator[CrmStore]:
    opened = CrmStore(url)
    yield opened
    opened.close()


def values(url: str, external_id: str = "crm-lead-1") -> dict[str, str]:
    """Fields of a record, read as anybody reads the database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT field, value FROM crm_fields WHERE external_id = :id"), {"id": external_id}
        )
        found = {row.field: row.value for row in rows}
    engine.dispose()
    return found


def write(store: CrmStore, update: CrmUpdate) -> list[str]:
    with store.transaction() as writes:
        return writes.upsert(update)


def outcome(update: CrmUpdate) -> CrmResult:
    return CrmResult(
        update_id=update.update_id, lead_id=LeadId(update.lead_id), external_id=update.external_id,
        result=CrmWriteResult.APPLIED, message="", at=NOON,
    )  # fmt: skip


def test_an_update_makes_the_record_and_a_later_one_changes_it(store: CrmStore, url: str) -> None:
    control = Control()
    assert write(store, control.update({"a": "1", "b": "1"}, offset=10)) == []
    assert write(store, control.update({"b": "2", "c": "2"}, offset=11)) == []
    assert values(url) == {"a": "1", "b": "2", "c": "2"}


def test_an_older_update_never_overwrites_a_newer_field(store: CrmStore, url: str) -> None:
    control = Control()
    write(store, control.update({"a": "new"}, offset=20))
    assert write(store, control.update({"a": "old", "b": "old"}, offset=19)) == ["a"]
    assert values(url) == {"a": "new", "b": "old"}


def test_whatever_the_order_of_the_updates_the_record_ends_the_same(store: CrmStore, url: str) -> None:
    control = Control()
    for lead, order in (("x", (1, 2, 3)), ("y", (3, 1, 2)), ("z", (2, 3, 1))):
        for offset in order:
            write(store, control.update({"a": str(offset), f"f{offset}": "set"}, lead=lead, offset=offset))
    ends = [values(url, f"crm-{lead}") for lead in ("x", "y", "z")]
    assert ends == [{"a": "3", "f1": "set", "f2": "set", "f3": "set"}] * 3


def test_a_transaction_that_fails_leaves_no_write_no_record_no_answer_and_no_offset(store: CrmStore, url: str) -> None:
    update = Control().update({"a": "1"})

    def fail_late() -> None:
        with store.transaction() as writes:
            writes.upsert(update)
            writes.record(update, "d" * 64, outcome(update), "grant-1", PLACE, 7)
            writes.owe(Outgoing("crm.results", b"lead-1", b"x", [], 1))
            writes.advance(PLACE, None, 8)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_late()
    with store.transaction() as writes:
        assert not writes.known("d" * 64)
        assert writes.user_of("grant-1") is None
        assert writes.owner_of(update.external_id) is None
    assert values(url) == {}
    assert store.owed() == []
    assert store.offsets() == {}


def test_what_was_committed_is_there_when_the_store_is_opened_again(store: CrmStore, url: str) -> None:
    update = Control().update({"a": "1"})
    with store.transaction() as writes:
        writes.upsert(update)
        writes.record(update, "d" * 64, outcome(update), "grant-1", PLACE, 7)
        writes.advance(PLACE, None, 8)
    store.close()
    again = CrmStore(url)
    with again.transaction() as writes:
        assert writes.known("d" * 64)
        assert writes.user_of("grant-1") == update.update_id
        assert writes.owner_of(update.external_id) == "lead-1"
    assert again.offsets() == {PLACE: 8}
    again.close()


def test_a_grant_is_used_up_by_one_update_alone(store: CrmStore) -> None:
    update = Control().update({"a": "1"})
    with store.transaction() as writes:
        writes.record(update, "d" * 64, outcome(update), "grant-1", PLACE, 7)
    with pytest.raises(Broken), store.transaction() as writes:
        writes.record(update, "e" * 64, outcome(update), "grant-1", PLACE, 8)


def test_any_number_of_refused_updates_use_no_grant(store: CrmStore) -> None:
    update = Control().update({"a": "1"})
    with store.transaction() as writes:
        for digit in "abc":
            writes.record(update, digit * 64, outcome(update), None, PLACE, 7)


def test_answers_are_owed_in_order_and_byte_for_byte_until_they_are_settled(store: CrmStore) -> None:
    headers = [("ce_id", b"1"), ("raw", bytes(range(256)))]
    first = Outgoing("crm.results", b"\x00\xff", b"\x00value", headers, 123)
    second = first._replace(key=None, headers=[])
    with store.transaction() as writes:
        writes.owe(first)
        writes.owe(second)
    owed = store.owed()
    assert [record for _, record in owed] == [first, second]
    store.settle([owed[0][0]])
    assert [record for _, record in store.owed()] == [second]


def test_a_second_sink_that_moved_the_offset_meanwhile_ends_this_one_with_nothing_written(
    store: CrmStore, url: str
) -> None:
    with store.transaction() as writes:
        writes.advance(PLACE, None, 5)
    with store.transaction() as rival:
        rival.advance(PLACE, 5, 9)

    def go_on_from_where_it_was() -> None:
        with store.transaction() as writes:
            writes.upsert(Control().update({"a": "1"}))
            writes.advance(PLACE, 5, 6)

    with pytest.raises(Broken, match="Another CRM sink"):
        go_on_from_where_it_was()
    assert values(url) == {}
    assert store.offsets() == {PLACE: 9}


def test_a_store_belongs_to_one_kafka_cluster(store: CrmStore) -> None:
    store.bind_to_cluster("cluster-a")
    store.bind_to_cluster("cluster-a")
    with pytest.raises(Broken, match="another Kafka cluster"):
        store.bind_to_cluster("cluster-b")


def test_hostile_text_is_recorded_as_far_as_a_database_takes_it(store: CrmStore) -> None:
    forged = Control().update({"a": "1"}, update_id="u\0" * 300, external_id="\0", role="r" * 5000)
    with store.transaction() as writes:
        writes.record(forged, "f" * 64, outcome(forged), None, PLACE, 7)
        assert writes.known("f" * 64)


@pytest.mark.parametrize("url", ["nonsense", "mysterydb://host/x", "postgresql+psycopg://127.0.0.1:1/none"])
def test_a_url_that_leads_nowhere_is_one_sentence(url: str) -> None:
    with pytest.raises(Broken, match="MANDATE_CRM_URL"):
        CrmStore(url)
