"""The client against a real broker and registry; `responder` plays control and answers as the action says."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agents import (
    AgentConfig,
    AgentKey,
    AsyncMandateClient,
    MandateClient,
    MandateUnavailable,
    Refusal,
    RevocationTail,
    Verdict,
)
from agents.feed import partition_of
from agents.tail import Tail
from deploy.keys import jwks_path
from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.headers import trace_of
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    DirectiveType,
    ExecutionState,
    LeadId,
    OutcomeResult,
    Position,
    ReasonCode,
    Record,
    Revocation,
    RevocationScope,
    SpeechMode,
)
from schemas.records import Verdict as Answer
from schemas.signing import signed_text
from streams.registry import connect
from tests.agents.grants import revocation
from tests.agents.records import directive

pytestmark = pytest.mark.broker
ROOT = Path(__file__).resolve().parents[2]


def until(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def config(control: Settings) -> AgentConfig:
    return AgentConfig.from_settings(control, agent_id="closer-1", role="closing", jwks=jwks_path(control))


@pytest.fixture
def client(config: AgentConfig) -> Iterator[MandateClient]:
    with MandateClient(config) as found:
        yield found


class Broker:
    """What the tests themselves write to and read from the topics."""

    def __init__(self, settings: Settings) -> None:
        self.codec: Codec = connect(settings)
        self.partitions = settings.partitions
        self._settings = settings
        self._producer = Producer({**settings.client_config(), "partitioner": "murmur2_random"})

    def write(self, record: Record, *, key: str, partition: int = -1, raw: bytes | None = None) -> None:
        value = self.codec.encode(record) if raw is None else raw
        self._producer.produce(TOPIC_OF[type(record)], value, key=key, partition=partition)
        assert self._producer.flush(10) == 0

    def written(self, record: type[Record]) -> list[Message]:
        """Everything in the topic of this record, from the start to what is its end now."""
        topic = TOPIC_OF[record]
        consumer = Consumer({**self._settings.client_config(), "group.id": "tests", "enable.partition.eof": True})
        consumer.assign([TopicPartition(topic, number, 0) for number in range(self.partitions)])
        found, ended = [], 0
        while ended < self.partitions:
            message = consumer.poll(10)
            assert message is not None
            if message.error() is None:
                found.append(message)
            else:
                ended += 1
        consumer.close()
        return found

    def outcomes(self, request_id: str) -> list[AgentOutcome]:
        decoded = (self.codec.decode(AgentOutcome, message.value()) for message in self.written(AgentOutcome))
        return [outcome for outcome in decoded if outcome.request_id == request_id]

    def request(self, request_id: str) -> tuple[AgentRequest, Message]:
        for message in self.written(AgentRequest):
            request = self.codec.decode(AgentRequest, message.value())
            if request.request_id == request_id:
                return request, message
        raise AssertionError(f"no request {request_id}")


@pytest.fixture(scope="module")
def broker(stack: Settings) -> Broker:
    return Broker(stack)


def test_a_permit_is_enforced_once_and_reported(client: MandateClient, broker: Broker) -> None:
    verdict = client.propose("lead-1", "permit", channel="voice", parameters={"amount_minor": 500})
    assert verdict.permitted, verdict.message
    assert client.enforce(verdict)
    again = client.enforce(verdict)
    assert isinstance(again, Refusal)
    assert again.code is ReasonCode.GRANT_REUSED
    client.report(verdict, "done")
    [outcome] = broker.outcomes(verdict.request.request_id)
    assert (outcome.result, outcome.agent_id, outcome.lead_id) == (OutcomeResult.DONE, "closer-1", "lead-1")


def test_the_request_on_the_topic_is_keyed_timed_and_traced(client: MandateClient, broker: Broker) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    verdict = client.propose("lead-1", "block", channel="sms", request_id="traced-1", traceparent=trace)
    request, message = broker.request("traced-1")
    assert request == verdict.request
    assert message.key() == b"lead-1"
    assert message.timestamp()[1] == request.requested_at // 1000
    assert trace_of(message.headers()) == trace
    assert dict(message.headers())["ce_id"] == b"traced-1"


def test_requests_and_reports_lie_on_the_partition_of_their_lead(client: MandateClient, broker: Broker) -> None:
    for number in range(8):
        verdict = client.propose(f"placed-{number}", "permit", channel="voice")
        client.report(verdict, "done")
    sent = broker.written(AgentRequest) + broker.written(AgentOutcome)
    placed = [message for message in sent if (message.key() or b"").startswith(b"placed-")]
    assert len(placed) == 16
    for message in placed:
        assert message.partition() == partition_of((message.key() or b"").decode(), broker.partitions)


def test_a_tail_from_the_end_has_everything_that_is_written_after_it_began(control: Settings) -> None:
    topic = f"tail-{time.time_ns()}"
    admin = AdminClient(control.client_config())
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(10)
    producer = Producer({**control.client_config(), "linger.ms": 0})
    for number in range(20):
        producer.produce(topic, f"before-{number}")
        producer.flush(10)
        seen: list[bytes | None] = []
        tail = Tail(
            control.client_config(), (topic,), start="end", take=lambda m, to=seen: to.append(m.value()), lost=print
        )
        tail.begin()
        producer.produce(topic, b"after")
        producer.flush(10)
        until(lambda to=seen: bool(to))
        tail.stop()
        assert seen == [b"after"]


class NeverCloses:
    """A client that does not come back from its close until `over` is set."""

    def __init__(self, client: Consumer, over: threading.Event) -> None:
        self._client = client
        self._over = over

    def poll(self, timeout: float) -> Message | None:
        return self._client.poll(timeout)

    def close(self) -> None:
        self._over.wait(60)
        self._client.close()


def test_a_tail_whose_client_forgot_its_brokers_takes_another_and_misses_nothing(control: Settings) -> None:
    topic = f"tail-{time.time_ns()}"
    admin = AdminClient(control.client_config())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    producer = Producer({**control.client_config(), "linger.ms": 0})
    seen: list[bytes | None] = []
    tail = Tail(control.client_config(), (topic,), start="end", take=lambda m: seen.append(m.value()), lost=print)
    tail.begin()
    over = threading.Event()
    try:
        for word in (b"one", b"two", b"three"):
            producer.produce(topic, word)
            producer.flush(10)
            until(lambda word=word: word in seen)
            before = tail._consumer = NeverCloses(tail._consumer, over)
            watch = tail._watch
            for _ in range(6):
                watch('{"brokers": {"known": {"state": "INIT"}, "GroupCoordinator": {"state": "TRY_CONNECT"}}}')
            until(lambda before=before: tail._consumer is not before)
    finally:
        tail.stop()
        over.set()
    assert seen == [b"one", b"two", b"three"]


def test_what_differs_from_the_proposal_is_not_covered(client: MandateClient) -> None:
    verdict = client.propose("lead-1", "permit", channel="voice", parameters={"discount_bp": 500})
    refusal = client.enforce(verdict, parameters={"discount_bp": 900})
    assert isinstance(refusal, Refusal)
    assert refusal.code is ReasonCode.GRANT_INVALID
    assert client.enforce(verdict, parameters={"discount_bp": 500})


def test_a_block_comes_with_its_reasons_and_enforces_nothing(client: MandateClient) -> None:
    verdict = client.propose("lead-1", "block", channel="voice")
    assert (verdict.answer, verdict.answered, verdict.code) == (Answer.BLOCK, True, ReasonCode.DO_NOT_CONTACT)
    refusal = client.enforce(verdict)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ReasonCode.DO_NOT_CONTACT


def test_no_answer_in_time_is_a_block_that_says_so(client: MandateClient) -> None:
    verdict = client.propose("lead-1", "silence", channel="voice", timeout=0.3)
    assert (verdict.answer, verdict.answered, verdict.code) == (Answer.BLOCK, False, ReasonCode.NO_ANSWER_IN_TIME)
    assert "0.3 s passed" in verdict.message
    assert not client.enforce(verdict)


def test_the_agents_own_deadline_ends_the_wait_too(client: MandateClient, config: AgentConfig) -> None:
    begun = time.monotonic()
    verdict = client.propose("lead-1", "silence", channel="voice", deadline=config.now() + 300_000)
    assert time.monotonic() - begun < 2
    assert not verdict.answered
    assert "deadline" in verdict.message
    assert verdict.request.deadline is not None


def test_a_permit_that_comes_too_late_is_reported_abandoned(client: MandateClient, broker: Broker) -> None:
    verdict = client.propose("lead-1", "late_permit", channel="voice", timeout=0.3)
    assert not verdict.answered
    request_id = verdict.request.request_id
    until(lambda: bool(broker.outcomes(request_id)))
    [outcome] = broker.outcomes(request_id)
    assert outcome.result is OutcomeResult.ABANDONED
    assert outcome.grant_id == f"grant-of-{request_id}"


def test_a_defer_is_returned_and_its_end_awaited(client: MandateClient) -> None:
    verdict = client.propose("lead-1", "defer_late_permit", channel="voice")
    assert verdict.deferred
    assert verdict.code is ReasonCode.LEAD_SPEAKING
    end = client.await_end(verdict)
    assert end.permitted
    assert client.enforce(end)
    with pytest.raises(ValueError, match="awaited or given up before"):
        client.await_end(verdict)


def test_a_proposal_may_wait_for_the_end_of_its_defer_at_once(client: MandateClient) -> None:
    assert client.propose("lead-1", "defer_late_block", channel="voice", wait=True).answer is Answer.BLOCK


def test_a_defer_whose_end_never_comes_is_a_block_after_its_deadline(config: AgentConfig, broker: Broker) -> None:
    with MandateClient(replace(config, answer_timeout_s=0.5)) as client:
        begun = time.monotonic()
        verdict = client.propose("lead-1", "defer", channel="voice", timeout=5)
        end = client.await_end(verdict)
        assert (end.answer, end.answered) == (Answer.BLOCK, False)
        assert "deadline" in end.message
        assert 2.5 < time.monotonic() - begun < 6
    assert [outcome.result for outcome in broker.outcomes(verdict.request.request_id)] == [OutcomeResult.CANCELLED]


def test_a_defer_that_is_given_up_leaves_no_permit_behind(client: MandateClient, broker: Broker) -> None:
    verdict = client.propose("lead-1", "defer_late_permit", channel="voice")
    client.abandon(verdict)
    assert [outcome.result for outcome in broker.outcomes(verdict.request.request_id)] == [OutcomeResult.CANCELLED]
    until(lambda: len(broker.outcomes(verdict.request.request_id)) == 2)
    # The responder knows no cancelling: its permit crossed the withdrawal, and goes back too.
    assert broker.outcomes(verdict.request.request_id)[1].result is OutcomeResult.ABANDONED


def test_a_defer_that_the_end_of_the_client_leaves_behind_is_withdrawn(config: AgentConfig, broker: Broker) -> None:
    with MandateClient(config) as client:
        verdict = client.propose("lead-1", "defer", channel="voice")
    [outcome] = broker.outcomes(verdict.request.request_id)
    assert (outcome.result, outcome.grant_id) == (OutcomeResult.CANCELLED, "defer-1")


def test_a_defer_that_is_given_up_after_its_permit_came_hands_the_permit_back(
    client: MandateClient, broker: Broker
) -> None:
    verdict = client.propose("came-already", "defer_permit", channel="voice")
    until(lambda: not client._core.connection.proposals.concerns("came-already"))
    client.abandon(verdict)
    until(lambda: bool(broker.outcomes(verdict.request.request_id)))
    assert broker.outcomes(verdict.request.request_id)[0].result is OutcomeResult.ABANDONED


def test_a_repeated_decision_changes_nothing(client: MandateClient, broker: Broker) -> None:
    verdict = client.propose("lead-1", "permit_again_again", channel="voice")
    assert verdict.permitted
    assert client.propose("lead-1", "block", channel="voice").answered
    assert broker.outcomes(verdict.request.request_id) == []


def test_many_proposals_for_many_leads_go_over_one_client(client: MandateClient) -> None:
    def ask(number: int) -> tuple[int, Verdict]:
        action = ("permit", "block", "defer")[number % 3]
        return number, client.propose(f"lead-{number % 40}", action, channel="voice", timeout=20)

    with ThreadPoolExecutor(32) as pool:
        for number, verdict in pool.map(ask, range(300)):
            assert verdict.answer is (Answer.PERMIT, Answer.BLOCK, Answer.DEFER)[number % 3], verdict.message
            assert verdict.request.lead_id == f"lead-{number % 40}"


def test_the_first_proposal_of_a_client_never_misses_its_answer(config: AgentConfig) -> None:
    for number in range(5):
        with MandateClient(config) as client:
            assert client.propose(f"first-{number}", "permit", channel="voice").permitted


def test_two_agents_on_one_connection_get_their_own_answers(client: MandateClient) -> None:
    booker = client.acting_as("booker-1", "booking")
    verdict = booker.propose("lead-1", "permit", channel="voice")
    assert (verdict.request.agent_id, verdict.request.role) == ("booker-1", "booking")
    assert booker.enforce(verdict)
    assert not client.enforce(replace(verdict, request=client.propose("lead-1", "permit", channel="voice").request))


def test_each_agent_on_a_connection_signs_all_that_it_sends_with_its_own_key(
    config: AgentConfig, broker: Broker
) -> None:
    """Also what the connection sends by itself: a defer that is given up, a permit that came too late."""
    keys = {name: AgentKey(Ed25519PrivateKey.generate()) for name in ("closer-1", "booker-1")}
    with MandateClient(replace(config, signing_key=keys["closer-1"], answer_timeout_s=30)) as client:
        booker = client.acting_as("booker-1", "booking", keys["booker-1"])
        stranger = client.acting_as("stranger", "booking")
        sent = [one.propose("lead-signed", "permit", channel="voice") for one in (client, booker, stranger)]
        for one, verdict in zip((client, booker, stranger), sent, strict=True):
            one.report(verdict, "done")
        client.acting_as("closer-1", "closing").abandon(
            client.propose("lead-signed", "defer_late_block", channel="voice")
        )
        late = booker.propose("lead-signed", "late_permit", channel="voice", timeout=0.2).request.request_id
        until(lambda: len(broker.outcomes(late)) == 1, within_s=30)
    written = [broker.codec.decode(AgentRequest, message.value()) for message in broker.written(AgentRequest)]
    told = [broker.codec.decode(AgentOutcome, message.value()) for message in broker.written(AgentOutcome)]
    records = [record for record in (*written, *told) if record.lead_id == "lead-signed"]
    proven = [(record.agent_id, type(record).__name__) for record in records if _is_signed(record, keys)]
    assert sorted(proven) == sorted(
        [
            ("closer-1", "AgentRequest"),
            ("closer-1", "AgentOutcome"),
            ("booker-1", "AgentRequest"),
            ("booker-1", "AgentOutcome"),
        ]
        * 2
    )
    assert [r.agent_id for r in records if r.signature is None] == ["stranger", "stranger"]


def _is_signed(record: AgentRequest | AgentOutcome, keys: dict[str, AgentKey]) -> bool:
    key = keys.get(record.agent_id)
    if key is None or record.signature is None or record.signature.kid != key.kid:
        return False
    raw = base64.urlsafe_b64decode(key.public_key + "=")
    Ed25519PublicKey.from_public_bytes(raw).verify(record.signature.signature, signed_text(record))
    return True


def test_a_revoked_grant_is_refused(client: MandateClient, broker: Broker) -> None:
    verdict = client.propose("lead-1", "permit", channel="voice")
    assert verdict.decision is not None
    grant_id = str(verdict.decision.grant_id)
    fell = revocation(RevocationScope.GRANT, grant_id, at=time.time_ns() // 1000)
    broker.write(fell, key=f"GRANT:{grant_id}")
    feed = client._core.connection._revocations.feed
    until(lambda: len(feed) > 0)
    refusal = client.enforce(verdict)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ReasonCode.GRANT_REVOKED


def test_revocations_from_before_the_client_began_are_known(config: AgentConfig, broker: Broker) -> None:
    fell = revocation(RevocationScope.AGENT, "closer-9", epoch=5, at=time.time_ns() // 1000)
    broker.write(fell, key="AGENT:closer-9")
    with MandateClient(replace(config, agent_id="closer-9")) as client:
        refusal = client.enforce(client.propose("lead-1", "permit", channel="voice"))
        assert isinstance(refusal, Refusal)
        assert refusal.code is ReasonCode.GRANT_REVOKED


def test_a_client_whose_feed_lags_more_than_its_lease_refuses(config: AgentConfig) -> None:
    with MandateClient(replace(config, lease_us=1)) as client:
        refusal = client.enforce(client.propose("lead-1", "permit", channel="voice"))
        assert isinstance(refusal, Refusal)
        assert refusal.code is ReasonCode.REVOCATION_FEED_STALE


def test_a_revocation_that_can_not_be_read_makes_its_partition_unknown(control: Settings, broker: Broker) -> None:
    tail = RevocationTail(control.client_config(), broker.codec)
    tail.begin()
    try:
        until(lambda: all(tail.feed.as_of(partition) is not None for partition in range(broker.partitions)))
        # Not written to the topic: every later reader of this stack would have to refuse.
        tail._take(Message(topic=TOPIC_OF[Revocation], partition=1, value=b"not Avro"))
        known = [tail.feed.as_of(partition) is not None for partition in range(broker.partitions)]
        assert known == [partition != 1 for partition in range(broker.partitions)]
    finally:
        tail.stop()


def test_directives_for_the_agent_and_for_all_agents_of_its_leads_are_followed(
    client: MandateClient, broker: Broker
) -> None:
    client.follow("lead-1")
    directives = client.directives()
    ours = directive(DirectiveType.PAUSE, 900)
    for_all = directive(DirectiveType.SPEECH_MODE, 901, agent_id=None, speech_mode=SpeechMode.TRANSFER_ONLY)
    for found in (
        directive(DirectiveType.STOP, 1, agent_id="closer-2"),
        directive(DirectiveType.STOP, 2, agent_id=None, lead_id="somebody-else"),
        ours,
        for_all,
    ):
        broker.write(found, key=found.lead_id)
    assert [next(directives), next(directives)] == [ours, for_all]
    assert client.speech_mode("lead-1", "call-1") is SpeechMode.TRANSFER_ONLY
    assert client.standing_order("lead-1") == ours
    assert client.speech_mode("never-heard-of") is SpeechMode.SILENT
    assert client.standing_order("somebody-else") is None


def test_the_stream_of_directives_ends_with_the_client(config: AgentConfig) -> None:
    client = MandateClient(config).connect()
    directives = client.directives()
    ended = threading.Event()

    def follow() -> None:
        for _ in directives:
            pass
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    client.close()
    assert ended.wait(5)


def test_the_state_of_a_lead_is_its_latest(client: MandateClient, broker: Broker) -> None:
    def state(version: int) -> ExecutionState:
        return ExecutionState(
            lead_id=LeadId("lead-7"),
            stage="transfer",
            speech_mode=SpeechMode.OPEN,
            facts={"timing": "accepted"},
            version=version,
            position=Position(partition=0, offset=version),
            at=1,
        )

    broker.write(state(1), key="lead-7")
    assert client.lead_state("lead-7") == state(1)
    assert client.lead_state("lead-8") is None
    broker.write(state(2), key="lead-7")
    until(lambda: client.lead_state("lead-7") == state(2))


def test_closing_ends_a_wait_in_another_thread_with_a_block(config: AgentConfig) -> None:
    client = MandateClient(config).connect()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.propose, "lead-1", "silence", channel="voice", timeout=60)
        until(lambda: client._core.connection.proposals.concerns("lead-1"))
        client.close()
        verdict = waiting.result(5)
    assert (verdict.answer, verdict.answered) == (Answer.BLOCK, False)
    assert "closed" in verdict.message
    with pytest.raises(MandateUnavailable, match="was closed"):
        client.propose("lead-1", "permit", channel="voice")
    client.close()


def test_a_client_of_its_own_clock_stamps_its_records_with_it(config: AgentConfig, broker: Broker) -> None:
    driven = 1_600_000_000_000_000
    with MandateClient(replace(config, now=lambda: driven)) as client:
        verdict = client.propose("lead-1", "block", channel="voice")
    request, message = broker.request(verdict.request.request_id)
    assert request.requested_at == driven
    assert message.timestamp()[1] == driven // 1000


CTRL_C = """
import sys, threading, time
from agents import AgentConfig, MandateClient
from deploy.keys import jwks_path
from deploy.settings import load_settings

