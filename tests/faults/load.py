"""Traffic for a cluster under test: leads, events and proposals on the input topics, in driven time or the system's."""

import queue
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, Message

from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.jsonio import parse_time
from schemas.records import (
    AgentId,
    AgentRequest,
    CallEvent,
    CallEventType,
    Channel,
    Consent,
    ConsentType,
    ConversationId,
    CrmEvent,
    CrmEventType,
    HumanIntervention,
    InterventionType,
    LeadId,
    Record,
    RequestId,
)
from streams.kafka import make_producer

START = parse_time("2026-11-18T17:00:00Z")
LEADS = 300
RATE = 300
SPEED = 10
"""Seconds of journal time in a second."""
_NEW_LEAD_EACH = 20
_CALL = (CallEventType.CALL_INITIATED, CallEventType.CALL_RINGING, CallEventType.CALL_ENDED)


class Load(threading.Thread):
    """Sends until stopped, at RATE records a second; the same seed sends the same records at the same journal times."""

    def __init__(self, settings: Settings, codec: Codec, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self._producer = make_producer(settings)
        self._codec = codec
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._zone = "America/New_York"
        self.requests: list[AgentRequest] = []
        self.sent = 0

    def stop(self) -> None:
        """Returns when everything sent is delivered."""
        self._stopped.set()
        self.join(30)
        assert self._producer.flush(30) == 0

    def run(self) -> None:
        began = time.monotonic()
        for number in range(LEADS):
            self._introduce(number)
        while not self._stopped.is_set():
            ahead = began + self.sent / RATE - time.monotonic()
            if ahead > 0:
                self._stopped.wait(ahead)
            self._something()
            self._producer.poll(0)

    @property
    def _now(self) -> int:
        return START + self.sent * 1_000_000 * SPEED // RATE // 1000 * 1000

    def _send(self, record: Record) -> None:
        self._produce(record)
        self.sent += 1

    def _produce(self, record: Record, heard: Callable[[KafkaError | None, Message], None] | None = None) -> None:
        lead = str(getattr(record, "lead_id", ""))
        more: dict[str, Any] = {} if heard is None else {"on_delivery": heard}
        value = self._codec.encode(record)
        self._producer.produce(TOPIC_OF[type(record)], value, lead, timestamp=self._now // 1000, **more)

    def _introduce(self, number: int) -> None:
        lead = LeadId(f"lead-{number}")
        upserted = CrmEvent(
            event_id=f"upsert-{number}",
            lead_id=lead,
            type=CrmEventType.LEAD_UPSERTED,
            external_id=f"crm-{number}",
            time_zones=(self._zone,),
            jurisdictions=("US",),
            received_at=self._now,
        )
        consent = Consent(channel=Channel.SMS, type=ConsentType.EXPRESS_WRITTEN)
        consented = CrmEvent(
            event_id=f"consent-{number}",
            lead_id=lead,
            type=CrmEventType.CONSENT_RECORDED,
            consent=consent,
            received_at=self._now,
        )
        self._send(upserted)
        self._send(consented)

    def _lead(self) -> LeadId:
        return LeadId(f"lead-{self._random.randrange(LEADS)}")

    def _something(self) -> None:
        lead = self._lead()
        kind = self._random.random()
        if kind < 0.25:
            fields = {"contact_outcome": f"outcome {self.sent}", "last_contact_at": str(self._now)}
            self._propose(lead, "booking", "update_crm", Channel.BACKEND, fields)
        elif kind < 0.40:
            self._propose(lead, "booking", "send_message", Channel.SMS, {})
        elif kind < 0.45:
            self._propose(lead, "transfer", "capture_commitment", Channel.VOICE, {})
        elif kind < 0.75:
            self._send(
                CrmEvent(
                    event_id=f"status-{self.sent}",
                    lead_id=lead,
                    type=CrmEventType.STATUS_CHANGED,
                    status=self._random.choice(("new", "working", "nurturing")),
                    received_at=self._now,
                )
            )
        else:
            self._send(
                CallEvent(
                    event_id=f"call-{self.sent}",
                    lead_id=lead,
                    conversation_id=ConversationId(f"{lead}-{self.sent // 900}"),
                    provider="twilio",
                    call_id=f"{lead}-{self.sent // 900}",
                    type=self._random.choice(_CALL),
                    received_at=self._now,
                )
            )

    def _propose(self, lead: LeadId, role: str, action: str, channel: Channel, fields: dict[str, str]) -> None:
        request = AgentRequest(
            request_id=self._request_id(),
            lead_id=lead,
            agent_id=AgentId(f"{role}-agent"),
            role=role,
            action=action,
            channel=channel,
            crm_fields=fields,
            requested_at=self._now,
        )
        self.requests.append(request)
        self._send(request)

    def _request_id(self) -> RequestId:
        return RequestId(f"request-{self.sent}")


class LiveLoad(Load):
    """The same traffic in the system's time, for as long as it takes: leads come in as it goes on, people interfere.

    label: stands in front of the ids of requests from now on. acknowledged: when the broker took each request, seconds
    since 1970; one that it did not take within minutes was never sent, and is not in it.
    """

    def __init__(self, settings: Settings, codec: Codec, seed: int, rate: float) -> None:
        super().__init__(settings, codec, seed)
        self._producer = make_producer(
            settings, **{"delivery.timeout.ms": 300_000, "reconnect.backoff.max.ms": 200, "client.id": "load"}
        )
        self._rate = rate
        self._leads = 0
        # Early in the afternoon for every lead, whatever the hour here.
        self._zone = f"Etc/GMT{datetime.now(UTC).hour - 13:+d}"
        self._soon: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.label = "calm"
        self.acknowledged: dict[str, float] = {}

    def run(self) -> None:
        began, sent = time.monotonic(), 0
        for _ in range(20):
            self._welcome()
        while not self._stopped.wait(max(0.0, began + sent / self._rate - time.monotonic())):
            sent += 1
            if sent % _NEW_LEAD_EACH == 0:
                self._welcome()
            if self._random.random() < 0.03:
                self.interfere(self._lead())
            else:
                self._something()
            while not self._soon.empty():
                self._soon.get()()
            self.requests.clear()
            self._producer.poll(0)

    def soon(self, act: Callable[[], None]) -> None:
        """Has the load's own thread do something between two records."""
        self._soon.put(act)

    def stop(self) -> None:
        self._stopped.set()
        self.join(30)
        self._producer.flush(300)

    def ask_again_and_otherwise(self) -> None:
        """A proposal, the same bytes again, the same id with another content, and a person who comes between."""
        lead = self._lead()
        self._propose(lead, "booking", "update_crm", Channel.BACKEND, {"contact_outcome": "first"})
        first = self.requests[-1]
        other = AgentRequest(**{**_fields(first), "crm_fields": {"contact_outcome": "another"}})
        for record in self._random.sample((first, first, other), 3):
            self._produce(record)
        self.interfere(lead)

    def interfere(self, lead: LeadId) -> None:
        """A person pauses automation, which revokes what is granted, and lets it go on."""
        for kind in (InterventionType.PAUSE, InterventionType.RESUME):
            self._send(
                HumanIntervention(
                    intervention_id=f"{kind.lower()}-{self.sent}",
                    lead_id=lead,
                    type=kind,
                    author="ada",
                    author_role="supervisor",
                    reason="looking into it",
                    occurred_at=self._now,
                )
            )

    @property
    def _now(self) -> int:
        return time.time_ns() // 1_000_000 * 1000

    def _send(self, record: Record) -> None:
        def heard(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                self.acknowledged.setdefault(str(getattr(record, "request_id", "")), time.time())

        self._produce(record, heard if isinstance(record, AgentRequest) else None)
        self.sent += 1

    def _welcome(self) -> None:
        self._introduce(self._leads)
        self._leads += 1

    def _lead(self) -> LeadId:
        return LeadId(f"lead-{self._random.randrange(max(0, self._leads - LEADS), self._leads)}")

    def _request_id(self) -> RequestId:
        return RequestId(f"{self.label}/{self.sent}")


def _fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
