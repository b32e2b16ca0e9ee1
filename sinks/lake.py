"""The audit lake: one Iceberg table a topic, whose commits carry the offsets of what they hold.

The next offset of every partition stands in the summary of each snapshot and in the table's properties, written by
the commit that adds the rows. Whatever is killed whenever, rows and offsets agree. The summary goes with the data
through a rollback; the properties are there when maintenance expired the snapshots.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from sqlalchemy.exc import SQLAlchemyError

from schemas.catalogue import AUDIT_SINK, TOPICS
from schemas.records import Record, TimeUs
from sinks.columns import table_schema
from streams import Broken

if TYPE_CHECKING:
    from deploy.settings import Settings

AUDITED: Mapping[str, type[Record]] = {
    topic.name: topic.value for topic in TOPICS.values() if topic.value is not None and AUDIT_SINK in topic.readers
}
"""The topics that are landed, one table each, with their records."""

NAMESPACE = "mandate"
OFFSETS, LANDED, LANDED_AT = "mandate.offsets", "mandate.landed", "mandate.landed-at-us"
_TOPIC, _CLUSTER = "mandate.topic", "mandate.cluster-id"
_ATTEMPTS = 5
_MAX_SNAPSHOTS, _KEPT_SNAPSHOTS = 300, 200

# pyiceberg's own retry would put the same rows on top of a rival's commit: both would have landed them.
_PROPERTIES = {
    "commit.retry.num-retries": "0",
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "write.parquet.compression-codec": "zstd",
}


class Span(NamedTuple):
    """What one commit holds of a partition."""

    first: int
    next: int
    records: int


class Commit(NamedTuple):
    """One commit of a table."""

    table: str
    topic: str
    snapshot_id: int
    at: TimeUs
    spans: dict[int, Span]


def open_catalog(settings: "Settings") -> SqlCatalog:
    """The lake's catalogue, made when it is not there."""
    settings.lake_dir.mkdir(parents=True, exist_ok=True)
    try:
        catalog = SqlCatalog(NAMESPACE, uri=settings.lake_catalog_url, warehouse=settings.lake_dir.resolve().as_uri())
        catalog.create_namespace_if_not_exists(NAMESPACE)
    except SQLAlchemyError as error:
        why = _cause(error)
        raise Broken(f"The lake's catalogue does not open ({why}).", "Check MANDATE_LAKE_CATALOG_URL.") from error
    except ValueError:  # its text may hold a part of the password
        raise Broken("MANDATE_LAKE_CATALOG_URL is no database URL that can be used.", "Correct it.") from None
    return catalog


def _cause(error: Exception) -> str:
    """What the database or the disk said; not the statement with its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300]


def table_name(topic: str) -> str:
    """Name of a topic's table, without the namespace."""
    return topic.replace(".", "_")


