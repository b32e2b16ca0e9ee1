"""The lake's tables on real Iceberg: rows and offsets move together, whatever else happens to a table."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table

from deploy.settings import Settings, load_settings
from schemas.records import Transition
from sinks import lake
from sinks.columns import Row, table_schema
from sinks.lake import LandingTable, Span, load_table, open_catalog, stored_offsets
from streams import Broken
from tests.sinks.support import NOON

TOPIC = "execution.transitions"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path)


def landing(settings: Settings, cluster: str = "cluster-a") -> LandingTable:
    return LandingTable(open_catalog(settings), TOPIC, cluster)


def rows(partition: int, first: int, count: int) -> list[Row]:
    return [
        {"_topic": TOPIC, "_partition": partition, "_offset": offset, "fact": f"fact-{offset}", "at": NOON}
        for offset in range(first, first + count)
    ]


def land(table: LandingTable, first: int, count: int, partition: int = 0) -> None:
    data = pa.Table.from_pylist(rows(partition, first, count), schema=table_schema(Transition))
    table.land(data, {partition: Span(first, first + count, count)}, NOON)


def table_of(settings: Settings) -> Table:
    found = load_table(open_catalog(settings), TOPIC)
    assert found is not None
    return found


def offsets_in(settings: Settings, partition: int = 0) -> list[int]:
    scanned = table_of(settings).scan(row_filter=f"_partition == {partition}").to_arrow()
    return sorted(scanned["_offset"].to_pylist())


def test_a_commit_holds_rows_and_offsets_and_a_new_process_reads_on_from_there(settings: Settings) -> None:
    table = landing(settings)
    land(table, 0, 3)
    land(table, 10, 2, partition=1)
    assert landing(settings).offsets == {0: 3, 1: 12}
    assert offsets_in(settings) == [0, 1, 2]


def test_at_no_moment_do_rows_and_offsets_disagree(settings: Settings) -> None:
    table = landing(settings)
    for number in range(5):
        land(table, number * 3, 3)
    now = table_of(settings)
    versions = [entry.metadata_file for entry in now.metadata.metadata_log] + [now.metadata_location]
    seen = []
    for version in versions:
        metadata = FromInputFile.table_metadata(now.io.new_input(version))
        snapshot = metadata.current_snapshot()
        count = int(snapshot.summary["total-records"] or 0) if snapshot and snapshot.summary else 0
        offsets = json.loads(metadata.properties.get(lake.OFFSETS, "{}"))
        assert offsets.get("0", 0) == count
        seen.append(count)
    assert seen[-5:] == [3, 6, 9, 12, 15]


def test_the_last_commit_is_known_to_the_next_process(settings: Settings) -> None:
    table = landing(settings)
    assert table.last_commit() is None
    land(table, 0, 3)
    commit = landing(settings).last_commit()
    assert commit == table.last_commit()
    assert commit is not None
    assert (commit.spans, commit.at, commit.topic) == ({0: Span(0, 3, 3)}, NOON, TOPIC)


def test_of_two_sinks_the_slower_ends_and_no_row_is_there_twice(settings: Settings) -> None:
    slow, fast = landing(settings), landing(settings)
    land(fast, 0, 5)
    with pytest.raises(Broken, match="Another audit sink"):
        land(slow, 0, 3)
    assert offsets_in(settings) == [0, 1, 2, 3, 4]


def test_a_sink_goes_on_after_another_engine_has_rewritten_the_files(settings: Settings) -> None:
    table = landing(settings)
    land(table, 0, 3)
    land(table, 3, 3)
    other = table_of(settings)
    other.overwrite(other.scan().to_arrow())
    assert stored_offsets(table_of(settings)) == {0: 6}
    land(table, 6, 1)
    assert offsets_in(settings) == list(range(7))
    assert landing(settings).offsets == {0: 7}


def test_offsets_outlive_the_snapshots_that_brought_them(settings: Settings) -> None:
    land(landing(settings), 0, 3)
    other = table_of(settings)
    other.overwrite(other.scan().to_arrow())
    old = [s.snapshot_id for s in other.metadata.snapshots if s.snapshot_id != other.current_snapshot().snapshot_id]  # type: ignore[union-attr]
    other.maintenance.expire_snapshots().by_ids(old).commit()
    assert landing(settings).offsets == {0: 3}


def test_a_table_that_is_rolled_back_is_filled_again_from_where_it_then_stands(settings: Settings) -> None:
    table = landing(settings)
    land(table, 0, 3)
    first = table_of(settings).current_snapshot()
    assert first is not None
    land(table, 3, 3)
    table_of(settings).manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    again = landing(settings)
    assert again.offsets == {0: 3}
    land(again, 3, 3)
    assert offsets_in(settings) == list(range(6))


def test_old_snapshots_go_and_every_row_stays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "_MAX_SNAPSHOTS", 6)
    monkeypatch.setattr(lake, "_KEPT_SNAPSHOTS", 3)
    table = landing(settings)
    for number in range(20):
        land(table, number, 1)
    assert len(table_of(settings).metadata.snapshots) <= 6
    assert offsets_in(settings) == list(range(20))
    lists = list(settings.lake_dir.rglob("snap-*.avro"))
    assert len(lists) <= 6
    assert landing(settings).offsets == {0: 20}


def test_a_lake_belongs_to_one_kafka_cluster(settings: Settings) -> None:
    landing(settings, "cluster-a")
    with pytest.raises(Broken, match="another MANDATE_LAKE_DIR"):
        landing(settings, "cluster-b")


def test_a_field_that_the_schema_gains_becomes_a_column_and_old_rows_have_null_there(settings: Settings) -> None:
    full = table_schema(Transition)
    catalog = open_catalog(settings)
    older = pa.schema([field for field in full if field.name != "fact"])
    made = catalog.create_table(
        (lake.NAMESPACE, lake.table_name(TOPIC)), older, properties={"mandate.cluster-id": "cluster-a"}
    )
    made.append(pa.Table.from_pylist([{"_partition": 0, "_offset": 0}], schema=older))
    land(landing(settings), 1, 1)
    scanned = table_of(settings).scan().to_arrow().sort_by("_offset")
    assert scanned["fact"].to_pylist() == [None, "fact-1"]


def test_the_tables_own_retry_is_off_because_it_would_land_rows_twice(settings: Settings) -> None:
    landing(settings)
    with table_of(settings).transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "4"})
    landing(settings)
    assert table_of(settings).properties["commit.retry.num-retries"] == "0"


def test_a_catalogue_that_does_not_open_is_one_sentence(tmp_path: Path) -> None:
    wrong = load_settings(data_dir=tmp_path, lake_catalog_url="sqlite:////no/such/dir/catalog.sqlite")
    with pytest.raises(Broken, match="MANDATE_LAKE_CATALOG_URL"):
        open_catalog(wrong)
