"""From the event that causes a revocation to the refusal at an enforcer, beside traffic of a stated rate.

Every tenth of a second one lead's CRM says "do not contact" while a closing agent holds a grant for that lead. Latency
is from the time at which that event *should* have been sent until the agents' own verifier, fed by the agents' own
feed, refuses the grant: intake, journal, control, the revocation feed and its reader lie between.
"""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from agents.feed import RevocationFeed
from agents.tail import Tail
from agents.verify import Grant, GrantVerifier, Refusal
from deploy import keys
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.records import (
    AgentId,
    AgentRequest,
    Channel,
    CrmEvent,
    CrmEventType,
    Decision,
    LeadId,
    RequestId,
    Revocation,
    RevocationScope,
    TimeUs,
)
from tests.benchmarks.figures import percentiles, table
from tests.benchmarks.load import Shot, schedule, wall_us
from tests.benchmarks.measure import Plan, Round, opened
from tests.benchmarks.systems import Broker, mandate
from tests.benchmarks.workload import Event, Traffic

RATE = 1_000
LIMIT_MS = 100.0
SETTLE_S = 30.0
DECISIONS, REVOCATIONS = TOPIC_OF[Decision], TOPIC_OF[Revocation]
_EVERY_S = 0.1
_HELD_S = 1.0
_LEAD_TIME_S = 1.0
_ENCODE_S = 100e-6
PLAN = Plan(leads=500, rates=(), seconds=(), warm_s=2.0, opening_rate=1_500, backlog=0, compile_s=60.0)
QUICK = PLAN._replace(leads=50, compile_s=0.0)


class Enforcer:
    """One agent's view: grants as decisions bring them, revocations as the feed does, and when each was refused."""

    def __init__(self, kafka: Broker, codec: Codec, lease_us: int) -> None:
        self._codec = codec
        self._feed = RevocationFeed(kafka.settings.partitions)
        self._verifier = GrantVerifier(keys.jwks(kafka.settings), feed=self._feed, lease_us=lease_us)
        self._grants: dict[str, tuple[Decision, Grant]] = {}
        self.held: set[LeadId] = set()
        """Leads whose grant was good when it came."""
        self.not_held: Counter[str] = Counter()
        """Why others have none: the verdict, or the refusal of a grant that came."""
        self.refused: dict[LeadId, tuple[float, TimeUs]] = {}
        """When the grant of a lead was first refused (monotonic), and the journal time of what revoked it."""
        self.lost: Exception | None = None
        self._tail = Tail(
            kafka.settings.client_config(), (DECISIONS, REVOCATIONS), start="end", take=self._take, lost=self._lose
        )
        self._tail.begin()

    def is_done(self, probes: int) -> bool:
        """Whether each probe has its answer, and each grant that was held is refused."""
        return len(self.held) + self.not_held.total() >= probes and len(self.refused) >= len(self.held)

    def close(self) -> None:
        self._tail.stop()

    def _lose(self, error: Exception) -> None:
        self.lost = error

    def _take(self, message: Message) -> None:
        value, partition = message.value(), message.partition() or 0
        if message.topic() == DECISIONS:
            self._hold(self._codec.decode(Decision, value))
        elif value is not None:
            revocation = self._codec.decode(Revocation, value)
            self._feed.observe(revocation, partition)
            if revocation.scope is RevocationScope.GRANT and revocation.subject in self._grants:
                self._ask_again(revocation)

    def _hold(self, decision: Decision) -> None:
        if not decision.request_id.startswith("probe-"):
            return
        if decision.grant is None:
            codes = {reason.code for criterion in decision.criteria for reason in criterion.reasons}
            self.not_held[" ".join((decision.verdict, *sorted(codes)))] += 1
            return
        found = self._check(decision)
        if isinstance(found, Grant):
            self._grants[found.grant_id] = decision, found
            self.held.add(decision.lead_id)
        else:
            self.not_held[found.code] += 1

    def _ask_again(self, revocation: Revocation) -> None:
        decision, _ = self._grants[revocation.subject]
        if not isinstance(self._check(decision), Grant):
            self.refused.setdefault(decision.lead_id, (time.monotonic(), revocation.at))

    def _check(self, decision: Decision) -> Grant | Refusal:
        return self._verifier.check(
            decision.grant, action=decision.action, lead_id=decision.lead_id, agent_id=decision.agent_id,
            now=wall_us(), parameters=_QUOTE, use=False,
        )  # fmt: skip


_QUOTE: dict[str, Any] = {"quote": "q-1187", "price_minor": 1_240_000}


