"""The CRM store: SQL by SQLAlchemy, SQLite for one machine, PostgreSQL for many.

One transaction holds the writes of a batch, the record of each update, the answers that are owed, and the offsets.
Nothing here asks whether a write is allowed.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    Connection,
    Engine,
    Select,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from deploy.settings import shown
from schemas.headers import Headers
from schemas.records import CrmResult, CrmUpdate, TimeUs
from sinks import crm_tables as t
from sinks.consume import Place
from streams import Broken

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outgoing(NamedTuple):
    """A record that the sink owes to a topic."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


class CrmStore:
    """One store; every method that fails on the database's side raises Broken."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.where = shown(url)
        with self._guarded():
            t.metadata.create_all(self._engine)
        self._bind(
            "schema_version",
            t.SCHEMA_VERSION,
            "Another version of Mandate made it: use that, or another MANDATE_CRM_URL.",
        )

    def bind_to_cluster(self, cluster_id: str) -> None:
        """Ties the store to a Kafka cluster, whose offsets it holds; Broken when it belongs to another one."""
        self._bind("cluster_id", cluster_id, "Its offsets are another Kafka cluster's: name another MANDATE_CRM_URL.")

    def offsets(self) -> dict[Place, int]:
        """Next offset of each partition; none for what was never read."""
        with self._guarded(), self._engine.connect() as connection:
            rows = connection.execute(select(t.offsets))
            return {Place(row.topic, row.partition): row.next_offset for row in rows}

    @contextmanager
    def transaction(self) -> Iterator["Writes"]:
        """All of it or nothing: commits at the end of the block, rolls back on any exception."""
        with self._guarded(), self._engine.begin() as connection:
            yield Writes(connection)

    def owed(self, limit: int = 1000) -> list[tuple[int, Outgoing]]:
        """Answers to send, oldest first, with their ids."""
        with self._guarded(), self._engine.connect() as connection:
            rows = connection.execute(select(t.outbox).order_by(t.outbox.c.id).limit(limit))
            return [(row.id, _outgoing(row)) for row in rows]

    def settle(self, ids: Sequence[int]) -> None:
        """Forgets answers that the broker has acknowledged."""
        if ids:
            with self._guarded(), self._engine.begin() as connection:
                connection.execute(delete(t.outbox).where(t.outbox.c.id.in_(ids)))

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def _bind(self, name: str, value: str, otherwise: str) -> None:
        with self._guarded(), self._engine.begin() as connection:
            known = connection.scalar(select(t.facts.c.value).where(t.facts.c.name == name))
            if known is None:
                connection.execute(insert(t.facts).values(name=name, value=value))
            elif known != value:
                difference = f"its {name} is {known}, not {value}"
                raise Broken(f"The CRM store {self.where} can't be used: {difference}.", otherwise)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()
            raise Broken(
                f"The CRM store {self.where} fails ({' '.join(cause)[:300]}).", "Check MANDATE_CRM_URL."
            ) from error


class Writes:
    """What can be done within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self, digest: str) -> bool:
        """Whether this very update was dealt with before."""
        return self._find(_KNOWN, digest) is not None

    def user_of(self, grant_id: str) -> str | None:
        """Id of the update that used up a grant."""
        return self._find(_USER, grant_id)

    def owner_of(self, external_id: str) -> str | None:
        """Lead of a CRM record; None when there is no such record yet."""
        return self._find(_OWNER, external_id)

    def upsert(self, change: CrmUpdate) -> list[str]:
        """Writes the fields; returns those that already held a newer value and kept it."""
        moment, record = _moment(change.at), change.external_id
        if self.owner_of(record) is None:
            lead = {"external_id": record, "lead_id": change.lead_id, "created_at": moment, "updated_at": moment}
            self._connection.execute(_NEW_LEAD, lead)
        else:
            self._connection.execute(_TOUCH_LEAD, {"of": record, "updated_at": moment})
        held = {row.field: row.effective_offset for row in self._connection.execute(_HELD, {"of": record})}
        kept = sorted(name for name in change.fields if held.get(name, -1) > change.effective_offset)
        for name in sorted(change.fields.keys() - set(kept)):
            values = {
                "value": change.fields[name],
                "effective_offset": change.effective_offset,
                "update_id": change.update_id,
                "updated_at": moment,
            }
            if name in held:
                self._connection.execute(_SET_FIELD, {"of": record, "named": name, **values})
            else:
                self._connection.execute(_NEW_FIELD, {"external_id": record, "field": name, **values})
        return kept

    def record(
        self, change: CrmUpdate, digest: str, outcome: CrmResult, grant_id: str | None, place: Place, offset: int
    ) -> None:
        """Notes what became of an update. grant_id: the grant it used up; None when it was refused."""
        note = {
            "digest": digest,
            **{name: storable(getattr(change, name)) for name in _RECORDED},
            "result": outcome.result.value,
            "code": outcome.code.value if outcome.code else None,
            "message": outcome.message,
            "used_grant_id": grant_id,
            "effective_offset": change.effective_offset,
            "topic": place.topic,
            "partition": place.partition,
            "offset": offset,
            "at": _moment(outcome.at),
        }
        self._connection.execute(_NOTE, note)

    def owe(self, record: Outgoing) -> None:
        """Notes a record to send once this transaction stands."""
        headers = json.dumps([[name, value.decode("latin-1")] for name, value in record.headers])
        self._connection.execute(_OWE, record._asdict() | {"headers": headers})

    def advance(self, place: Place, before: int | None, after: int) -> None:
        """Moves an offset; Broken when another sink has moved it meanwhile."""
        if before is None:
            where = {"topic": place.topic, "partition": place.partition}
            self._connection.execute(insert(t.offsets), where | {"next_offset": after})
            return
        offsets = t.offsets.c
        moved = self._connection.execute(
            update(t.offsets)
            .where(offsets.topic == place.topic, offsets.partition == place.partition, offsets.next_offset == before)
            .values(next_offset=after)
        )
        if moved.rowcount != 1:
            raise Broken(f"Another CRM sink reads {place.topic}[{place.partition}] into this store.", "Run one alone.")

    def _find(self, query: Select[Any], of: str) -> str | None:
        found: str | None = self._connection.scalar(query, {"of": of})
        return found