class LandingTable:
    """One topic's table, for the one process that writes to it."""

    def __init__(self, catalog: SqlCatalog, topic: str, cluster_id: str) -> None:
        self.topic = topic
        self._schema = table_schema(AUDITED[topic])
        self._table = self._open(catalog, cluster_id)
        self.offsets = stored_offsets(self._table)

    def land(self, data: pa.Table, spans: Mapping[int, Span], at: TimeUs) -> Commit:
        """Adds rows and moves the offsets in one commit. at: time of the commit by the sink's clock."""
        after = self.offsets | {partition: span.next for partition, span in spans.items()}
        summary = {
            OFFSETS: json.dumps(after),
            LANDED: json.dumps(spans),
            LANDED_AT: str(at),
        }
        self._commit(data, summary)
        self.offsets = after
        self._trim()
        landed = self.last_commit()
        if landed is None:
            raise Broken(f"The table of {self.topic} lost a commit.", "Check who else writes to the lake.")
        return landed

    def last_commit(self) -> Commit | None:
        """What the newest commit of a sink held; None when there was none."""
        found = _newest(self._table)
        if found is None or found.summary is None:
            return None
        landed = json.loads(found.summary[LANDED] or "{}")
        spans = {int(partition): Span(*span) for partition, span in landed.items()}
        at = int(found.summary[LANDED_AT] or 0)
        return Commit(table_name(self.topic), self.topic, found.snapshot_id, at, spans)

    def _commit(self, data: pa.Table, summary: dict[str, str]) -> None:
        for _ in range(_ATTEMPTS):
            try:
                with self._table.transaction() as transaction:
                    transaction.append(data, snapshot_properties=summary)
                    transaction.set_properties({OFFSETS: summary[OFFSETS]})
                return
            except CommitFailedException:
                # Maintenance by others moves no offsets and is no reason to stop; a second sink does and is.
                self._table = self._table.refresh()
                if stored_offsets(self._table) != self.offsets:
                    raise Broken(f"Another audit sink lands {self.topic} into this lake.", "Run one alone.") from None
            except (OSError, SQLAlchemyError) as error:
                raise Broken(
                    f"The lake takes no commit ({_cause(error)}).", "Check its disk and its catalogue."
                ) from error
        raise Broken(f"The table of {self.topic} changes faster than it is committed to.", "Pause its maintenance.")

    def _open(self, catalog: SqlCatalog, cluster_id: str) -> Table:
        identifier = (NAMESPACE, table_name(self.topic))
        own = {_TOPIC: self.topic, _CLUSTER: cluster_id}
        table = catalog.create_table_if_not_exists(identifier, self._schema, properties=_PROPERTIES | own)
        if table.properties.get(_CLUSTER) != cluster_id:
            raise Broken(
                f"The lake's {table_name(self.topic)} was filled from Kafka cluster {table.properties.get(_CLUSTER)}, "
                f"and this one is {cluster_id}.",
                "Name another MANDATE_LAKE_DIR.",
            )
        with table.update_schema() as change:
            change.union_by_name(self._schema)
        if table.properties.get("commit.retry.num-retries") != "0":
            with table.transaction() as transaction:
                transaction.set_properties(_PROPERTIES)
        return table.refresh()

    def _trim(self) -> None:
        """Forgets old snapshots: each commit's cost grows with them. No row goes, tables are append-only."""
        snapshots = sorted(self._table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
        if len(snapshots) <= _MAX_SNAPSHOTS:
            return
        named = {ref.snapshot_id for ref in self._table.metadata.refs.values()}
        kept = [s for i, s in enumerate(snapshots, -len(snapshots)) if i >= -_KEPT_SNAPSHOTS or s.snapshot_id in named]
        old = [snapshot for snapshot in snapshots if snapshot not in kept]
        files = _files_of(self._table, old) - _files_of(self._table, kept)
        try:
            self._table.maintenance.expire_snapshots().by_ids([snapshot.snapshot_id for snapshot in old]).commit()
        except CommitFailedException:
            files = set()  # somebody else changes the table just now: the next commit tries again
        self._table = self._table.refresh()
        for file in files:
            self._table.io.delete(file)


def load_table(catalog: SqlCatalog, topic: str) -> Table | None:
    """A topic's table for reading; None when nothing was landed yet."""
    try:
        return catalog.load_table((NAMESPACE, table_name(topic)))
    except NoSuchTableError:
        return None


def stored_offsets(table: Table) -> dict[int, int]:
    """Next offset of each partition, as the table itself says."""
    found = _newest(table)
    text = found.summary[OFFSETS] if found and found.summary else table.properties.get(OFFSETS)
    return {int(partition): offset for partition, offset in json.loads(text or "{}").items()}


def _files_of(table: Table, snapshots: list[Snapshot]) -> set[str]:
    """Metadata files that the snapshots consist of; data files are not among them."""
    lists = {snapshot.manifest_list for snapshot in snapshots}
    return lists | {manifest.manifest_path for snapshot in snapshots for manifest in snapshot.manifests(table.io)}


def _newest(table: Table) -> Snapshot | None:
    """The newest snapshot of a sink: rewrites by others, which carry no offsets, may follow it."""
    snapshot = table.current_snapshot()
    while snapshot is not None and (snapshot.summary is None or snapshot.summary.get(OFFSETS) is None):
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    return snapshot
