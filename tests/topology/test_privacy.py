"""What buyers said, who they are, and passwords: in no log, no error text and no metric. No broker.

Dead letters hold the original bytes by design; what is said about them (error, headers of the error) holds none of it.
"""

import io
import json
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import create_engine, text

from deploy import cli
from deploy.commands import settings as settings_command
from deploy.settings import SettingsError, load_settings
from schemas import records
from schemas.avro_files import definition
from schemas.catalogue import EVENT_INPUTS, TOPICS
from schemas.codec import CodecError, decode, encode
from schemas.headers import DEAD_LETTER_PREFIX
from schemas.records import DeadLetter, ProviderWebhook, Record
from sinks.crm_judge import NotYet, judge
from sinks.crm_store import CrmStore
from sinks.crm_tables import fields
from sinks.lake import open_catalog
from streams import BadInput, Broken, end_process
from streams.metrics import control as control_metrics
from streams.metrics import intake as intake_metrics
from streams.metrics import sinks as sink_metrics
from tests.perception.perceiving import FOLDER
from tests.sinks.support import NOON, Control, bench
from tests.topology.admitting import CODEC, START, Desk, Out

PHONE, EMAIL, WORDS, PASSWORD = "+15557700123", "jane.roe@private.example", "zebra marmalade", "hunter2-Zq9"
MARKERS = (PHONE, PHONE[1:], EMAIL, "jane.roe", WORDS, "marmalade", PASSWORD)
PERSONAL = f"{PHONE} {EMAIL} {WORDS} {PASSWORD}"


def tells(told: str) -> list[str]:
    """The markers in a text, also where it was escaped or percent-encoded."""
    return [marker for marker in MARKERS if marker in told or marker.replace("@", "%40") in told]


def filled(avro: Any) -> Any:
    """A value of an Avro type with personal data in every text and every byte string."""
    if isinstance(avro, list):
        return filled(next(branch for branch in avro if branch != "null"))
    if isinstance(avro, dict):
        if avro["type"] == "array":
            return (filled(avro["items"]),)
        if avro["type"] == "map":
            return {PERSONAL: filled(avro["values"])}
        return START
    simple = {"string": PERSONAL, "bytes": PERSONAL.encode(), "boolean": True, "int": 1, "long": 1, "double": 0.5}
    if avro in simple:
        return simple[avro]
    name = avro.removeprefix("mandate.")
    if definition(name)["type"] == "enum":
        return list(getattr(records, name))[-1]
    return whole(name)


def whole(name: str) -> Record:
    """A record of a type, full of personal data."""
    made: type[Record] = getattr(records, name)
    return made(**{field["name"]: filled(field["type"]) for field in definition(name)["fields"]})


def damaged(data: bytes, seed: int) -> Iterator[bytes]:
    """The bytes themselves, cut, changed and doubled in some hundred ways."""
    chance = random.Random(seed)
    yield data
    yield data + data
    for _ in range(60):
        yield data[: chance.randrange(len(data))]
    for _ in range(240):
        place = chance.randrange(5, len(data))
        yield data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def said_of(outs: list[Out]) -> Iterator[str]:
    """What is said about records that could not be taken."""
    for out in outs:
        if isinstance(out.value, DeadLetter):
            yield out.value.error
            yield from (str(value) for name, value in out.headers.items() if name.startswith(DEAD_LETTER_PREFIX))


class BrokeError(Exception):
    """Stands for a defect whose text holds what it was given."""


