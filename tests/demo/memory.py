"""Mandate in one process, for tests of the corpus: the real intake, fold, verifier and conduct, without topics."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.conduct import Conduct
from agents.config import AgentConfig
from agents.feed import RevocationFeed
from agents.grant import Grant, Refusal
from agents.messages import given_up, make_outcome, make_request
from agents.verdict import Verdict
from agents.verify import GrantVerifier
from deploy.demo.emission import Emission
from deploy.demo.evidence import READ, Evidence
from deploy.settings import PACKAGED_POLICY
from processors.authority import Court, public_jwk
from processors.ids import derive
from processors.intake import Admitted, Refused, Source, Unresolved, admit
from processors.offline import MemoryRows
from processors.partition import Partition
from processors.policy import load_bundle
from schemas.catalogue import TOPIC_OF, TOPICS
from schemas.codec import Codec, CodecError, schema_json
from schemas.records import (
    CallDirectoryEntry,
    CrmResult,
    CrmUpdate,
    CrmWriteResult,
    DeadLetter,
    DeadLetterCode,
    Decision,
    Directive,
    EntryKind,
    EscalationCase,
    JournalEntry,
    LeadId,
    OutcomeResult,
    PolicyActivation,
    PolicySignature,
    Record,
    Revocation,
    SpeechMode,
    Tick,
    TimeUs,
)
from schemas.records import Verdict as Answer

_NAMES = [topic.value_schema for topic in TOPICS.values() if topic.value_schema]
WAIT_US = 10_000_000


class Memory:
    """The whole path in memory. It is a `Stage`; `client` gives the agents' side."""

    def __init__(self) -> None:
        signing = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
        self._court = Court.from_keys(signing, [signing.public_key()])
        self.jwks = {"keys": [public_jwk(signing.public_key())]}
        self.evidence = Evidence()
        self.inputs: list[tuple[TimeUs, str, str, bytes]] = []
        self.now: TimeUs = 0
        self.feed = RevocationFeed(1)
        self.listeners: list[Callable[[Decision | Directive], None]] = []
        self._names = dict(enumerate(_NAMES, 1))
        self._codec = Codec({name: number for number, name in self._names.items()}, self._fetch)
        self._partition = Partition(0, MemoryRows(), self._court)
        self._offset = 0
        self._directory: dict[tuple[str, str], CallDirectoryEntry] = {}
        self._waiting: list[tuple[TimeUs, str, Record]] = []
        self._cases: dict[str, str] = {}
        self._activate()

    # --- the stage
    async def advance(self, emissions: Sequence[Emission], to: TimeUs, *, wholly: bool = False) -> None:
        for emission in emissions:
            value = emission.value if isinstance(emission.value, bytes) else self._codec.encode(emission.value)
            self.take(emission.at, emission.topic, emission.key, value)
        self._expire(to)
        self.now = max(self.now, to)
        self._apply(_entry(EntryKind.TICK, Tick(tick_id=f"tick:{to}", at=self.now), self.now))

    async def in_journal(self, entry_id: str) -> None:
        del entry_id  # what is taken is in the journal at once

    async def case_of(self, lead_id: str) -> str:
        return self._cases[lead_id]

    # --- intake
    def take(self, at: TimeUs, topic: str, key: str, value: bytes) -> None:
        self.inputs.append((at, topic, key, value))
        self.now = max(self.now, at)
        expected = TOPICS[topic].value
        assert expected is not None
        try:
            record: Record = self._codec.decode(expected, value)
        except CodecError as error:
            self._dead(topic, error.code, str(error))
            return
        if topic == "agent.requests":
            self.evidence.add(record)
        self._admit(topic, record, at + WAIT_US)

    def _admit(self, topic: str, record: Record, deadline: TimeUs | None) -> None:
        outcome = admit(record, Source(topic, 0, len(self.inputs)), self.now, self._directory)
        if isinstance(outcome, Refused):
            self._dead(topic, outcome.code, outcome.error)
        elif isinstance(outcome, Unresolved):
            if deadline is None:
                self._dead(topic, DeadLetterCode.UNRESOLVED_LEAD, outcome.call_id)
            else:
                self._waiting.append((deadline, topic, record))
        elif isinstance(outcome, Admitted):
            self._directory |= {(entry.provider, entry.call_id): entry for entry in outcome.learned}
            for entry in outcome.entries:
                self._apply(entry)
            if outcome.learned:
                again, self._waiting = self._waiting, []
                for deadline, topic, waiting in again:
                    self._admit(topic, waiting, deadline)

    def _expire(self, now: TimeUs) -> None:
        over = [waiting for waiting in self._waiting if waiting[0] <= now]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > now]
        for _, topic, record in over:
            self._admit(topic, record, None)

    def _dead(self, topic: str, code: DeadLetterCode, error: str) -> None:
        self.evidence.add(
            DeadLetter(
                dead_letter_id=derive("dead", len(self.evidence.dead_letters)), topic=topic, partition=0, offset=0,
                code=code, error=error, stage="intake", at=self.now,
            )
        )  # fmt: skip

    # --- control
    def _activate(self) -> None:
        bundle = load_bundle(PACKAGED_POLICY)
        digest, signer = bundle.digest(), self._court.signer
        activation = PolicyActivation(
            activation_id=derive("activation", digest), version=bundle.version, revision=1, digest=digest,
            bundle=bundle.canonical_json(), approved_by="test", reason="test",
            signatures=(PolicySignature(key_id=signer.kid, signature=signer.approve(digest)),),
        )  # fmt: skip
        self._apply(_entry(EntryKind.POLICY, activation, 1))

    def _apply(self, entry: JournalEntry) -> None:
        offset, self._offset = self._offset, self._offset + 1
        for output in self._partition.apply(entry, offset):
            self._publish(output.value)

    def _publish(self, value: Record) -> None:
        if isinstance(value, READ):
            self.evidence.add(value)
        if isinstance(value, Revocation):
            self.feed.observe(value, 0)
        elif isinstance(value, Decision | Directive):
            for listener in list(self.listeners):
                listener(value)
        elif isinstance(value, EscalationCase):
            self._cases[value.lead_id] = value.case_id
        elif isinstance(value, CrmUpdate):
            self.evidence.add(
                CrmResult(
                    update_id=value.update_id, lead_id=value.lead_id, external_id=value.external_id,
                    result=CrmWriteResult.APPLIED, message="", at=value.at,
                )
            )  # fmt: skip

    def _fetch(self, number: int) -> str:
        return schema_json(self._names[number])

    def client(self, now: Callable[[], TimeUs]) -> "MemoryClient":
        config = AgentConfig(agent_id="demo", role="booking", kafka={}, registry={}, jwks=self.jwks, now=now)
        verifier = GrantVerifier(self.jwks, feed=self.feed, lease_us=5_000_000)
        return MemoryClient(self, config, verifier)

    def encode(self, record: Record) -> bytes:
        return self._codec.encode(record)


