"""The whole path through TLS, logins and StandardAuthorizer on a real broker, with the permissions of the catalogue."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from agents import AgentConfig, MandateClient, MandateUnavailable
from deploy import kafka_admin, keys
from deploy.acls import SETUP, stages
from deploy.commands import explain, intervene, policy_activate, tail, topics_acls
from deploy.errors import OperatorError
from deploy.kafka_admin import ClusterError
from deploy.settings import PACKAGED_POLICY, Settings
from schemas.catalogue import TOPICS
from schemas.records import CrmEvent, CrmEventType, EntryKind, JournalEntry, LeadId
from streams import EXIT_BROKEN, Broken
from streams.access import check_access
from streams.kafka import make_producer, read_all
from streams.registry import connect
from streams.sender import Sender
from streams.transport.security import credentials
from tests.secured import ADMIN, Authority, Secured, secured_broker
from tests.topology.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]  # broker and registry start within the first
PARTS = (*stages(), SETUP)
AGENTS = ("agent-7", "agent-8")
USERS = (*(f"mandate-{part}" for part in PARTS), *AGENTS)
CONTROL_ONLY = sorted(name for name, topic in TOPICS.items() if topic.writers == ("control",))
LEAD = LeadId("lead-1")


@pytest.fixture(scope="module")
def secured(shared_stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The broker with its users, permissions, topics and keys; the registry is the shared stack's."""
    directory = tmp_path_factory.mktemp("secured")
    with secured_broker(directory, shared_stack.schema_registry_url, data_dir=directory) as broker:
        broker.add_users(USERS)
        applied = topics_acls.run(broker.settings(ADMIN), principals=[], agents=AGENTS, apply=True, as_json=False)
        assert applied == 0
        kafka_admin.ensure_topics(broker.settings("mandate-setup"))
        keys.ensure_keys(broker.settings(ADMIN))
        yield broker


@pytest.fixture(scope="module")
def running(secured: Secured) -> Iterator[None]:
    """Worker and intake, each as its own user."""
    directory = Path(secured.base["data_dir"])
    started = [
        WorkerProcess(secured.settings(f"mandate-{user}"), directory / user, (command,))
        for user, command in (("control", "worker"), ("intake", "intake"))
    ]
    try:
        started[0].wait_ready(lambda partitions: len(partitions) == 4, within_s=60)
        yield
    finally:
        for process in started:
            process.kill()


def ended(process: WorkerProcess, within_s: float = 60) -> tuple[int, str]:
    """Exit code and last words of a process that ends by itself."""
    return process.process.wait(within_s), process.errors()