# -- intake ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", EVENT_INPUTS)
def test_no_dead_letter_of_a_damaged_record_says_what_the_record_holds(
    topic: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    desk = Desk(limit=5)
    said: list[str] = []
    value = TOPICS[topic].value
    assert value is not None
    original = CODEC.encode(whole(value.__name__))
    assert tells(original.decode("latin-1")) == list(MARKERS)
    for data in (*damaged(original, 1), PERSONAL.encode(), json.dumps({"body": PERSONAL}).encode(), b""):
        said += said_of(desk.take(data, topic=topic))
    desk.clock.observe(START + 60_000_000)
    assert len(said) > 100
    assert {marker for told in said for marker in tells(told)} == set()
    captured = capfd.readouterr()
    assert tells(caplog.text + captured.out + captured.err) == []


def hostile(payload: Any) -> Iterator[Any]:
    """A provider's payload with personal data in the place of each of its parts, and its keys, one after the other."""
    if isinstance(payload, dict):
        for key, part in payload.items():
            for other in (PERSONAL, PHONE, [PERSONAL], {PERSONAL: PERSONAL}, -1, None, *hostile(part)):
                yield payload | {key: other}
            yield {PERSONAL if name == key else name: value for name, value in payload.items()}
    elif isinstance(payload, list):
        for number, part in enumerate(payload[:3]):
            for other in (PERSONAL, *hostile(part)):
                yield [*payload[:number], other, *payload[number + 1 :]]


def payloads() -> list[tuple[str, Any]]:
    found = []
    for file in sorted(FOLDER.rglob("*.json")):
        loaded = json.loads(file.read_text(encoding="utf-8"))
        found += [(file.parent.name, part) for part in (loaded[:2] if isinstance(loaded, list) else [loaded])]
    return found


def test_no_dead_letter_of_a_webhook_says_what_the_webhook_holds() -> None:
    desk = Desk(limit=50)
    said: list[str] = []
    count = 0
    chance = random.Random(1)
    for provider, payload in payloads():
        bodies = [json.dumps(part).encode() for part in hostile(payload)]
        text_of = json.dumps(payload).encode()
        bodies += [text_of[: chance.randrange(len(text_of))] + PERSONAL.encode() for _ in range(5)]
        for body in chance.sample(bodies, min(len(bodies), 150)):
            for headers in ({}, {"x-mandate-call-id": PHONE}):
                count += 1
                webhook = ProviderWebhook(
                    raw_id=f"raw-{count}", provider=provider, headers=headers, body=body, received_at=START
                )
                said += said_of(desk.take(webhook))
    said += said_of(
        desk.take(ProviderWebhook(raw_id="r", provider=PERSONAL, headers={}, body=PERSONAL.encode(), received_at=START))
    )
    assert len(said) > 500
    assert {marker for told in said for marker in tells(told)} == set()


def test_a_defect_of_the_judgement_is_told_by_its_kind_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise BrokeError(PERSONAL)

    monkeypatch.setattr("processors.intake.admit", fails)
    event = whole("MessageEvent")
    (error, *_) = said_of(Desk().take(event))
    assert tells(error) == []
    assert "BrokeError in test_privacy.py" in error


def test_the_end_at_too_many_dead_letters_says_nothing_of_the_last_one() -> None:
    desk = Desk(dead_letter_limit=1)
    data = CODEC.encode(whole("CallEvent"))
    desk.take(data[:-7])
    with pytest.raises(BadInput) as refused:
        desk.take(data[:-7])
    assert "dead letters" in str(refused.value)
    assert tells(str(refused.value)) == []


# -- control and sinks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["JournalEntry", "CrmUpdate", "Decision", "Revocation", "PolicyActivation"])
def test_no_error_of_the_codec_says_what_a_record_holds(name: str) -> None:
    made: type[Record] = getattr(records, name)
    value = (
        records.JournalEntry(
            entry_id=PERSONAL, lead_id=records.LeadId(PERSONAL), kind=records.EntryKind.MESSAGE, at=START,
            source_topic=PERSONAL, source_partition=0, source_offset=0, traceparent=None, body=whole("MessageEvent"),
        )
        if name == "JournalEntry"
        else whole(name)
    )  # fmt: skip
    said = []
    for data in damaged(encode(value), 2):
        try:
            decode(made, data)
        except CodecError as error:
            said.append(str(error))
    assert len(said) > 30
    assert {marker for told in said for marker in tells(told)} == set()


def test_no_refusal_of_the_crm_sink_says_what_was_to_be_written() -> None:
    control = Control()
    fields = {"meeting_at": PERSONAL, "availability": WORDS}
    cases = [
        control.update(fields, grant=PERSONAL),
        control.update(fields, grant=Control().grant(fields, lead="lead-1")),
        control.update({**fields, "price": PERSONAL}),
        control.update({**fields, "meeting_at": f"{PERSONAL}\0"}),
        control.update(fields, at=NOON + 10_000_000, grant=control.grant(fields, lead="lead-1")),
        control.update(fields, lead="lead-2", grant=control.grant(fields, lead="lead-1")),
        control.update(fields, parameters={"note": PERSONAL}),
        control.update({**fields, "meeting_at": "other"}, grant=control.grant(fields, lead="lead-1")),
    ]
    found = [judge(update, bench(control), NOON) for update in cases]
    said = [repr(verdict) for verdict in found if not verdict or isinstance(verdict, NotYet)]
    assert len(said) == len(cases)
    assert [told for told in said if tells(told)] == []


def test_a_store_that_fails_says_neither_values_nor_its_password(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crm.sqlite'}"
    store = CrmStore(url)
    with create_engine(url).begin() as connection:
        connection.execute(text(f"DROP TABLE {fields.name}"))
    update = Control().update({"meeting_at": PERSONAL}, update_id=PERSONAL)
    with pytest.raises(Broken) as refused, store.transaction() as writes:
        writes.upsert(update)
    store.close()
    assert tells(str(refused.value)) == []


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://crm:{PASSWORD}@127.0.0.1:1/crm?connect_timeout=1",
        f"postgresql+psycopg://crm:{PASSWORD}@127.0.0.1:notaport/crm",
        f"nosuchdb://crm:{PASSWORD}@127.0.0.1/crm",
        f"//crm:{PASSWORD}@127.0.0.1",
        f"postgresql+psycopg://crm:{PASSWORD}@x@127.0.0.1:1/crm?connect_timeout=1&password={PASSWORD}",
    ],
)
def test_a_url_that_does_not_work_is_told_without_its_password(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(crm_url=url, lake_catalog_url=url, lake_dir=tmp_path, data_dir=tmp_path)
    settings_command.run(settings)
    said = [repr(settings), capsys.readouterr().out]
    for attempt in (lambda: CrmStore(url), lambda: open_catalog(settings)):
        with pytest.raises(Broken) as refused:
            attempt()
        said.append(str(refused.value))
    assert [told for told in said if tells(told)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"registry_url": f"https://user:{PASSWORD}@registry", "kafka_bootstrap": "b:1"},
        {"crm_url": [PASSWORD]},
        {"lake_catalog_url": {"url": PASSWORD}},
        {"maven_url": 7, "data_dir": "x", "kafka_sasl_password": [PASSWORD]},
        {"registry_password": {PASSWORD: 1}},
    ],
)
def test_a_wrong_setting_is_told_without_what_is_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(**wrong)
    assert tells(str(refused.value)) == []


