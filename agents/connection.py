"""The one connection to Mandate that clients have: a producer, and the tails of what Mandate answers.

What is promised, and the fault that each survives:
1. The ends of the answer topics are fixed before the first request is sent: no answer between is missed.
2. A request is entered as waited for before it is produced: its answer always finds its waiter.
3. A wait that ends is entered as given up in the same moment: an answer reaches its waiter or counts as late,
   never both, never neither. A late PERMIT is reported ABANDONED, a wait given up after its DEFER CANCELLED.
4. `close` returns when every record that was handed in is acknowledged, or raises.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from agents.config import AgentConfig
from agents.errors import MandateUnavailable
from agents.messages import given_up, headers_of
from agents.proposals import Proposal, Proposals
from agents.registry import connect as connect_registry
from agents.signing import AgentKey
from agents.states import StateView
from agents.tail import RevocationTail, Tail, log
from agents.verify import GrantVerifier
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, CodecError
from schemas.records import AgentOutcome, AgentRequest, Decision, Directive

_PRODUCER: dict[str, str | int | bool] = {"linger.ms": 0, "delivery.timeout.ms": 30_000}
_PROMISED: dict[str, str | int | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",
}
_LATE_ANSWERS_S = 10.0
_CLOSE_WAITS_S = 1.0
_FLUSH_S = 30.0
_POLL_S = 0.1
_US_PER_MS = 1000

Taker = Callable[[Decision | Directive], None]


def producer_config(kafka: Mapping[str, str | int]) -> dict[str, str | int | bool]:
    """The producer's configuration. An agent's own may change how long it waits, not what Mandate relies on."""
    return {**_PRODUCER, **kafka, **_PROMISED}


class Connection:
    """Shared by the clients of one process; thread-safe. `open` before use, `close` when done."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self.proposals = Proposals()
        self.is_open = False
        self._trouble = ""
        self._ended = False
        self._is_lost = False
        self._unreported = ""
        self._states: StateView | None = None
        self._takers: list[Taker] = []
        self._keys: dict[str, AgentKey] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, as far as is known; empty when nothing is."""
        return self._trouble or (self._answers.trouble if self.is_open else "")

    def open(self) -> None:
        """Connect, once; returns when answers can't be missed and the revocation feed is known.

        Raises MandateUnavailable.
        """
        with self._lock:
            if self._ended:
                raise MandateUnavailable("this client was closed: make a new one")
            if not self.is_open:
                self._connect()
                self.is_open = True

    def listen(self, taker: Taker) -> None:
        """Have every decision on our requests, and every directive, handed over; in the connection's thread."""
        self._takers.append(taker)

    def sign_as(self, agent_id: str, key: AgentKey) -> None:
        """Sign with this key what this agent asks and reports from now on."""
        self._keys[agent_id] = key

    def ask(self, request: AgentRequest, traceparent: str | None) -> Proposal:
        """Send a request and begin to wait for its answer."""
        if self._is_lost:
            raise MandateUnavailable(self.trouble)
        key = self._keys.get(request.agent_id)
        request = key.sign(request) if key else request
        headers = headers_of(request, traceparent)
        value = self.codec.encode(request)
        proposal = self.proposals.open(request)

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                why = f"the request did not reach Kafka ({error.str()}): check the brokers"
                self.proposals.give_up(proposal, proposal.first, why)

        try:
            self._produce(request, value, headers, delivered)
        except BaseException:
            self.proposals.walk_away(proposal, "the request could not be sent")
            raise
        return proposal

    def tell(self, outcome: AgentOutcome, traceparent: str | None = None) -> "Future[None]":
        """Send a report; the future is done when Kafka has it, or raises MandateUnavailable."""
        sent: Future[None] = Future()
        sent.set_running_or_notify_cancel()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                sent.set_result(None)
            else:
                sent.set_exception(MandateUnavailable(f"the report did not reach Kafka ({error.str()}): send it again"))

        key = self._keys.get(outcome.agent_id)
        outcome = key.sign(outcome) if key else outcome
        headers = headers_of(outcome, traceparent)
        self._produce(outcome, self.codec.encode(outcome), headers, delivered)
        return sent

    def walk_away(self, proposal: Proposal, why: str) -> "Future[None] | None":
        """Nobody waits for this proposal any longer: a permit, now or later, is reported abandoned, a DEFER withdrawn.

        The future of the report; None when there is nothing to report now.
        """
        unused = self.proposals.walk_away(proposal, why)
        return None if unused is None else self._give_back(unused, why)

    def give_up(self, proposal: Proposal, awaited: "Future[Decision]", why: str) -> None:
        """Stop waiting for an answer that has not come; a request that waits for its end is withdrawn."""
        deferral = self.proposals.give_up(proposal, awaited, why)
        if deferral is not None:
            self._give_back(deferral, why)

    def states(self) -> StateView:
        """The leads' states; the first call reads them all."""
        self.open()
        with self._lock:
            if self._states is None:
                view = StateView(dict(self._config.kafka), self.codec)
                view.begin()
                self._states = view
            return self._states

    def close(self) -> None:
        """End all waits, give back what nobody will use, and see everything acknowledged; MandateUnavailable if not."""
        with self._lock:
            was_open, self.is_open, self._ended = self.is_open, False, True
            if not was_open:
                return
        for unused in self.proposals.give_up_all("the client was closed"):
            self._give_back(unused, "the client was closed")
        end = time.monotonic() + _CLOSE_WAITS_S
        while time.monotonic() < end and self.proposals.awaiting_late_answers(end - _LATE_ANSWERS_S):
            time.sleep(0.01)
        self._answers.stop()
        self._revocations.stop()
        if self._states is not None:
            self._states.stop()
        left = self._producer.flush(_FLUSH_S)
        self._closed.set()
        self._poller.join()
        if left or self._unreported:
            why = self._unreported or f"{left} records did not reach Kafka within {_FLUSH_S:g} s"
            raise MandateUnavailable(f"{why}: check the brokers; unused grants end by themselves")

    def _connect(self) -> None:
        kafka = dict(self._config.kafka)
        # First, because an idempotent producer needs half a second for its id; the rest goes on meanwhile.
        self._producer = Producer(producer_config(kafka), logger=log)
        self.codec: Codec = connect_registry(self._config.registry)
        self._revocations = RevocationTail(kafka, self.codec)
        self.verifier = GrantVerifier(self._config.jwks, feed=self._revocations.feed, lease_us=self._config.lease_us)
        topics = (TOPIC_OF[Decision], TOPIC_OF[Directive])
        self._answers = Tail(kafka, topics, start="end", take=self._take, lost=self._lost)
        self._answers.begin()
        try:
            self._revocations.begin()
        except BaseException:
            self._answers.stop()
            raise
        self._poller = threading.Thread(target=self._poll, name="mandate producer", daemon=True)
        self._poller.start()

    def _produce(self, record: AgentRequest | AgentOutcome, value: bytes, headers: Any, delivered: Any) -> None:
        topic = TOPIC_OF[type(record)]
        at = record.requested_at if isinstance(record, AgentRequest) else record.occurred_at
        try:
            self._producer.produce(
                topic,
                value,
                key=record.lead_id,
                headers=headers,
                timestamp=max(1, at // _US_PER_MS),  # 0 would be the wall clock's time
                on_delivery=delivered,
            )
        except (BufferError, KafkaException) as error:
            raise MandateUnavailable(f"{topic} can't take a record ({error}): check the brokers") from error

    def _give_back(self, unused: Decision, why: str) -> "Future[None]":
        """Report a PERMIT or DEFER that nobody will use; what goes wrong is said by the future, and by `close`."""

        def check(sent: "Future[None]") -> None:
            if error := sent.exception():
                self._unreported = self._trouble = f"an unused {unused.verdict} could not be given back ({error})"

        try:
            sent = self.tell(given_up(unused, why, self._config.now()))
        except MandateUnavailable as error:
            sent = Future()
            sent.set_exception(error)
        sent.add_done_callback(check)
        return sent

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)

    def _take(self, message: Message) -> None:
        value = message.value()
        if value is None:
            return
        try:
            if message.topic() == TOPIC_OF[Directive]:
                self._hand_over(self.codec.decode(Directive, value))
            elif self.proposals.concerns((message.key() or b"").decode("utf-8", "replace")):
                self._take_decision(self.codec.decode(Decision, value))
        except CodecError as error:
            # Whose answer it was can't be known; its waiter is told when its time is over.
            self._trouble = f"a record of {message.topic()} could not be read ({error})"

    def _take_decision(self, decision: Decision) -> None:
        if self.proposals.awaits(decision.request_id):
            self._hand_over(decision)
        for permit in self.proposals.take(decision):
            self._give_back(permit, "the answer came when nobody waited any longer")

    def _hand_over(self, record: Decision | Directive) -> None:
        for taker in self._takers:
            taker(record)

    def _lost(self, error: Exception) -> None:
        self._is_lost, self._trouble = True, str(error)
        self.proposals.give_up_all(self.trouble)
