"""`mandate state verify`: are control's rows what the journal gives?"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.commands.explain import witness
from deploy.evidence import JOURNAL, records_of
from deploy.settings import Settings
from deploy.state_rows import GROUP, Disk, DiskError, read_disk, read_table
from processors.authority import Court
from processors.explain.rows import Finding, Sample, Table, Verification
from schemas.codec import Codec, CodecError
from schemas.records import JournalEntry, LeadId
from schemas.rows import RowError

DIFFERENT = 1
BAD_INPUT = 2
BEYOND = 3
DEFAULT_SAMPLE = 100
SHOWN = 50
"""Findings of one sort that are printed for a partition; the others are counted."""


def run(
    settings: Settings,
    *,
    sample: int | None = None,
    every: bool = False,
    partitions: Sequence[int] = (),
    state_dir: Path | None = None,
    seed: str | None = None,
) -> int:
    """Print for each partition what differs. 1: something does. 3: nothing does, but the journal is too short for some.

    sample: leads of each partition; every: all of them. state_dir: also compare what a worker's disk holds with the
    changelog. 2: wrong input. The cluster is only read, and workers may go on meanwhile.
    """
    from streams.kafka import make_consumer, partition_count
    from streams.registry import connect

    if every and sample is not None:
        return _refuse("--all and --sample: one of them.")
    reader = make_consumer(settings, GROUP)
    count = partition_count(reader, JOURNAL)
    reader.close()
    wrong = [number for number in partitions if not 0 <= number < count]
    if wrong:
        return _refuse(f"there is no partition {wrong[0]}: {JOURNAL} has 0 to {count - 1}.")
    size = None if every else DEFAULT_SAMPLE if sample is None else sample
    seed = seed or secrets.token_hex(4)
    codec, court, results = connect(settings), witness(settings), []
    try:
        for number in partitions or range(count):
            disk = read_disk(state_dir, number) if state_dir else None
            if state_dir and disk is None:
                print(f"partition {number}: {state_dir} holds no state of it")
            results.append(_verify(settings, codec, court, number, Sample(size, seed), disk))
    except DiskError as error:
        return _refuse(str(error))
    if size is not None:
        print(f"a sample, chosen by --seed {seed}; --all compares every lead")
    return DIFFERENT if DIFFERENT in results else BEYOND if BEYOND in results else 0


def _verify(settings: Settings, codec: Codec, court: Court, number: int, sample: Sample, disk: Disk | None) -> int:
    table, late = read_table(settings, number, sample, disk)
    if late:
        print(f"partition {number}: {late:,} rows came late from an earlier owner; the next one to start mends them")
    on_disk = list(table.off_disk(disk.of(sample))) if disk else []
    try:
        done = _refold(settings, codec, court, number, table)
    except RowError as error:
        _tell(number, [Finding("the partition's own rows", None, None, str(error))], "differs")
        return DIFFERENT
    _tell(number, done.differences, "differs")
    _tell(number, on_disk, "differs on the disk")
    _tell(number, done.beyond, "can't be verified")
    print(
        f"partition {number}: {done.compared:,} of {len(sample.known):,} leads compared at journal offset "
        f"{done.applied:,}: {_in_short(len(done.differences), len(on_disk), len(done.beyond))}"
    )
    if done.beyond:
        print(
            f"partition {number}: {len(done.beyond):,} of these leads can't be verified: {JOURNAL} begins at offset "
            f"{done.first:,}, retention removed what they began with",
            file=sys.stderr,
        )
    if done.differences or on_disk:
        return DIFFERENT
    return BEYOND if done.beyond else 0


def _refold(settings: Settings, codec: Codec, court: Court, number: int, table: Table) -> Verification:
    first = _first_offset(settings, number)
    done = Verification(number, table, court, first)
    for message in records_of(settings, JOURNAL, number, done.until, group=GROUP):
        lead = LeadId((message.key() or b"").decode("utf-8", "surrogateescape"))
        entry = None
        if done.wants(lead or None):
            try:
                entry = codec.decode(JournalEntry, message.value())
            except CodecError:
                entry = None  # control passed over it too, with a dead letter
        done.take(entry, message.offset() or 0)
    done.finish()
    return done


def _first_offset(settings: Settings, number: int) -> int:
    from confluent_kafka import TopicPartition

    from streams.kafka import make_consumer

    consumer = make_consumer(settings, GROUP)
    try:
        low, _ = consumer.get_watermark_offsets(TopicPartition(JOURNAL, number), timeout=15)
        return int(low)
    finally:
        consumer.close()


def _tell(number: int, findings: list[Finding], how: str) -> None:
    for finding in findings[:SHOWN]:
        entry = "" if finding.offset is None else f", entry {finding.offset}"
        record = "" if finding.changelog is None else f", changelog {finding.changelog}"
        print(f"partition {number}: {finding.subject} {how}{entry}{record}: {finding.what}")
    if len(findings) > SHOWN:
        print(f"partition {number}: and {len(findings) - SHOWN:,} more")


def _in_short(differences: int, on_disk: int, beyond: int) -> str:
    found = [(differences, "differ"), (on_disk, "rows of the disk differ"), (beyond, "can't be verified")]
    return ", ".join(f"{count:,} {what}" for count, what in found if count) or "the same"


def _refuse(message: str) -> int:
    print(f"mandate: {message}", file=sys.stderr)
    return BAD_INPUT