# Built once: making a statement costs SQLAlchemy more than running it.
_OF: BindParameter[str] = bindparam("of")
_KNOWN = select(t.updates.c.digest).where(t.updates.c.digest == _OF)
_USER = select(t.updates.c.update_id).where(t.updates.c.used_grant_id == _OF)
_OWNER = select(t.leads.c.lead_id).where(t.leads.c.external_id == _OF)
_HELD = select(t.fields.c.field, t.fields.c.effective_offset).where(t.fields.c.external_id == _OF)
_NEW_LEAD, _NEW_FIELD, _NOTE, _OWE = insert(t.leads), insert(t.fields), insert(t.updates), insert(t.outbox)
_TOUCH_LEAD = update(t.leads).where(t.leads.c.external_id == _OF)
_SET_FIELD = update(t.fields).where(t.fields.c.external_id == _OF, t.fields.c.field == bindparam("named"))

_RECORDED = ("update_id", "lead_id", "external_id", "role", "agent_id", "decision_id")


def storable(text: str, limit: int = 200) -> str:
    """Text from outside that every database and Avro take: cut, without NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:limit]


def _moment(at: TimeUs) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=at)
    except OverflowError:
        return _EPOCH


def _outgoing(row: Any) -> Outgoing:
    headers = [(name, value.encode("latin-1")) for name, value in json.loads(row.headers)]
    return Outgoing(row.topic, row.key, row.value, headers, row.timestamp_ms)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(url, parsed.database)
        return create_engine(url, pool_pre_ping=True)
    except (ArgumentError, ImportError) as error:
        raise Broken(f"MANDATE_CRM_URL is no database URL that can be used ({error}).", "Correct it.") from error
    except ValueError:  # its text may hold a part of the password
        raise Broken("MANDATE_CRM_URL is no database URL that can be used.", "Correct it.") from None


def _sqlite(url: str, database: str | None) -> Engine:
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # The driver's own BEGIN comes too late and is DEFERRED: a read would not be part of the transaction.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