def _entry(kind: EntryKind, body: Tick | PolicyActivation, at: TimeUs) -> JournalEntry:
    return JournalEntry(
        entry_id=derive("entry", kind, at), lead_id=LeadId(""), kind=kind, at=at, source_topic="", source_partition=-1,
        source_offset=-1, body=body,
    )  # fmt: skip


class MemoryClient:
    """The agents' client on memory: it makes the same records and verifies with the same verifier."""

    def __init__(self, memory: Memory, config: AgentConfig, verifier: GrantVerifier) -> None:
        self._memory = memory
        self._config = config
        self._verifier = verifier
        self._conduct = Conduct()
        self._answers: dict[str, list[Decision]] = {}
        self._ends: dict[str, asyncio.Future[Decision]] = {}
        self._given_up: set[str] = set()
        self._directives: asyncio.Queue[Directive] = asyncio.Queue()
        self._leads: set[str] = set()
        memory.listeners.append(self._hear)

    def acting_as(self, agent_id: str, role: str) -> "MemoryClient":
        config = AgentConfig(
            agent_id=agent_id, role=role, kafka={}, registry={}, jwks=self._config.jwks, now=self._config.now
        )
        return MemoryClient(self._memory, config, self._verifier)

    async def propose(
        self, lead_id: str, action: str, *, channel: Any, parameters: Any = None, crm_fields: Any = None,
        tool: str | None = None, conversation_id: str | None = None, request_id: str | None = None,
        deadline: TimeUs | None = None, traceparent: str | None = None,
    ) -> Verdict:  # fmt: skip
        request = make_request(
            self._config, lead_id, action, channel, parameters or {}, crm_fields or {}, tool, conversation_id,
            request_id, deadline,
        )  # fmt: skip
        self.follow(lead_id)
        answers = self._answers[request.request_id] = []
        await asyncio.sleep(0)
        self._memory.take(self._config.now(), TOPIC_OF[type(request)], lead_id, self._memory.encode(request))
        return Verdict(request, answers[0])

    async def await_end(self, verdict: Verdict) -> Verdict:
        return Verdict(verdict.request, await self._end(verdict.request.request_id))

    async def abandon(self, verdict: Verdict) -> None:
        if verdict.deferred and verdict.decision is not None:
            self._given_up.add(verdict.request.request_id)
            outcome = given_up(verdict.decision, "the agent gave up the defer", self._config.now())
            await asyncio.sleep(0)
            self._memory.take(
                self._config.now(), TOPIC_OF[type(outcome)], outcome.lead_id, self._memory.encode(outcome)
            )
        elif verdict.permitted:
            await self.report(verdict, OutcomeResult.ABANDONED)

    def enforce(self, verdict: Verdict) -> Grant | Refusal:
        request = verdict.request
        return self._verifier.check(
            verdict.grant, action=request.action, lead_id=request.lead_id, agent_id=request.agent_id,
            role=request.role, channel=request.channel.value, conversation_id=request.conversation_id,
            parameters=request.parameters, crm_fields=request.crm_fields, tool=request.tool, now=self._config.now(),
        )  # fmt: skip

    async def report(
        self, verdict: Verdict, result: Any, *, fulfilled: Sequence[str] = (), detail: str | None = None,
        conversation_id: str | None = None,
    ) -> None:  # fmt: skip
        outcome = make_outcome(verdict, result, fulfilled, detail, conversation_id, self._config.now())
        await asyncio.sleep(0)
        self._memory.take(self._config.now(), "agent.outcomes", outcome.lead_id, self._memory.encode(outcome))

    async def directives(self) -> AsyncIterator[Directive]:
        while True:
            yield await self._directives.get()

    def follow(self, lead_id: str) -> None:
        self._leads.add(lead_id)

    def speech_mode(self, lead_id: str, conversation_id: str | None = None) -> SpeechMode:
        return self._conduct.speech_mode(lead_id, conversation_id) or SpeechMode.SILENT

    def standing_order(self, lead_id: str, conversation_id: str | None = None) -> Directive | None:
        return self._conduct.standing_order(lead_id, conversation_id)

    def _hear(self, record: Decision | Directive) -> None:
        if isinstance(record, Directive):
            if record.agent_id == self._config.agent_id or (record.agent_id is None and record.lead_id in self._leads):
                self._conduct.observe_directive(record)
                self._directives.put_nowait(record)
        elif record.agent_id == self._config.agent_id:
            self._conduct.observe_decision(record)
            self._answer(record)

    def _answer(self, decision: Decision) -> None:
        self._answers.setdefault(decision.request_id, []).append(decision)
        if decision.verdict is Answer.DEFER:
            return
        if decision.request_id in self._ends and not self._ends[decision.request_id].done():
            self._ends[decision.request_id].set_result(decision)

    def _end(self, request_id: str) -> "asyncio.Future[Decision]":
        end = self._ends[request_id] = asyncio.get_running_loop().create_future()
        final = next((d for d in self._answers[request_id] if d.verdict is not Answer.DEFER), None)
        if final is not None:
            end.set_result(final)
        return end
