"""`python -m tests.faults.enforcer FILE FEED`: an agent's enforcer that acts on the log's permits, and on nothing else.

It reads decisions straight from the broker, and revocations from the address FEED, which may be cut off. Some time
after a permit it verifies the grant, and if that holds writes a line into FILE: its effect on the world.
"""

import heapq
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from agents.tail import RevocationTail
from agents.verify import GrantVerifier, Refusal
from deploy.keys import jwks
from deploy.settings import Settings, load_settings
from schemas.codec import decode
from schemas.records import Decision, Verdict
from streams.registry import connect
from tests.faults.history import DECISIONS, PREFIX

ACTION = "send_message"
LONGEST_WAIT_S = 8.0


def main(path: Path, feed_address: str) -> None:
    """Works until it is killed."""
    settings = load_settings()
    tail = RevocationTail({**settings.client_config(), "bootstrap.servers": feed_address}, connect(settings))
    tail.begin(60)
    lease_us = round(settings.revocation_lease_s * 1_000_000)
    verifier = GrantVerifier(jwks(settings), feed=tail.feed, lease_us=lease_us)
    consumer = _consumer(settings)
    waiting: list[tuple[float, str, Decision]] = []
    chance = random.Random(0)
    print("enforcer ready", flush=True)
    with path.open("a", buffering=1) as effects:
        while True:
            for message in consumer.consume(100, 0.05):
                if message.error() is None:
                    decision = decode(Decision, bytes(message.value() or b"")[PREFIX:])
                    if decision.verdict is Verdict.PERMIT and decision.action == ACTION:
                        due = time.time() + chance.uniform(0, LONGEST_WAIT_S)
                        heapq.heappush(waiting, (due, decision.decision_id, decision))
            while waiting and waiting[0][0] <= time.time():
                act(verifier, heapq.heappop(waiting)[2], effects.write)


def act(verifier: GrantVerifier, decision: Decision, do: Callable[[str], object]) -> None:
    """Verifies right before the effect, and does it."""
    now = time.time()
    grant = verifier.check(
        decision.grant,
        action=ACTION,
        lead_id=decision.lead_id,
        agent_id=decision.agent_id,
        role=decision.role,
        channel=decision.channel,
        now=round(now * 1_000_000),
    )
    if not isinstance(grant, Refusal):
        line = ["agent", f"message {decision.request_id}", decision.decision_id, grant.grant_id, now]
        do(json.dumps(line) + "\n")
    else:
        print(f"refused {decision.decision_id}: {grant.code}", flush=True)


def _consumer(settings: Settings) -> Consumer:
    config = {"group.id": "enforcer", "enable.auto.commit": False, "log_level": 0, "reconnect.backoff.max.ms": 200}
    consumer = Consumer({**settings.client_config(), **config})
    consumer.assign([TopicPartition(DECISIONS, n, OFFSET_END) for n in range(settings.partitions)])
    return consumer


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
