"""The answer to a proposal, as an agent sees it."""

from dataclasses import dataclass

from schemas.records import AgentRequest, Decision, DeferTerms, OverrideUse, Reason, ReasonCode, SpeechMode, TimeUs
from schemas.records import Verdict as Answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """PERMIT, DEFER or BLOCK, with why. True when, and only when, it is PERMIT.

    decision: None when no answer came in time; that is BLOCK.
    unanswered_because: empty when there is an answer.
    """

    request: AgentRequest
    decision: Decision | None
    unanswered_because: str = ""

    def __bool__(self) -> bool:
        return self.permitted

    @property
    def answer(self) -> Answer:
        """The verdict proper."""
        return self.decision.verdict if self.decision else Answer.BLOCK

    @property
    def answered(self) -> bool:
        """False when the BLOCK is the client's own, for want of an answer."""
        return self.decision is not None

    @property
    def permitted(self) -> bool:
        """The effect may happen, once `enforce` has said so too."""
        return self.answer is Answer.PERMIT

    @property
    def deferred(self) -> bool:
        """Not now: `await_end` waits for the end."""
        return self.answer is Answer.DEFER

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """What decided: the findings of the criteria that did not hold; empty on PERMIT and without an answer."""
        if self.decision is None or self.permitted:
            return ()
        return tuple(
            reason
            for criterion in self.decision.criteria
            if criterion.verdict is self.answer
            for reason in criterion.reasons
        )

    @property
    def code(self) -> ReasonCode | None:
        """The first reason's code; None on PERMIT."""
        if self.decision is None:
            return ReasonCode.NO_ANSWER_IN_TIME
        if self.permitted:
            return None
        return self.reasons[0].code if self.reasons else ReasonCode.UNKNOWN

    @property
    def message(self) -> str:
        """The reasons in words, for the agent's developer."""
        if self.decision is None:
            return f"BLOCK, because no answer came in time: {self.unanswered_because}"
        said = "; ".join(f"{reason.code.value}: {reason.message}" for reason in self.reasons)
        return f"{self.answer.value}, {said}" if said else self.answer.value

    @property
    def grant(self) -> str | None:
        """The signed grant (JWT), on PERMIT alone: hand it to whoever enforces."""
        return self.decision.grant if self.decision else None

    @property
    def expires_at(self) -> TimeUs | None:
        """End of the grant."""
        return self.decision.expires_at if self.decision else None

    @property
    def obligations(self) -> tuple[str, ...]:
        """What the agent must do with the permit, and report as fulfilled."""
        return self.decision.obligations if self.decision else ()

    @property
    def speech_mode(self) -> SpeechMode | None:
        """What may be said in the conversation after this decision; None without an answer."""
        return self.decision.speech_mode if self.decision else None

    @property
    def max_tokens(self) -> int | None:
        """Longest answer, in tokens, that role and speech mode allow; None = no limit, or no answer."""
        return self.decision.max_tokens if self.decision else None

    @property
    def prompt_scope(self) -> tuple[str, ...]:
        """Parts of the prompt that the role may work with; empty without an answer."""
        return self.decision.prompt_scope if self.decision else ()

    @property
    def override(self) -> OverrideUse | None:
        """The person's override that this verdict rests on: author, reason, and in `lifted` what it set aside."""
        return self.decision.override if self.decision else None

    @property
    def defer(self) -> DeferTerms | None:
        """What a DEFER waits for, and until when."""
        return self.decision.defer if self.decision else None
