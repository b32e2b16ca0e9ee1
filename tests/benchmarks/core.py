"""What one journal entry costs in the pure core, on one core: no broker, no disk, no event loop.

Each part is timed by itself over the traffic of `workload`, after a warm-up, with garbage collection off.
"""

import gc
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.authority import Court
from processors.draft import Output
from processors.intake import Admitted, Source, admit
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, Partition
from processors.policy import load_bundle
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, schema_json
from schemas.headers import cloud_event
from schemas.records import CallDirectoryEntry, JournalEntry, LeadState, PolicyActivation, PolicySignature, Record
from schemas.rows import decode_row
from tests.benchmarks.figures import percentiles, table
from tests.benchmarks.workload import Traffic

POLICY = Path(__file__).parents[2] / "deploy" / "policy" / "default"
BATCH = 20
T = TypeVar("T")


class Stopwatch:
    """Microseconds of processor time spent in each part: what else runs on the machine does not count."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)

    def time(self, part: str, work: Callable[..., T], *arguments: Any) -> T:
        """Does the work and notes what it took."""
        began = time.thread_time_ns()
        result = work(*arguments)
        self.spent[part].append((time.thread_time_ns() - began) / 1_000)
        return result


class Core:
    """Intake's and control's work on one partition, without anything between."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._codec = Codec(
            {record.__name__: number for number, record in enumerate(TOPIC_OF, 1)}, lambda _: schema_json("Decision")
        )
        key = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
        self._court = Court.from_keys(key, [key.public_key()])
        self._rows = MemoryRows()
        self._partition = Partition(0, self._rows, self._court)
        self._directory: dict[tuple[str, str], CallDirectoryEntry] = {}
        self._offset = 0
        self.watch = Stopwatch()

    def run(self, events: int) -> None:
        """Opens all calls, then works through some events, timed from the second quarter on."""
        now = time.time_ns() // 1_000
        self._fold(self._admit(self._activation(), now), now)
        for step in self._traffic.opening():
            self._one(step(now).value, now)
        for number in range(events):
            if number == events // 4:
                self.watch = Stopwatch()
            now += 2_000
            self._one(self._traffic.next(now).value, now)

    def _one(self, value: Record, now: int) -> None:
        data = self._codec.encode(value)
        record: Record = self.watch.time("intake: decode", self._codec.decode, type(value), data)
        self._fold(self._admit(record, now), now)

    def _admit(self, record: Record, now: int) -> JournalEntry:
        source = Source(topic=TOPIC_OF[type(record)], partition=0, offset=self._offset)
        admitted = self.watch.time("intake: admit", admit, record, source, now, self._directory)
        if not isinstance(admitted, Admitted):
            raise TypeError(f"not admitted: {admitted}")
        self._directory.update({(entry.provider, entry.call_id): entry for entry in admitted.learned})
        return admitted.entries[0]

    def _fold(self, entry: JournalEntry, now: int) -> None:
        wire = self.watch.time("intake: encode entry", self._codec.encode, entry)
        entry = self.watch.time("control: decode entry", self._codec.decode, JournalEntry, wire)
        kind = getattr(entry.body, "status", "") if entry.kind == "TRANSCRIPT" else ""
        name = f"control: fold {' '.join((entry.kind, kind)).strip()}"
        outputs: list[Output] = self.watch.time(name, self._partition.apply, entry, self._offset)
        self._offset += 1
        for output in outputs:
            topic = TOPIC_OF[type(output.value)]
            self.watch.time(f"control: encode {topic}", self._codec.encode, output.value)
            self.watch.time("control: headers", _headers, output, entry, now)
        if self._offset % BATCH == 0:
            writes = self.watch.time(f"control: rows of {BATCH} entries", self._partition.take_writes)
            self._rows.rows.update(writes)

    def _activation(self) -> PolicyActivation:
        bundle = load_bundle(POLICY)
        digest = bundle.digest()
        signature = PolicySignature(key_id=self._court.signer.kid, signature=self._court.signer.approve(digest))
        return PolicyActivation(
            activation_id="benchmark",
            version=bundle.version,
            revision=1,
            digest=digest,
            bundle=bundle.canonical_json(),
            signatures=(signature,),
            approved_by="benchmark",
            reason="benchmark",
        )

    def sign(self, times: int = 2_000) -> None:
        """What the signature of a grant takes, which is part of folding a request."""
        claims = {"iss": "mandate", "sub": "closing-1", "jti": "0" * 32, "pdg": "0" * 64, "lead": "lead-1", "obl": []}
        for _ in range(times):
            self.watch.time("control: sign a grant (in fold)", self._court.signer.sign, claims)

    def read_rows(self) -> tuple[int, int]:
        """Times the reading of each lead's row; answers how large they are, in the middle and at most."""
        rows = [row for key, row in self._rows.rows.items() if key.startswith(LEAD_PREFIX)]
        for row in rows:
            self.watch.time("control: read a row", decode_row, LeadState, row)
        sizes = sorted(map(len, rows))
        return sizes[len(sizes) // 2], sizes[-1]


def _headers(output: Output, entry: JournalEntry, now: int) -> None:
    cloud_event(output.value, id=output.id, source="/mandate/control", subject=entry.lead_id, at=now)


def measure(events: int, leads: int = 500) -> dict[str, Any]:
    """Percentiles of each part in µs, and how many of it there are for each event."""
    core = Core(Traffic("core", leads))
    gc.collect()
    gc.disable()
    try:
        core.run(events)
        counted = {part: len(samples) for part, samples in core.watch.spent.items()}
        total = {part: sum(samples) for part, samples in core.watch.spent.items()}
        core.sign()
        middle, largest = core.read_rows()
    finally:
        gc.enable()
    measured = events - events // 4
    parts = {
        part: {
            **percentiles(samples, 1),
            "per_event": round(counted.get(part, 0) / measured, 3),
            "us_per_event": round(total.get(part, 0) / measured, 1),
        }
        for part, samples in sorted(core.watch.spent.items())
    }
    return {"events": measured, "leads": leads, "row_bytes": {"p50": middle, "max": largest}, "parts": parts}


def show(report: dict[str, Any]) -> str:
    """The report for people."""
    rows = [
        (part, f["p50"], f["p99"], f["max"], f["per_event"], f["us_per_event"]) for part, f in report["parts"].items()
    ]
    sums = [
        (f"{side}, all", "", "", "", "", round(sum(row[5] for row in rows if row[0].startswith(side)), 1))
        for side in ("intake", "control")
    ]
    sizes = report["row_bytes"]
    return "\n".join(
        [
            f"The core alone: {report['events']} events of {report['leads']} leads; µs.",
            table(("part", "p50", "p99", "max", "n/event", "µs/event"), [*rows, *sums]),
            f"A lead's row has {sizes['p50']} bytes in the middle, {sizes['max']} at most.",
        ]
    )