def test_every_part_works_through_the_secured_listener_with_its_own_permissions(
    secured: Secured, running: None, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = Path(secured.base["data_dir"])
    operator, auditor = secured.settings("mandate-operator"), secured.settings("mandate-auditor")
    assert policy_activate.run(operator, bundle=PACKAGED_POLICY) == 0
    codec = connect(auditor)

    def journal() -> list[JournalEntry]:
        return [codec.decode(JournalEntry, message.value()) for message in read_all(auditor, "execution.journal")]

    eventually(lambda: sum(entry.kind is EntryKind.POLICY for entry in journal()) == 4)
    at = time.time_ns() // 1000
    known = CrmEvent(
        event_id="known", lead_id=LEAD, type=CrmEventType.LEAD_UPSERTED, external_id="crm-7",
        time_zones=("America/New_York",), received_at=at,
    )  # fmt: skip
    platform = Sender(make_producer(secured.settings("mandate-platform")))
    platform.send("crm.events", codec.encode(known), key=LEAD, timestamp_ms=at // 1000)
    platform.flush()
    eventually(lambda: any(message.key() == LEAD.encode() for message in read_all(auditor, "execution.state")))
    config = AgentConfig.from_settings(
        secured.settings("agent-7"), agent_id="agent-7", role="booking", jwks=keys.jwks_path(auditor),
        answer_timeout_s=30,
    )  # fmt: skip
    with MandateClient(config) as agent:
        verdict = agent.propose(LEAD, "update_crm", channel="backend", crm_fields={"availability": "mornings"})
        assert verdict.permitted, verdict.message
        assert agent.enforce(verdict)
        agent.report(verdict, "done")
    sinks = [
        WorkerProcess(secured.settings(f"mandate-{name}-sink"), directory / name, ("sink", name, "--once"))
        for name in ("crm", "audit")
    ]
    for sink in sinks:
        assert ended(sink) == (0, ""), sink.errors()
    assert "crm sink ended: 1 updates dealt with" in (directory / "crm" / "out.log").read_text()
    decision = verdict.decision
    assert decision is not None
    wanted = intervene.Wanted(
        kind="pause", lead=LEAD, author="ann", author_role="operator", reason="a test", case="", request="",
        override="", effects=(), since="", until="", key=None,
    )  # fmt: skip
    assert intervene.run(operator, wanted) == 0
    assert list(read_all(operator, "dead.letters")) == []
    assert tail.run(auditor, from_start=True, until_idle=0) == 0
    assert explain.run(auditor, wanted=decision.decision_id, rederive=True) == 0
    assert "Rederived: identical" in capsys.readouterr().out


def test_nobody_but_control_writes_what_control_says(secured: Secured) -> None:
    def ends() -> int:
        admin = Consumer({**secured.settings(ADMIN).client_config(), "group.id": "ends"})
        try:
            places = [TopicPartition(name, number) for name in CONTROL_ONLY for number in range(4)]
            return sum(admin.get_watermark_offsets(place, timeout=15)[1] for place in places)
        finally:
            admin.close()

    assert len(CONTROL_ONLY) == 8
    refused: dict[str, list[int]] = {}
    for user in (*(user for user in USERS if user != "mandate-control"), "mandate-control"):
        codes = refused[user] = []
        producer = Producer(
            {**secured.settings(user).client_config(), "log_level": 0, "message.timeout.ms": 10_000, "linger.ms": 0}
        )
        before = ends() if user == "mandate-control" else 0
        for name in CONTROL_ONLY:
            # Compacted topics want a key. Control's own are refused by nobody.
            producer.produce(
                name,
                b"\0forged",
                key=b"k",
                partition=0,
                on_delivery=lambda error, _, codes=codes: codes.append(
                    KafkaError.NO_ERROR if error is None else error.code()
                ),
            )
        assert producer.flush(20) == 0
        if user == "mandate-control":
            assert ends() - before >= len(CONTROL_ONLY)
    assert refused.pop("mandate-control") == [KafkaError.NO_ERROR] * 8
    assert {user: set(codes) for user, codes in refused.items()} == {
        user: {KafkaError.TOPIC_AUTHORIZATION_FAILED} for user in refused
    }
    assert {len(codes) for codes in refused.values()} == {8}


@pytest.mark.parametrize("user", USERS)
def test_everybody_fetches_what_the_catalogue_says_and_no_other_topic(secured: Secured, user: str) -> None:
    stage = "agent" if user in AGENTS else user.removeprefix("mandate-")
    readable = {name for name, topic in TOPICS.items() if stage in topic.readers and name != "clock.driven"}
    answers = asyncio.run(_fetch(secured.settings(user), list(TOPICS)))
    assert {name for name, code in answers.items() if code == KafkaError.NO_ERROR} == readable
    assert set(answers.values()) <= {KafkaError.NO_ERROR, KafkaError.TOPIC_AUTHORIZATION_FAILED}


async def _fetch(settings: Settings, topics: list[str]) -> dict[str, int]:
    """The broker's answer to a bare fetch of each topic: clients would stop at the metadata already."""
    client = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers, **_login(settings))
    await client.bootstrap()
    try:
        request = FetchRequest(100, 1, 1 << 20, 0, [(name, [(0, 0, 1 << 10)]) for name in topics], rack_id="")
        response = await client.send(1, request)
        return {name: code for name, ((_, code, *_),) in response.topics}
    finally:
        await client.close()


def _login(settings: Settings) -> dict[str, Any]:
    """What aiokafka, which Faust's consumer is made of, gets of the credentials that Faust is given."""
    return dict(credentials_to_aiokafka_auth(credentials(settings)))


def test_an_agent_joins_no_group_of_others(secured: Secured) -> None:
    consumer = Consumer({**secured.settings("agent-7").client_config(), "group.id": "mandate-control", "log_level": 0})
    try:
        consumer.subscribe(["permission.decisions"])
        message = consumer.poll(15)
        assert message is not None
        assert message.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    finally:
        consumer.close()


def test_a_wrong_login_or_a_missing_permission_ends_a_process_with_what_to_do(secured: Secured, tmp_path: Path) -> None:
    wrong = {"kafka_sasl_password": "hush-hush"}
    cases = {
        "worker": (secured.settings("mandate-control", **wrong), ("worker",), "MANDATE_KAFKA_SASL_PASSWORD"),
        "intake": (secured.settings("mandate-intake", **wrong), ("intake",), "MANDATE_KAFKA_SASL_PASSWORD"),
        "permission": (secured.settings("agent-8"), ("sink", "crm"), "mandate topics acls"),
    }
    started = {
        name: WorkerProcess(settings, tmp_path / name, command) for name, (settings, command, _) in cases.items()
    }
    for name, process in started.items():
        code, told = ended(process)
        assert code == EXIT_BROKEN, told
        assert cases[name][2] in told.splitlines()[-1]
        assert "hush-hush" not in told


def test_a_client_of_an_agent_with_a_wrong_password_is_told_so(secured: Secured) -> None:
    settings = secured.settings("agent-7", kafka_sasl_password="hush-hush")
    config = AgentConfig.from_settings(settings, agent_id="agent-7", role="booking", jwks=keys.jwks_path(settings))
    with pytest.raises(
        MandateUnavailable, match=r"SASL authentication error.*check its address and credentials"
    ) as told:
        MandateClient(config).__enter__()
    assert "hush-hush" not in str(told.value)


def test_a_certificate_that_is_not_trusted_is_refused_by_both_client_libraries(
    secured: Secured, tmp_path: Path
) -> None:
    other = Authority.made("somebody else").write(tmp_path / "other.pem")
    settings = secured.settings("mandate-control", kafka_ssl_ca_location=other)
    with pytest.raises(Broken, match=r"certificate verify failed.*MANDATE_KAFKA_SSL_CA_LOCATION"):
        check_access(settings)
    assert asyncio.run(_joins(secured.settings("mandate-control")))
    assert not asyncio.run(_joins(settings))


async def _joins(settings: Settings) -> bool:
    client = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers, **_login(settings))
    try:
        await client.bootstrap()
    except KafkaConnectionError:
        return False
    finally:
        await client.close()
    return True


