"""Which records of the changelog count as rows, and what is read of a worker's disk."""

from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from deploy.state_rows import DiskError, read_disk, table_of
from processors.explain.rows import Row, Sample
from processors.partition import PARTITION_KEY
from schemas.records import LeadId
from streams.owners import UNSTAMPED, Entry, Stamp, claim_of
from streams.tables import OFFSET_KEY, TABLE

ANN = b"l/ann"


def test_a_row_that_came_late_is_counted_and_the_row_before_it_stands() -> None:
    key, value = claim_of(b"second", 7)
    log = [
        Entry(0, ANN, b"first", Stamp(-1, 5)),
        Entry(1, key, value, UNSTAMPED),
        Entry(2, b"l/bob", b"mine", Stamp(1, 8)),
        Entry(3, ANN, b"late", Stamp(-1, 6)),
        Entry(4, b"l/bob", b"late", UNSTAMPED),
    ]
    table, late = table_of(log, Sample(None))
    assert late == 2
    assert table.rows == {ANN: Row(b"first", 0), b"l/bob": Row(b"mine", 2)}
    table, late = table_of([*log, Entry(5, ANN, b"mended", Stamp(1, 6)), Entry(6, key, None, UNSTAMPED)], Sample(None))
    assert late == 1
    assert table.rows[ANN] == Row(b"mended", 5)


def write(path: Path, rows: dict[bytes, bytes]) -> None:
    path.parent.mkdir(parents=True)
    database = Rdict(str(path), options=Options(raw_mode=True))
    for key, value in rows.items():
        database[key] = value
    database.close()


def test_a_disk_is_read_with_its_offset_and_without_the_engines_own_notes(tmp_path: Path) -> None:
    rows = {ANN: b"1", PARTITION_KEY: b"2", OFFSET_KEY: b"41", b"__mandate\x00claim/x": b"3"}
    write(tmp_path / "id" / "tables" / f"{TABLE}-3.db", rows)
    before = sorted(path for path in tmp_path.rglob("*"))
    disk = read_disk(tmp_path, 3)
    assert disk is not None
    assert (disk.rows, disk.reaches) == ({ANN: b"1", PARTITION_KEY: b"2"}, 41)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert read_disk(tmp_path, 2) is None
    sample = Sample(None)
    assert disk.of(sample) == disk.rows, "leads that nobody knows are asked for"
    sample.known.add(LeadId("ann"))
    assert disk.of(sample) == {PARTITION_KEY: b"2"}


def test_a_directory_of_several_states_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / f"{TABLE}-0.db", {ANN: b"1"})
    with pytest.raises(DiskError, match="several states of partition 0"):
        read_disk(tmp_path, 0)
    with pytest.raises(DiskError, match="there is no directory"):
        read_disk(tmp_path / "three", 0)
    (tmp_path / "three" / f"{TABLE}-1.db").mkdir(parents=True)
    with pytest.raises(DiskError, match="can't be read"):
        read_disk(tmp_path / "three", 1)
