"""Plays control for the tests of the client, over the real topics: answers each request as its action says.

`python -m tests.agents.responder <directory>`; settings from the environment. It writes `ready` there once it reads.
"""

import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.keys import key_id, load_private_key
from deploy.settings import Settings, load_settings
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.digest import parameters_digest
from schemas.records import AgentRequest, Decision, DeferEnd, DeferTerms, Record, RevocationScope, Verdict
from streams.registry import connect
from tests.agents.grants import revocation, signed
from tests.agents.records import decision

HEARTBEAT_S = 0.2
LATE_S = 1.5
WORDS = {"permit", "defer", "block", "late", "again", "silence"}
DEFER_US = 3_000_000


class Responder:
    """One control, much reduced: it holds answers back until they are due."""

    def __init__(self, settings: Settings) -> None:
        self.codec: Codec = connect(settings)
        self.key = load_private_key(settings.signing_key_path)
        self.producer = Producer({**settings.client_config(), "partitioner": "murmur2_random", "linger.ms": 0})
        self.consumer = Consumer({**settings.client_config(), "group.id": "responder", "fetch.wait.max.ms": 50})
        self.partitions = settings.partitions
        self.due: list[tuple[float, Decision]] = []
        self.next_heartbeat = 0.0

    def run(self, directory: Path) -> None:
        topic = TOPIC_OF[AgentRequest]
        places = [TopicPartition(topic, number) for number in range(self.partitions)]
        for place in places:
            place.offset = self.consumer.get_watermark_offsets(place, timeout=10)[1]
        self.consumer.assign(places)
        (directory / "ready").touch()
        while True:
            message = self.consumer.poll(0.02)
            if message is not None and message.error() is None:
                self.answer(self.codec.decode(AgentRequest, message.value()))
            self.beat()
            self.send_what_is_due()
            self.producer.poll(0)

    def send_what_is_due(self) -> None:
        now = time.monotonic()
        for at, found in self.due:
            if at <= now:
                self.produce(found, key=found.lead_id)
        self.due = [(at, found) for at, found in self.due if at > now]

    def answer(self, request: AgentRequest) -> None:
        """The action names the behaviour: any of these words, joined by underscores; any other is permitted."""
        at, number = time.monotonic(), 0
        words = request.action.split("_")
        for word in words if WORDS.issuperset(words) else ["permit"]:
            if word == "late":
                at += LATE_S
            elif word == "again":
                self.due.append((at, self.due[-1][1]))
            elif word != "silence":
                number += 1
                self.due.append((at, self.judged(request, Verdict[word.upper()], number)))

    def judged(self, request: AgentRequest, verdict: Verdict, number: int) -> Decision:
        now = time.time_ns() // 1000
        if verdict is Verdict.DEFER:
            terms = DeferTerms(defer_id="defer-1", deadline=now + DEFER_US, on_deadline=DeferEnd.BLOCK)
            return decision(request, verdict, number, at=now, defer=terms)
        if verdict is Verdict.BLOCK:
            return decision(request, verdict, number, at=now)
        return decision(request, verdict, number, at=now, grant=self.grant(request, now), single_use=True)

    def grant(self, request: AgentRequest, now: int) -> str:
        digest = parameters_digest(request.parameters, request.crm_fields, request.tool)
        seconds = now // 1_000_000
        claims: dict[str, Any] = {
            "iss": "mandate", "sub": request.agent_id, "aud": "mandate-enforcers", "iat": seconds, "nbf": seconds,
            "exp": seconds + 30, "jti": f"grant-of-{request.request_id}", "act": request.action, "pdg": digest,
            "chn": request.channel.value, "lead": request.lead_id, "conv": request.conversation_id,
            "role": request.role, "req": request.request_id, "one": True, "epoch": 1, "pol": "policy-1",
            "rev": 1, "obl": [],
        }  # fmt: skip
        return signed(claims, self.key, key_id(self.key))

    def beat(self) -> None:
        if time.monotonic() < self.next_heartbeat:
            return
        self.next_heartbeat = time.monotonic() + HEARTBEAT_S
        for partition in range(self.partitions):
            beat = revocation(RevocationScope.HEARTBEAT, str(partition), at=time.time_ns() // 1000)
            self.produce(beat, key=f"HEARTBEAT:{partition}", partition=partition)

    def produce(self, record: Record, *, key: str, partition: int = -1) -> None:
        self.producer.produce(TOPIC_OF[type(record)], self.codec.encode(record), key=key, partition=partition)


if __name__ == "__main__":
    Responder(load_settings()).run(Path(sys.argv[1]))
