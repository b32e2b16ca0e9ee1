"""Tables of the CRM store. Names are permanent. SQLite and PostgreSQL have the same ones."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = "1"

metadata = MetaData()
_Id = String(200)
_Moment = DateTime(timezone=True)

leads = Table(
    "crm_leads",
    metadata,
    Column("external_id", _Id, primary_key=True, comment="the CRM's id of the record"),
    Column("lead_id", _Id, nullable=False, comment="the person; a record never changes hands"),
    Column("created_at", _Moment, nullable=False, comment="journal time of the first write, UTC"),
    Column("updated_at", _Moment, nullable=False, comment="journal time of the latest write, UTC"),
    Index("crm_leads_by_lead", "lead_id"),
    comment="One row for each CRM record that was written to.",
)

fields = Table(
    "crm_fields",
    metadata,
    Column("external_id", _Id, primary_key=True),
    Column("field", _Id, primary_key=True),
    Column("value", Text, nullable=False),
    Column("effective_offset", BigInteger, nullable=False, comment="journal offset: older never overwrites newer"),
    Column("update_id", _Id, nullable=False, comment="the write that set it"),
    Column("updated_at", _Moment, nullable=False, comment="journal time of that write, UTC"),
    comment="The fields of each record, as they are now.",
)

updates = Table(
    "crm_updates",
    metadata,
    Column("digest", String(64), primary_key=True, comment="sha256 of the update's Avro body: what makes it once"),
    Column("update_id", _Id, nullable=False),
    Column("lead_id", _Id, nullable=False),
    Column("external_id", _Id, nullable=False),
    Column("role", _Id, nullable=False),
    Column("agent_id", _Id, nullable=False),
    Column("decision_id", _Id, nullable=False),
    Column("result", String(20), nullable=False, comment="APPLIED, SUPERSEDED or REFUSED"),
    Column("code", String(40), comment="why it was refused"),
    Column("message", Text, nullable=False),
    Column("used_grant_id", _Id, unique=True, comment="the grant that it used up; null when refused"),
    Column("effective_offset", BigInteger, nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False, comment="where the update was read"),
    Column("at", _Moment, nullable=False, comment="time of the write by the sink's clock, UTC"),
    Index("crm_updates_by_update", "update_id"),
    Index("crm_updates_by_lead", "lead_id"),
    comment="Every update that came, with what became of it.",
)

offsets = Table(
    "sink_offsets",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    comment="Where to read on; moves in the transaction of the writes.",
)

outbox = Table(
    "sink_outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("topic", String(249), nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False, comment="JSON list of name and value, bytes as Latin-1"),
    Column("timestamp_ms", BigInteger, nullable=False),
    comment="Answers that the broker has not acknowledged yet, byte for byte.",
)

facts = Table(
    "sink_facts",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
    comment="What the store itself rests on: schema_version, cluster_id.",
)
