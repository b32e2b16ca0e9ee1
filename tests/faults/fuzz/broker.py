"""Hostile records through the real broker, registry and intake; and what became of each, read from the topics."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

from confluent_kafka import Message, Producer

from deploy.schema_registry import SchemaRegistry
from deploy.settings import Settings
from schemas.codec import Codec
from schemas.records import DeadLetterCode
from streams.kafka import make_producer
from tests.faults.fuzz.records import Hostile, foreign_schemas, hostile_record
from tests.faults.fuzz.webhooks import hostile_webhook
from tests.topology.intake_process import Topics

Where = tuple[str, int, int]
_REGISTERED = ("CallEvent/recursive", "CallEvent/endless", "AgentRequest/retyped", "Signal/wide", "Signal/endless")


def register_foreign(settings: Settings) -> dict[str, int]:
    """Ids that the registry gives to schemas that are not ours, by name."""
    with SchemaRegistry(settings.registry_config()) as registry:
        return {
            name: registry.register(f"fuzz-{number}-value", foreign_schemas()[name])
            for number, name in enumerate(_REGISTERED)
        }


_RAW_HEADER = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Name(str):
    def encode(self, *_):
        return bytes.fromhex(sys.argv[3])

async def main():
    async with AIOKafkaProducer(bootstrap_servers=sys.argv[1]) as producer:
        value = bytes.fromhex(sys.argv[4])
        await producer.send_and_wait(sys.argv[2], value, headers=[(Name("x"), b"v")])

asyncio.run(main())
"""


def send_with_header(settings: Settings, topic: str, name: bytes, value: bytes) -> None:
    """One record with a header whose name is any bytes: no client for Python takes such a name by itself."""
    arguments = [str(settings.kafka_bootstrap), topic, name.hex(), value.hex()]
    env = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}
    subprocess.run([sys.executable, "-c", _RAW_HEADER, *arguments], env=env, check=True, timeout=60)


def send(settings: Settings, codec: Codec, count: int, foreign: Mapping[str, int], seed: int) -> dict[Where, Hostile]:
    """Sends so many hostile records, one in ten a webhook; where the broker put each."""
    producer: Producer = make_producer(settings)
    sent: dict[Where, Hostile] = {}
    ids = {name: int.from_bytes(prefix[1:5], "big") for name, prefix in codec._prefix.items()}
    for number in range(count):
        record = hostile_record(seed, number, ids, foreign)
        if number % 10 == 0:
            how, webhook = hostile_webhook(seed, number)
            record = Hostile(how, "perception.raw", b"key", codec.encode(webhook), [])

        def placed(error: object, message: Message, record: Hostile = record) -> None:
            assert error is None, error
            sent[str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)] = record

        producer.produce(record.topic, record.value, record.key, headers=list(record.headers), on_delivery=placed)
        producer.poll(0)
    assert producer.flush(60) == 0
    return sent


def judge(sent: Mapping[Where, Hostile], topics: Topics) -> Counter[str]:
    """How many were accepted, refused, or said nothing; AssertionError for a letter that is not its record."""
    letters = {(letter.topic, letter.partition, letter.offset): letter for _, letter in topics.dead_letters()}
    entries = {(e.source_topic, e.source_partition, e.source_offset) for _, e in topics.journal()}
    found: Counter[str] = Counter()
    for where, record in sent.items():
        letter = letters.get(where)
        if letter is not None:
            assert (letter.key, letter.value) == (record.key, record.value), f"{record.how}: not the original"
            assert letter.headers == {name: content or b"" for name, content in record.headers}, record.how
            assert letter.code is not DeadLetterCode.UNKNOWN, letter.error
            assert where not in entries, f"{record.how}: a dead letter, and in the journal"
            found["dead letter"] += 1
        elif where in entries:
            found["accepted"] += 1
        else:
            assert record.topic == "perception.raw", f"nothing became of {where} ({record.how})"
            found["said nothing"] += 1
    return found
