"""One lead on stage: what its agents ask for, do and say, and what it answers."""

import random
import time
from collections.abc import Mapping

from agents.messages import make_outcome
from agents.verdict import Verdict
from deploy.demo import emission
from deploy.demo.call import Call, Said
from deploy.demo.cast import Lead
from deploy.demo.conductor import Conductor
from deploy.demo.office import Agent, Tally
from deploy.demo.shapes.moments import Happens
from deploy.demo.times import BEAT
from processors.ids import derive
from processors.intake import entry_id
from schemas.digest import Parameters
from schemas.records import (
    CallEndCause,
    Channel,
    EntryKind,
    OutcomeResult,
    Signal,
    SignalType,
    Speaker,
    TimeUs,
)

DETECTOR = "northwind-detector-3"
_NOTICED_AFTER: TimeUs = 300_000


class Scene:
    """A lead, its agents by role, and the call between them. rival: another booking agent."""

    def __init__(self, lead: Lead, conductor: Conductor, crew: Mapping[str, Agent], rival: Agent, tally: Tally) -> None:
        self.lead = lead
        self.conductor = conductor
        self.crew = crew
        self.rival = rival
        self._tally = tally
        self._call: Call | None = None
        self._asked = 0
        self._signals = 0

    @property
    def now(self) -> TimeUs:
        """Journal time."""
        return self.conductor.now

    @property
    def rng(self) -> random.Random:
        """The lead's own chance."""
        return self.lead.rng

    @property
    def call(self) -> Call:
        """The call of this lead."""
        if self._call is None:
            raise RuntimeError(f"{self.lead.lead_id} was not called yet")
        return self._call

    # --- time
    async def beats(self, count: int = 1) -> None:
        """Lets so many beats pass."""
        await self.conductor.sleep_until(self.now + count * BEAT)

    async def catch_up(self) -> None:
        """Goes on when what was told of the call so far has happened."""
        await self.conductor.sleep_until(max(self.call.cursor, self.now + 1))

    # --- permits
    async def propose(
        self,
        role: str,
        action: str,
        *,
        channel: Channel = Channel.VOICE,
        in_call: bool = True,
        parameters: Parameters | None = None,
        crm_fields: Mapping[str, str] | None = None,
        tool: str | None = None,
        deadline: TimeUs | None = None,
        agent: Agent | None = None,
        request_id: str | None = None,
    ) -> Verdict:
        """Asks for an action; returns the first verdict."""
        self._asked += 1
        name = request_id or f"{self.lead.lead_id}/{self._asked:02d}-{action}"
        trace = derive("trace", name)
        began = time.perf_counter()
        verdict = await (agent or self.crew[role]).client.propose(
            self.lead.lead_id,
            action,
            channel=channel,
            parameters=parameters,
            crm_fields=crm_fields,
            tool=tool,
            conversation_id=self.call.conversation_id if in_call else None,
            request_id=name,
            deadline=deadline,
            traceparent=f"00-{trace}-{trace[:16]}-01",
        )
        self._tally.latencies_ms.append((time.perf_counter() - began) * 1000)
        self._note(verdict)
        return verdict

    async def end_of(self, verdict: Verdict, agent: Agent) -> Verdict:
        """The verdict that ends a DEFER; other verdicts are their own end."""
        if verdict.defer is None or not verdict.deferred:
            return verdict
        moments = sorted({verdict.defer.not_before or verdict.defer.deadline, verdict.defer.deadline})
        end = await self.conductor.parked(agent.client.await_end(verdict), *moments)
        self._note(end)
        return end

    def _note(self, verdict: Verdict) -> None:
        self._tally.verdicts[verdict.answer.value] += 1
        if not verdict.answered:
            self._tally.unanswered.append(verdict.request.request_id)

    async def permit(self, role: str, action: str, *, agent: Agent | None = None, **asked: object) -> Verdict | None:
        """Asks, waits out a DEFER, verifies the grant; None when the agent may not act."""
        who = agent or self.crew[role]
        verdict = await self.end_of(await self.propose(role, action, agent=agent, **asked), who)  # type: ignore[arg-type]
        if not verdict.permitted:
            return None
        return verdict if await who.enforce(verdict) else None

    async def try_once(self, role: str, action: str, **asked: object) -> Verdict:
        """Asks, and does not wait: a DEFER is given up, a permit is not used."""
        verdict = await self.propose(role, action, **asked)  # type: ignore[arg-type]
        await self.crew[role].client.abandon(verdict)
        return verdict

    async def done(
        self, role: str, verdict: Verdict, result: OutcomeResult = OutcomeResult.DONE, *, agent: Agent | None = None
    ) -> None:
        """Reports what became of a permit, with its obligations when it was done; returns when that is on record."""
        fulfilled = verdict.obligations if result is OutcomeResult.DONE else ()
        conversation = None if self._call is None else self._call.conversation_id
        told = make_outcome(verdict, result, fulfilled, None, conversation, self.now)
        await (agent or self.crew[role]).client.report(
            verdict, result, fulfilled=fulfilled, conversation_id=conversation
        )
        await self.conductor.stage.in_journal(entry_id(EntryKind.OUTCOME, self.lead.lead_id, told.outcome_id))

    async def write_crm(self, role: str, fields: Mapping[str, str]) -> Verdict:
        """Asks for a CRM write; the CRM sink makes it when it is permitted."""
        return await self.propose(
            role, "update_crm", channel=Channel.BACKEND, in_call=False, crm_fields=fields, tool="crm"
        )  # fmt: skip

    # --- the call
    def place_call(
        self, role: str = "booking", *, agent: Agent | None = None, late: Mapping[Happens, TimeUs] | None = None,
        twice: bool = False,
    ) -> Call:  # fmt: skip
        """Puts a call on the lead's line; nothing rings yet."""
        lead, agent_id = self.lead, (agent or self.crew[role]).agent_id
        self._call = Call(
            self.conductor, lead.style, lead.lead_id, agent_id, lead.phone, lead.rng, late=late, twice=twice
        )  # fmt: skip
        return self._call

    async def says(self, role: str, text: str) -> bool:
        """An agent speaks, if it may; returns when it has."""
        if self.call.is_over or not await self.crew[role].may_speak(self.lead.lead_id, self.call.conversation_id):
            return False
        self.call.say(Speaker.AGENT, text)
        await self.catch_up()
        return True

    async def hears(
        self, text: str, *, confidence: float | None = None, final: bool = True, signal: SignalType | None = None,
        sure: float = 0.95, subject: str = "",
    ) -> Said:  # fmt: skip
        """The lead speaks; a detector may make a signal of it. Returns when both are told."""
        said = self.call.say(Speaker.LEAD, text, confidence=confidence, final=final)
        if signal is not None:
            self.detects(signal, said, sure=sure, subject=subject)
        await self.catch_up()
        return said

    def detects(self, kind: SignalType, *said: Said, sure: float = 0.95, subject: str = "") -> None:
        """The detector claims something, on what was said."""
        self._signals += 1
        at = max((words.ended_at for words in said), default=self.now) + _NOTICED_AFTER + 20_000 * self._signals
        signal = Signal(
            event_id=derive("signal", self.lead.lead_id, self._signals),
            lead_id=self.lead.lead_id,
            conversation_id=self.call.conversation_id,
            type=kind,
            subject=subject,
            confidence=sure,
            detector=DETECTOR,
            evidence=tuple(words.segment_id for words in said if words.segment_id),
            occurred_at=at,
            received_at=at,
        )
        self.conductor.schedule([emission.typed(signal, at)])
        self.call.cursor = max(self.call.cursor, at)

    async def hang_up(self, role: str, cause: CallEndCause = CallEndCause.COMPLETED) -> None:
        """An agent ends the conversation; one that is told to stop needs no permit for it."""
        if self.call.is_over:
            return
        verdict = await self.permit(role, "end_conversation")
        if verdict is not None:
            await self.done(role, verdict)
        self.call.end(cause)
        await self.catch_up()