settings = load_settings()
config = AgentConfig.from_settings(settings, agent_id="closer-1", role="closing", jwks=jwks_path(settings))
with MandateClient(config) as client:
    print("ready", flush=True)
    client.propose("lead-1", "late_permit", channel="voice", request_id="interrupted-1", timeout=60)
"""


def test_a_permit_is_not_lost_when_ctrl_c_ends_the_wait_for_it(control: Settings, broker: Broker) -> None:
    environment = {**os.environ, **control.to_env(), "PYTHONPATH": str(ROOT)}
    agent = subprocess.Popen(
        [sys.executable, "-c", CTRL_C], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == "ready\n"
    time.sleep(0.8)  # the answer comes after 1.5 s; closing waits a second for it
    agent.send_signal(signal.SIGINT)
    _, stderr = agent.communicate(timeout=30)
    assert "KeyboardInterrupt" in stderr
    assert [outcome.result for outcome in broker.outcomes("interrupted-1")] == [OutcomeResult.ABANDONED]


def test_a_permit_is_not_lost_when_ctrl_c_is_caught_and_the_client_goes_on(
    client: MandateClient, broker: Broker
) -> None:
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        client.propose("lead-1", "late_permit", channel="voice", request_id="interrupted-2", timeout=60)
    interrupt.join()
    until(lambda: bool(broker.outcomes("interrupted-2")))
    assert broker.outcomes("interrupted-2")[0].result is OutcomeResult.ABANDONED
    assert client.propose("lead-1", "permit", channel="voice").permitted


def test_a_wrong_address_is_said_in_one_sentence(config: AgentConfig) -> None:
    with pytest.raises(MandateUnavailable, match=r"registry at http://127\.0\.0\.1:9 does not answer.*address"):
        MandateClient(replace(config, registry={"url": "http://127.0.0.1:9"})).connect()


# --- asyncio


def test_many_tasks_propose_over_one_asyncio_client(config: AgentConfig) -> None:
    async def run() -> list[Verdict]:
        async with AsyncMandateClient(config) as client:
            asks = (client.propose(f"lead-{n}", "permit", channel="voice", timeout=20) for n in range(200))
            verdicts = await asyncio.gather(*asks)
            assert all(client.enforce(verdict) for verdict in verdicts)
            await asyncio.gather(*(client.report(verdict, "done") for verdict in verdicts))
            return verdicts

    verdicts = asyncio.run(run())
    assert [verdict.request.lead_id for verdict in verdicts] == [f"lead-{n}" for n in range(200)]


def test_an_asyncio_client_awaits_the_end_of_a_defer_and_says_when_none_comes(config: AgentConfig) -> None:
    async def run() -> None:
        async with AsyncMandateClient(config) as client:
            end = await client.propose("lead-1", "defer_late_permit", channel="voice", wait=True)
            assert end.permitted
            silent = await client.propose("lead-1", "silence", channel="voice", timeout=0.2)
            assert (silent.answer, silent.answered) == (Answer.BLOCK, False)

    asyncio.run(run())


def test_cancelling_a_task_gives_its_proposal_up(config: AgentConfig, broker: Broker) -> None:
    async def run() -> None:
        async with AsyncMandateClient(config) as client:
            asking = client.propose("lead-1", "late_permit", channel="voice", request_id="cancelled-1", timeout=60)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asking, 0.5)
            await asyncio.sleep(1.5)

    asyncio.run(run())
    assert [outcome.result for outcome in broker.outcomes("cancelled-1")] == [OutcomeResult.ABANDONED]


def test_an_asyncio_client_follows_directives_until_it_is_closed(config: AgentConfig, broker: Broker) -> None:
    async def run() -> list[str]:
        client = await AsyncMandateClient(config).connect()
        seen: list[str] = []

        async def follow() -> None:
            async for found in client.directives():
                seen.append(found.directive_id)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.2)
        hold = directive(DirectiveType.HOLD, 950)
        await asyncio.to_thread(broker.write, hold, key="lead-1")
        until_s = time.monotonic() + 5
        while not seen and time.monotonic() < until_s:
            await asyncio.sleep(0.02)
        await client.close()
        await asyncio.wait_for(following, 5)
        return seen

    assert asyncio.run(run()) == ["directive-950"]