# -- whatever breaks ------------------------------------------------------------------------------------------------


def broken_by(error: BaseException) -> BaseException:
    """The error as it is raised."""
    try:
        raise error
    except BaseException as raised:
        return raised


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, BrokeError, TypeError])
def test_a_process_that_ends_by_a_defect_says_its_kind_and_place_and_no_data(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr("os._exit", lambda code: None)
    end_process(broken_by(kind(PERSONAL)))

    def fails() -> None:
        raise kind(PERSONAL)

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    told = err.getvalue()
    assert tells(told) == []
    assert told.count(kind.__name__) == 2
    assert "test_privacy.py" in told


def test_a_process_that_ends_by_the_system_says_what_the_system_said(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr("os._exit", lambda code: None)
    end_process(broken_by(OSError(28, "No space left on device")))
    end_process(broken_by(Exception("IO error: While appending to file")))  # as RocksDB raises it
    end_process(broken_by(KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))))
    end_process(broken_by(Broken("Kafka is away.", "Look for it.")))
    assert "No space left on device" in err.getvalue()
    assert "While appending to file" in err.getvalue()
    assert "_ALL_BROKERS_DOWN" in err.getvalue()
    assert "Kafka is away. Look for it." in err.getvalue()


def test_no_metric_bears_what_a_record_holds() -> None:
    desk = Desk()
    meter = intake_metrics.Meter()
    for data in damaged(CODEC.encode(whole("ProviderWebhook")), 3):
        outs = desk.take(data, topic="perception.raw")
        meter.took("perception.raw")
        del outs
    pages: list[CollectorRegistry] = [
        intake_metrics.REGISTRY, control_metrics.REGISTRY, sink_metrics.CRM, sink_metrics.AUDIT,
    ]  # fmt: skip
    told = "".join(generate_latest(page).decode() for page in pages)
    assert "mandate_" in told
    assert tells(told) == []


@pytest.mark.parametrize("told", [f"a call from {PHONE}", f"{EMAIL!r}", f"said: {WORDS}", "jane.roe%40private.example"])
def test_a_text_that_tells_is_found(told: str) -> None:
    assert tells(told)
