"""The peer: Mandate's two hops on Quix Streams 3, with the same schemas, admission, fold, rows and signatures.

Run in a virtual environment of its own: `python -m tests.benchmarks.peer intake|control`, settings in `MANDATE_*`.
Its topics are Mandate's with `PREFIX` before the name. What it leaves out is said in `docs/performance.md`.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application, message_context
from quixstreams.models import Topic
from quixstreams.models.serializers import Deserializer, Serializer
from quixstreams.state import State

from deploy.keys import load_private_key
from deploy.settings import Settings, load_settings
from processors.authority import Court
from processors.draft import Output
from processors.fold import step
from processors.intake import Admitted, Source, admit
from processors.law import compile_law
from processors.policy import load_bundle
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.codec import Codec
from schemas.headers import Headers, cloud_event, trace_of
from schemas.records import CallDirectoryEntry, JournalEntry, LeadState, Position, Record
from schemas.rows import decode_row, encode_row
from streams.registry import connect

PREFIX = "peer."
ROW = "row"
JOURNAL = TOPIC_OF[JournalEntry]
OUTPUTS = (
    "permission.decisions",
    "permission.revocations",
    "agent.directives",
    "execution.transitions",
    "execution.state",
    "escalation.cases",
    "crm.updates",
)
COMMIT_EVERY_S = float(os.environ.get("PEER_COMMIT_EVERY_S", "1.0"))
# As Mandate's own clients (streams/kafka.py): nothing waits for a fuller batch.
_PRODUCER = {"linger.ms": 0, "acks": "all", "enable.idempotence": True, "queue.buffering.max.messages": 200_000}
_CONSUMER = {"fetch.wait.max.ms": 100, "fetch.min.bytes": 1, "fetch.queue.backoff.ms": 5}


class FromAvro(Deserializer):
    """Wire bytes to the record of a topic."""

    def __init__(self, codec: Codec, record: type[Record]) -> None:
        super().__init__()
        self._codec = codec
        self._record = record

    def __call__(self, value: bytes, ctx: Any) -> Record:
        return self._codec.decode(self._record, value)


class ToAvro(Serializer):
    """A record, or the record of an output, to wire bytes."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self._codec = codec

    def __call__(self, value: Record | Output, ctx: Any) -> bytes:
        return self._codec.encode(value.value if isinstance(value, Output) else value)


class Peer:
    """The parts that both applications share."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self._codec = connect(settings)
        self.app = Application(
            broker_address=settings.bootstrap_servers,
            consumer_group=f"peer-{name}",
            auto_offset_reset="earliest",
            processing_guarantee="at-least-once",
            commit_interval=COMMIT_EVERY_S,
            state_dir=settings.data_dir / "peer-state",
            producer_extra_config=_PRODUCER,
            consumer_extra_config=_CONSUMER,
            loglevel="WARNING",
        )

    def topic(self, name: str) -> Topic:
        record = TOPICS[name].value
        assert record is not None
        return self.app.topic(
            PREFIX + name, value_deserializer=FromAvro(self._codec, record), value_serializer=ToAvro(self._codec)
        )


def intake(settings: Settings) -> None:
    """First hop: decode, admit, append to the journal."""
    peer = Peer(settings, "intake")
    journal = peer.topic(JOURNAL)
    directory: dict[tuple[str, str], CallDirectoryEntry] = {}

    def take(record: Record, key: bytes, timestamp: int, headers: Any) -> tuple[JournalEntry, ...]:
        place = message_context()
        source = Source(
            topic=place.topic.removeprefix(PREFIX),
            partition=place.partition,
            offset=place.offset,
            traceparent=trace_of(headers),
        )
        admitted = admit(record, source, time.time_ns() // 1_000_000 * 1_000, directory)
        if not isinstance(admitted, Admitted):
            raise TypeError(f"not admitted: {admitted}")
        directory.update({(entry.provider, entry.call_id): entry for entry in admitted.learned})
        return admitted.entries

    def about(entry: JournalEntry, key: bytes, timestamp: int, headers: Any) -> Headers:
        return cloud_event(
            entry,
            id=entry.entry_id,
            source="/peer/intake",
            subject=entry.lead_id,
            at=entry.at,
            traceparent=entry.traceparent,
        )

    for name in EVENT_INPUTS:
        if TOPICS[name].partitions == "P" and name != "perception.raw":
            frame = peer.app.dataframe(peer.topic(name)).apply(take, expand=True, metadata=True)
            frame.set_headers(about).to_topic(journal, key=lambda entry: entry.lead_id.encode())
    peer.app.run()


def control(settings: Settings) -> None:
    """Second hop: the fold, its row in the keyed state, its outputs to their topics."""
    peer = Peer(settings, "control")
    bundle = load_bundle(settings.policy_bundle)
    law = compile_law(bundle.canonical_json(), bundle.digest())
    court = Court.from_keys(load_private_key(settings.signing_key_path), [])
    topics = {TOPICS[name].value: peer.topic(name) for name in OUTPUTS}

    def judge(entry: JournalEntry, state: State) -> tuple[Output, ...]:
        place = message_context()
        row = state.get_bytes(ROW)
        before = decode_row(LeadState, row) if row else None
        change = step(before, entry, Position(partition=place.partition, offset=place.offset), court, law)
        if change.state is not before:
            state.set_bytes(ROW, encode_row(change.state))
        return change.outputs

    def about(output: Output, key: bytes, timestamp: int, headers: Any) -> Headers:
        at, lead = output.value.at, output.value.lead_id  # type: ignore[attr-defined]
        trace = trace_of(headers)
        return cloud_event(output.value, id=output.id, source="/peer/control", subject=lead, at=at, traceparent=trace)

    frame = peer.app.dataframe(peer.topic(JOURNAL)).apply(judge, stateful=True, expand=True)
    frame.set_headers(about).to_topic(
        lambda output, *_: topics[type(output.value)], key=lambda output: output.key.encode()
    )
    peer.app.run()


if __name__ == "__main__":
    Path(load_settings().data_dir).mkdir(parents=True, exist_ok=True)
    {"intake": intake, "control": control}[sys.argv[1]](load_settings())
