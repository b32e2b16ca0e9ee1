"""State that can't be trusted is set aside with a sentence and rebuilt from the changelog; it is never used."""

import asyncio
import logging
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from streams import Broken
from streams.disk import ASIDE, IDENTITY_KEY, MARK, is_damage, scan, set_aside
from streams.tables import OFFSET_KEY
from tests.core.test_replay import fold
from tests.topology.changelog_model import NUMBER, Changelog, Owner, owner
from tests.topology.test_owners import END, JOURNAL, must_equal_an_undisturbed_fold

JUDGED = 12
ROOT = Path(__file__).parents[2]


@pytest.fixture
def log() -> Changelog:
    """What an owner wrote that judged a part of the journal, on a disk of its own."""
    return Changelog()


@pytest.fixture
def disk(log: Changelog, tmp_path: Path) -> Path:
    """The disk of that owner, who is gone."""

    async def run() -> None:
        with owner(log, JOURNAL, tmp_path / "disk") as first:
            await first.take_over()
            await first.land(JUDGED)
            first.table._db(NUMBER).flush()

    asyncio.run(run())
    return tmp_path / "disk"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.WARNING, "mandate.control")
    return lambda: caplog.text


def database_of(log: Changelog, disk: Path) -> Path:
    return Owner(log, JOURNAL, disk).table.store.partition_path(NUMBER)


def put(key: bytes, value: bytes) -> Callable[[Path, Owner], None]:
    def change(_path: Path, found: Owner) -> None:
        found.table._db(NUMBER).put(key, value)

    return change


def without_identity(_path: Path, found: Owner) -> None:
    found.table._db(NUMBER).delete(IDENTITY_KEY)


def only(path: Path, pattern: str) -> Path:
    (found,) = path.glob(pattern)
    return found


def cut_manifest(path: Path, found: Owner) -> None:
    found.die()
    manifest = only(path, "MANIFEST-*")
    manifest.write_bytes(manifest.read_bytes()[:20])


def no_manifest(path: Path, found: Owner) -> None:
    found.die()
    only(path, "MANIFEST-*").unlink()


def no_table_file(path: Path, found: Owner) -> None:
    found.die()
    for file in path.glob("*.sst"):
        file.unlink()


def garbage_in_current(path: Path, found: Owner) -> None:
    found.die()
    (path / "CURRENT").write_text("garbage")


def must_be_rebuilt(log: Changelog, disk: Path) -> None:
    """An owner on that disk has what the changelog has, and goes on."""

    async def run() -> None:
        with owner(log, JOURNAL, disk) as again:
            await again.take_over()
            assert again.applied == JUDGED - 1
            await again.land(END)
            assert again.rows()
            must_equal_an_undisturbed_fold(again, _earlier_outputs() + again.outputs)

    asyncio.run(run())


def _earlier_outputs() -> list[tuple[str, bytes]]:
    return fold(JOURNAL[:JUDGED])[0]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (put(OFFSET_KEY, b"10000"), r"reaches changelog offset 10000, but \S+ ends at \d+\."),
        (put(OFFSET_KEY, b"no number"), r"reaches no offset, but b'no number'"),
        (put(IDENTITY_KEY, b"log 3"), r"is another's: it says 'log 3', not 'log 0'"),
        (put(IDENTITY_KEY, b"older-topic 0"), r"is another's: it says 'older-topic 0', not 'log 0'"),
        (without_identity, r"is another's: it says nothing"),
        (cut_manifest, r"can't be opened \(Corruption"),
        (no_manifest, r"can't be opened \(IO error: No such file"),
        (no_table_file, r"can't be opened \(Corruption"),
        (garbage_in_current, r"can't be opened \(Corruption"),
    ],
    ids=[
        "an offset beyond the changelog", "an offset that is none", "another partition's", "another topic's",
        "whose it is unknown", "a cut manifest", "no manifest", "a table file gone", "garbage",
    ],
)  # fmt: skip
def test_a_directory_that_is_not_what_it_should_be_is_set_aside_and_rebuilt(
    log: Changelog,
    disk: Path,
    said: Callable[[], str],
    damage: Callable[[Path, Owner], None],
    sentence: str,
) -> None:
    path = database_of(log, disk)
    with owner(log, JOURNAL, disk) as found:
        found.table._db(NUMBER).put(b"l/nobody", b"what must never be used")
        damage(path, found)
    must_be_rebuilt(log, disk)
    assert re.search(sentence, said())
    assert f"It is set aside as {path}{ASIDE} and the partition is restored from its changelog." in said()
    assert path.with_name(path.name + ASIDE).is_dir()


def what_ends(found: Owner, keys: list[bytes]) -> str:
    """What the process would end with when it reads some rows one by one, or all of them in a scan."""
    rows = found.table.rows(NUMBER)
    try:
        _ = [rows.get(key) for key in keys] or list(rows.scan(b""))
    except Broken as broken:
        return str(broken)
    return ""