def test_what_others_may_do_beside_the_catalogue_is_told_and_left(
    secured: Secured, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = AdminClient(secured.settings(ADMIN).client_config())
    strange = AclBinding(
        ResourceType.TOPIC, "permission.", ResourcePatternType.PREFIXED, "User:intruder", "*", AclOperation.ALL,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    for made in admin.create_acls([strange]).values():
        made.result()
    for _ in range(2):
        assert (
            topics_acls.run(secured.settings(ADMIN), principals=[], agents=AGENTS, apply=True, as_json=False)
            == topics_acls.UNWANTED
        )
        printed = capsys.readouterr()
        assert printed.out.startswith("0 permissions made")
        (line,) = printed.err.splitlines()[1:]
        assert line.endswith(
            "--remove --allow-principal User:intruder --operation All --resource-pattern-type prefixed"
            " --topic permission. --force"
        )


def test_who_is_no_super_user_makes_no_permissions(secured: Secured) -> None:
    with pytest.raises(ClusterError, match="Log in as a super user"):
        topics_acls.run(secured.settings("agent-7"), principals=[], agents=AGENTS, apply=True, as_json=False)


def test_a_cluster_without_an_authorizer_is_told(shared_stack: Settings) -> None:
    with pytest.raises(OperatorError, match="has no authorizer"):
        topics_acls.run(shared_stack, principals=[], agents=AGENTS, apply=True, as_json=False)
