"""Traffic for a cluster under test: leads, events and proposals on the input topics, in driven time."""

import random
import threading
import time

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
_CALL = (CallEventType.CALL_INITIATED, CallEventType.CALL_RINGING, CallEventType.CALL_ENDED)


class Load(threading.Thread):
    """Sends until stopped, at RATE records a second; the same seed sends the same records at the same journal times."""

    def __init__(self, settings: Settings, codec: Codec, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self._producer = make_producer(settings)
        self._codec = codec
        self._random = random.Random(seed)
        self._stopped = threading.Event()
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
        lead = str(getattr(record, "lead_id", ""))
        self._producer.produce(TOPIC_OF[type(record)], self._codec.encode(record), lead, timestamp=self._now // 1000)
        self.sent += 1

    def _introduce(self, number: int) -> None:
        lead = LeadId(f"lead-{number}")
        upserted = CrmEvent(
            event_id=f"upsert-{number}",
            lead_id=lead,
            type=CrmEventType.LEAD_UPSERTED,
            external_id=f"crm-{number}",
            time_zones=("America/New_York",),
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

    def _something(self) -> None:
        lead = LeadId(f"lead-{self._random.randrange(LEADS)}")
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
            request_id=RequestId(f"request-{self.sent}"),
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
