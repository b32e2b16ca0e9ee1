"""A worker's RocksDB directories: each says whose state it is, and one that can't be trusted is set aside.

What is set aside is never read again; the partition starts empty and is restored from its changelog.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faust.stores.rocksdb import RocksDBOptions, Store
from rocksdict import Options, Rdict, WriteOptions

from streams import Broken

log = logging.getLogger("mandate.control")
UNLOGGED = WriteOptions()
"""Of each write here: none goes to a log of RocksDB's own, or one that went there would outlive those that did not."""
UNLOGGED.disable_wal = True  # type: ignore[method-assign,assignment]  # a property; its stub says method
# What is wrong in a block of RocksDB's manifest (32 KiB) may cost the rest of that block without a word. While there is
# one block only, that is its newest part, and what is left is an earlier moment.
_MANIFEST_BYTES = 16 << 10
IDENTITY_KEY = b"__mandate\x00state_of"
MARK = "untrusted"
"""A file in a directory in which something could not be read; it says what."""
ASIDE = ".set-aside"
# What RocksDB says when the machine is at fault and not the data.
_PASSING = re.compile(
    r"\block\b|no space|permission denied|too many open files|read-only|cannot allocate|quota|file too large|closed",
    re.IGNORECASE,
)


def is_damage(error: Exception) -> bool:
    """Whether an error of RocksDB is about what lies on the disk, not about the machine around it."""
    return str(error).startswith("Corruption") or not _PASSING.search(str(error))


def scan(db: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Rows whose key begins so, by key; raises where `Rdict.items` would end early at a block that can't be read."""
    found: Any = db.iter()
    found.seek(prefix)
    while found.valid() and found.key().startswith(prefix):
        yield found.key(), found.value()
        found.next()
    found.status()


def mark(path: Path, why: str) -> None:
    """Makes the next start set a directory aside, for one that is open now."""
    (path / MARK).write_text(why + "\n")


def set_aside(path: Path, why: str) -> None:
    """Renames a directory whose database is closed. One is kept; an older one gives way."""
    aside = path.with_name(path.name + ASIDE)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    except OSError as error:
        raise Broken(f"{path} can't be set aside ({error.strerror}). {why}", "Remove it by hand.") from error
    log.warning("%s It is set aside as %s and the partition is restored from its changelog.", why, aside)


class _Options(RocksDBOptions):
    """With what Faust gives no word for."""

    def as_options(self) -> Options:
        options = super().as_options()
        options.set_max_manifest_file_size(_MANIFEST_BYTES)
        return options


class TrustedStore(Store):
    """Faust's RocksDB store, except that a directory is opened only when it is what it should be."""

    identity: Callable[[int], bytes]
    """What a directory of a partition says of itself. Set before the first is opened."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rocksdb_options = _Options(**(self.options or {}))

    def close_partition(self, partition: int) -> None:
        """Closes the database of a partition, if it is open; the next access opens it again."""
        db = self._dbs.pop(partition, None)
        if db is not None:
            db.close()

    def close_and_set_aside(self, partition: int, why: str) -> None:
        """Gives up the open database of a partition; the next access makes an empty one."""
        self.close_partition(partition)
        set_aside(self.partition_path(partition), why)

    def _open_for_partition(self, partition: int) -> Rdict:
        path = self.partition_path(partition)
        why = _marked(path, partition)
        if why is None:
            try:
                db = super()._open_for_partition(partition)
            except Exception as error:
                if not is_damage(error):
                    raise
                why = f"The state of partition {partition} can't be opened ({error})."
            else:
                why = _not_ours(db, partition, self.identity(partition))
                if why is None:
                    return db
                db.close()
        set_aside(path, why)
        db = super()._open_for_partition(partition)
        _make_ours(db, self.identity(partition))
        return db


def _marked(path: Path, partition: int) -> str | None:
    if not (path / MARK).is_file():
        return None
    said = (path / MARK).read_text(errors="replace").strip()
    return f"The state of partition {partition} could not be read ({said})."


def _make_ours(db: Rdict, identity: bytes) -> None:
    db.put(IDENTITY_KEY, identity, UNLOGGED)
    db.flush()


def _not_ours(db: Rdict, partition: int, identity: bytes) -> str | None:
    """Why an open database is not the state of this partition, and None when it is; marks an empty one as ours."""
    try:
        found = db.get(IDENTITY_KEY)
        if found is None and next(scan(db, b""), None) is None:
            _make_ours(db, identity)
            return None
        offset = db.get(Store.offset_key)
    except Exception as error:
        if not is_damage(error):
            raise
        return f"The state of partition {partition} can't be read ({error})."
    if found != identity:
        said = "nothing" if found is None else repr(found.decode(errors="replace"))
        return f"The state of partition {partition} is another's: it says {said}, not {identity.decode()!r}."
    if offset is not None and not offset.isdigit():
        return f"The state of partition {partition} reaches no offset, but {offset[:20]!r}."
    return None