@pytest.mark.parametrize("read", ["get", "scan"])
def test_a_block_whose_checksum_is_wrong_ends_the_process_and_the_next_one_rebuilds(
    log: Changelog, disk: Path, said: Callable[[], str], read: str
) -> None:
    path = database_of(log, disk)
    keys = [b"m/%04d" % number for number in range(200)]
    with owner(log, JOURNAL, disk) as found:
        db = found.table._db(NUMBER)
        for key in keys:
            db.put(key, os.urandom(500))
        db.compact_range(None, None)
    file = only(path, "*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF  # not in the first block: it holds whose state this is
    file.write_bytes(content)
    with owner(log, JOURNAL, disk) as found:
        told = what_ends(found, keys if read == "get" else [])
        assert re.search(r"^The state of partition 0 in .* can't be used \(Corruption", told)
        assert "the directory is set aside" in told
        assert (path / MARK).is_file()
    must_be_rebuilt(log, disk)
    assert "The state of partition 0 could not be read (Corruption" in said()
    assert not (path / MARK).exists()


def test_damage_that_shows_when_files_are_merged_ends_the_process_and_the_next_one_rebuilds(
    log: Changelog, disk: Path, said: Callable[[], str]
) -> None:
    """Nobody reads that block: RocksDB does, in the background, and then takes no write any more."""
    path = database_of(log, disk)
    with owner(log, JOURNAL, disk) as found:
        db = found.table._db(NUMBER)
        for number in range(200):
            db.put(b"m/%04d" % number, os.urandom(500))
        db.compact_range(None, None)
    file = only(path, "*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with owner(log, JOURNAL, disk) as found:
        found.table._db(NUMBER).put(b"m/0100", b"new")
        with suppress(Exception):
            found.table._db(NUMBER).compact_range(None, None)
        with pytest.raises(Broken, match=r"^The state of partition 0 in .* can't be used \(Corruption"):
            found.table._put(NUMBER, [(b"x", b"y")], 1)
        assert (path / MARK).is_file()
    must_be_rebuilt(log, disk)
    assert "The state of partition 0 could not be read (Corruption" in said()


def test_a_row_that_can_t_be_decoded_ends_the_takeover_and_the_next_one_rebuilds(
    log: Changelog, disk: Path, said: Callable[[], str]
) -> None:
    async def run() -> None:
        with owner(log, JOURNAL, disk) as found:
            found.table._db(NUMBER).put(b"p", b"\x09no row")
            with pytest.raises(Broken, match="row in format 09, this release reads 01"):
                await found.take_over()

    asyncio.run(run())
    must_be_rebuilt(log, disk)
    assert "row in format 09" in said()


def test_a_directory_that_is_in_order_is_used_as_it_is(log: Changelog, disk: Path, said: Callable[[], str]) -> None:
    with owner(log, JOURNAL, disk) as found:
        found.table._db(NUMBER).put(b"x", b"only on this disk")
    with owner(log, JOURNAL, disk) as again:
        assert again.table.rows(NUMBER).get(b"x") == b"only on this disk"
    assert said() == ""


def test_an_error_of_the_machine_sets_nothing_aside(log: Changelog, disk: Path, said: Callable[[], str]) -> None:
    with owner(log, JOURNAL, disk) as holds, owner(log, JOURNAL, disk) as waits:
        assert holds.rows()
        with pytest.raises(Exception, match="lock"):
            waits.table.rows(NUMBER)
    assert said() == ""
    assert not is_damage(Exception("IO error: No space left on device: While appending to file"))
    assert not is_damage(Exception("IO error: While open a file for random read: Too many open files"))
    assert not is_damage(Exception("IO error: While appending to file: 000012.log: File too large"))
    assert is_damage(Exception("Corruption: block checksum mismatch"))


def test_one_directory_is_kept_aside_and_an_older_one_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "execution-0.db"
    for number in range(3):
        path.mkdir()
        (path / "which").write_text(str(number))
        set_aside(path, "It is a test.")
    assert [p.name for p in tmp_path.iterdir()] == [f"execution-0.db{ASIDE}"]
    assert (tmp_path / f"execution-0.db{ASIDE}" / "which").read_text() == "2"


def test_a_scan_gives_the_rows_of_its_prefix_by_key(log: Changelog, disk: Path) -> None:
    with owner(log, JOURNAL, disk) as found:
        db = found.table._db(NUMBER)
        db.put(b"z/b", b"2")
        db.put(b"z/a", b"1")
        db.put(b"z0", b"not one of them")
        assert list(scan(db, b"z/")) == [(b"z/a", b"1"), (b"z/b", b"2")]


WRITES = """
import os, sys
from pathlib import Path
from tests.topology.changelog_model import NUMBER, Changelog, Owner
from tests.topology.test_disk import batch
found = Owner(Changelog(), [], Path(sys.argv[1]))
start = 0 if found.table.reached(NUMBER) is None else found.table.reached(NUMBER) + 1
for offset in range(start, start + int(sys.argv[2])):
    found.table._put(NUMBER, batch(offset), offset)
if sys.argv[3] == "kept":
    found.table.keep(NUMBER)
elif sys.argv[3] == "closed":
    found.die()
os._exit(9)
"""


def batch(offset: int) -> list[tuple[bytes, bytes]]:
    """What is written with a changelog offset: some rows of few keys, as large as rows are, none like another."""
    chance = random.Random(offset)
    return [(b"l/%02d" % chance.randrange(40), chance.randbytes(chance.randrange(2_000, 9_000))) for _ in range(5)]


def write(directory: Path, offsets: int, how: str) -> None:
    """A worker that writes so many, then dies of SIGKILL; "kept" or "closed": after it made them last."""
    ended = subprocess.run([sys.executable, "-c", WRITES, str(directory), str(offsets), how], cwd=ROOT, check=False)
    assert ended.returncode == 9


def rows_at(offset: int | None) -> dict[bytes, bytes]:
    """What stands in the rows when everything up to an offset was written and nothing after it."""
    return {key: value for number in range(-1 if offset is None else offset + 1) for key, value in batch(number)}


@pytest.mark.parametrize(("how", "reached"), [("killed", range(1, 1_500)), ("kept", [1_499]), ("closed", [1_499])])
def test_a_worker_that_is_killed_leaves_an_earlier_moment_whole(
    tmp_path: Path, how: str, reached: Sequence[int]
) -> None:
    write(tmp_path, 1_500, how)
    with owner(Changelog(), [], tmp_path) as found:
        offset = found.table.reached(NUMBER)
        assert offset in reached
        assert found.rows() == rows_at(offset)


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of a worker that was started, killed and ended in order several times, with files of each time."""
    directory = tmp_path_factory.mktemp("worn")
    for offsets, how in ((1_500, "killed"), (40, "kept"), (900, "killed"), (200, "killed")):
        write(directory, offsets, how)
    return directory


def use(directory: Path) -> str:
    """What an owner of that disk has: "told" when it may not use what lies there, else whether that is one moment."""
    with owner(Changelog(), [], directory) as found:
        try:
            offset, rows = found.table.reached(NUMBER), found.rows()
        except Broken:
            return "told"
        set_aside = list(found.table.store.partition_path(NUMBER).parent.glob(f"*{ASIDE}"))
    assert rows == ({} if set_aside else rows_at(offset))
    return "told" if set_aside else "whole"


def copy_of(worn: Path, directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(worn, directory)
    return database_of(Changelog(), directory)


def test_wherever_the_list_of_files_is_cut_off_nothing_is_lost_without_a_word(worn: Path, tmp_path: Path) -> None:
    """RocksDB takes a manifest that is cut off for one that was being written. Files named in what is gone are gone.

    With a log of its own it then went on with what that log still had: newer rows and their offset, without the older.
    """
    manifest = only(copy_of(worn, tmp_path / "worn"), "MANIFEST-*").read_bytes()
    seen = set()
    for size in range(0, len(manifest), max(1, len(manifest) // 60)):
        only(copy_of(worn, tmp_path / "cut"), "MANIFEST-*").write_bytes(manifest[:size])
        seen.add(use(tmp_path / "cut"))
    assert seen == {"told", "whole"}


def test_damage_anywhere_is_told_or_leaves_an_earlier_moment_whole(worn: Path, tmp_path: Path) -> None:
    chance, seen = random.Random(5), set()
    for _ in range(50):
        path = copy_of(worn, tmp_path / "damaged")
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size > 16)
        for file in chance.sample(files, chance.randrange(1, 4)):
            damage_file(file, chance)
        seen.add(use(tmp_path / "damaged"))
    assert seen == {"told", "whole"}


def test_the_list_of_files_stays_within_one_block_however_many_there_were(tmp_path: Path) -> None:
    """In a second block, one that can be read would go on after one that can't."""
    with owner(Changelog(), [], tmp_path) as found:
        for number in range(400):
            found.table._put(NUMBER, [(b"l/1", b"%d" % number)], number)
            found.table.keep(NUMBER)
        path = found.table.store.partition_path(NUMBER)
        assert max(file.stat().st_size for file in path.glob("MANIFEST-*")) < 32 << 10
        assert len(list(path.glob("*.sst"))) < 20


def damage_file(file: Path, chance: random.Random) -> None:
    """Cut off, written over with nonsense, or with nothing, as by a disk that lost a piece."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(chance.randrange(size))
        match chance.randrange(3):
            case 0:
                opened.truncate()
            case 1:
                opened.write(b"\xa5\x5a\xa5")
            case _:
                opened.write(bytes(chance.choice((16, 4_096, 40_000)))[: size - opened.tell()])


def test_what_an_earlier_release_wrote_to_a_log_of_rocksdb_is_read_from_it(tmp_path: Path) -> None:
    with owner(Changelog(), [], tmp_path) as found:
        found.table._db(NUMBER).put(b"l/1", b"logged")
        found.table._db(NUMBER).put(OFFSET_KEY, b"7")
    with owner(Changelog(), [], tmp_path) as found:
        assert (found.table.reached(NUMBER), found.rows()) == (7, {b"l/1": b"logged"})