def ask(traffic: Traffic, lead: LeadId, at: TimeUs) -> Event:
    """A request of the lead that is permitted while it may be contacted."""
    request = AgentRequest(
        request_id=RequestId(f"probe-{lead}"), lead_id=lead, conversation_id=traffic.leads[lead].conversation,
        agent_id=AgentId("closing-1"), role="closing", action="discuss_price", channel=Channel.VOICE,
        parameters=_QUOTE, requested_at=at,
    )  # fmt: skip
    return Event(TOPIC_OF[AgentRequest], lead, request)


def stop(lead: LeadId, at: TimeUs) -> Event:
    """What revokes: the CRM says that this lead is not to be contacted."""
    said = CrmEvent(
        event_id=f"stop-{lead}", lead_id=lead, type=CrmEventType.DO_NOT_CONTACT_SET, source="crm", received_at=at
    )
    return Event(TOPIC_OF[CrmEvent], lead, said)


def measure(
    kafka: Broker, codec: Codec, logs: Path, *, seconds: float, rate: int = RATE, plan: Plan = PLAN
) -> dict[str, Any]:
    """Percentiles of the time to a refusal, and how many grants were held and how many of them refused."""
    enforcer = Enforcer(kafka, codec, round(kafka.settings.revocation_lease_s * 1e6))
    count = int(seconds / _EVERY_S)
    plan = plan._replace(leads=plan.leads + count)
    try:
        with opened(mandate(kafka.settings.partitions), kafka, codec, plan, logs, 2) as this:
            if plan.compile_s:
                this.latency(rate // 2, plan.compile_s)
            shots, causes, start = _aim(this, count, seconds, rate)
            sent = this.gun.fire(shots, start)
            until = time.monotonic() + SETTLE_S
            while time.monotonic() < until and not enforcer.is_done(count):
                this.processes.look()
                time.sleep(0.05)
    finally:
        enforcer.close()
    if enforcer.lost is not None:
        raise enforcer.lost
    ahead = time.time() - time.monotonic()
    due = {lead: start + at for lead, at in causes.items()}
    refused = {lead: found for lead, found in enforcer.refused.items() if lead in enforcer.held}
    samples = [(at - due[lead]) * 1_000 for lead, (at, _) in refused.items()]
    from_entry = [(at + ahead - stamped / 1e6) * 1_000 for at, stamped in refused.values()]
    return {
        "rate": rate,
        "events": len(shots),
        "grants_held": len(enforcer.held),
        "refused": len(refused),
        "not_held": dict(enforcer.not_held),
        "latency_ms": percentiles(samples),
        "of_it_from_the_entry_ms": percentiles(from_entry),
        "sent_late_ms": percentiles(sent.late_ms),
    }


def _aim(this: Round, count: int, seconds: float, rate: int) -> tuple[list[Shot], dict[LeadId, float], float]:
    """Traffic of the rate, and for each probe a request and, a second later, what revokes its grant."""
    names = list(this.traffic.leads)
    probes, others = names[:count], [this.traffic.leads[name] for name in names[count:]]
    times = list(schedule(rate, PLAN.warm_s + seconds + _HELD_S, seed=3))
    wait_s = _LEAD_TIME_S + (len(times) + 2 * count) * _ENCODE_S
    start, wall = time.monotonic() + wait_s, wall_us() + round(wait_s * 1e6)
    due = [(at, others[number % len(others)].next(wall + round(at * 1e6))) for number, at in enumerate(times)]
    causes: dict[LeadId, float] = {}
    for number, lead in enumerate(probes):
        at = PLAN.warm_s + number * _EVERY_S
        causes[lead] = at + _HELD_S
        due.append((at, ask(this.traffic, lead, wall + round(at * 1e6))))
        due.append((causes[lead], stop(lead, wall + round(causes[lead] * 1e6))))
    due.sort(key=lambda item: item[0])
    return [this.gun.load(event, at) for at, event in due], causes, max(start, time.monotonic())


def show(found: Mapping[str, Any]) -> str:
    """The figures as a table."""
    head = ("ms", "p50", "p95", "p99", "max", "grants")
    rows = [
        (name, *(found[key].get(figure, "-") for figure in ("p50", "p95", "p99", "max", "count")))
        for name, key in (("from the event", "latency_ms"), ("from the entry", "of_it_from_the_entry_ms"))
    ]
    p99 = found["of_it_from_the_entry_ms"].get("p99")
    kept = "held" if p99 is not None and p99 <= LIMIT_MS and found["refused"] == found["grants_held"] else "NOT HELD"
    return "\n".join(
        (
            f"Revocation to refusal at {found['rate']} events/s: {found['refused']} of {found['grants_held']} grants "
            f"refused; p99 from the entry at most {LIMIT_MS:.0f} ms: {kept}.",
            *(f"{count} had no grant: {why}" for why, count in found["not_held"].items()),
            table(head, rows),
        )
    )
