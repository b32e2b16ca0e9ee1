"""Who looks on while faults happen: when each decision and each revocation could first be read."""

import threading
import time
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition

from deploy.settings import Settings
from schemas.codec import decode
from schemas.records import Decision, Revocation, RevocationScope
from tests.faults.history import DECISIONS, PREFIX, Notes

REVOCATIONS = "permission.revocations"


@dataclass
class Seen:
    """decided: when a decision on each request was first seen, seconds since 1970."""

    decided: dict[str, float] = field(default_factory=dict)


class Onlooker(threading.Thread):
    """Reads decisions and revocations as an agent would, through whatever happens to the broker."""

    def __init__(self, settings: Settings, notes: Notes) -> None:
        super().__init__(name="onlooker", daemon=True)
        self.seen = Seen()
        self._notes = notes
        self._over = threading.Event()
        self._consumer = Consumer(
            {
                **settings.client_config(), "group.id": "onlooker", "enable.auto.commit": False, "log_level": 0,
                "fetch.wait.max.ms": 50, "reconnect.backoff.max.ms": 100, "socket.timeout.ms": 5_000,
            }
        )  # fmt: skip
        places = [TopicPartition(t, n) for t in (DECISIONS, REVOCATIONS) for n in range(settings.partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=10)[1] or OFFSET_END
        self._consumer.assign([TopicPartition(p.topic, p.partition, max(0, p.offset)) for p in places])

    def run(self) -> None:
        while not self._over.is_set():
            for message in self._consumer.consume(500, 0.1):
                if message.error() is None and message.value() is not None:
                    self._take(message)
        self._consumer.close()

    def stop(self) -> None:
        self._over.set()
        self.join(10)

    def _take(self, message: Message) -> None:
        now, body = time.time(), bytes(message.value() or b"")[PREFIX:]
        if message.topic() == DECISIONS:
            self.seen.decided.setdefault(decode(Decision, body).request_id, now)
            return
        revocation = decode(Revocation, body)
        if revocation.scope is RevocationScope.GRANT:
            self._notes.revoked.setdefault(revocation.subject, now)
        elif revocation.scope is RevocationScope.LEAD:
            known = self._notes.cut_off[revocation.subject]
            if all(revocation.epoch > epoch for epoch, _ in known):
                known.append((revocation.epoch, now))
