"""What each code means and what to do about it, in words; `docs/reason-codes.md` is written from here."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.records import DeadLetterCode, ReasonCode

R, D = ReasonCode, DeadLetterCode


class CodeText(NamedTuple):
    """meaning: what was found. advice: what its reader does."""

    meaning: str
    advice: str


REASONS: Mapping[ReasonCode, CodeText] = {
    R.UNKNOWN: CodeText("A code that is newer than the reader.", "Update the client; treat it as BLOCK."),
    R.NO_POLICY: CodeText("No approved policy is in force.", "Operator: `mandate policy activate`."),
    R.POLICY_UNVERIFIED: CodeText(
        "The policy's digest, signature or revision does not hold.",
        "Operator: sign the bundle with an approver's key, with a higher revision.",
    ),
    R.UNKNOWN_ACTION: CodeText("The policy knows no such action.", "Use an action of the bundle, or add it there."),
    R.UNKNOWN_ROLE: CodeText("The policy knows no such role.", "Use a role of the bundle, or add it there."),
    R.ACTION_OUTSIDE_ROLE: CodeText("The role may not ask for this action.", "Hand over to an agent whose role may."),
    R.CHANNEL_NOT_ALLOWED: CodeText("The role may not act on this channel.", "Use a channel of the role."),
    R.CRM_FIELD_OUTSIDE_ROLE: CodeText("The role may not write one of the CRM fields.", "Leave that field out."),
    R.TOOL_OUTSIDE_ROLE: CodeText("The role may not use this tool.", "Use a tool of the role."),
    R.DISCOUNT_ABOVE_AUTHORITY: CodeText(
        "The discount is above the role's authority.", "Offer less, or `escalate` to a person."
    ),
    R.PRICE_ABOVE_AUTHORITY: CodeText(
        "The price is above the role's authority.", "Ask a person to close, with `escalate`."
    ),
    R.PARAMETER_INVALID: CodeText("A parameter is missing or of the wrong kind.", "Mend the request; propose again."),
    R.MISSING_FACT: CodeText("A fact that the rule needs is not known.", "Wait for it, or report it."),
    R.INTERIM_ONLY: CodeText("Only interim transcript carries the fact.", "Wait for the final transcript."),
    R.LOW_CONFIDENCE: CodeText("The fact's confidence is below the threshold.", "Ask the buyer again."),
    R.STAGE_NOT_REACHED: CodeText(
        "The stage of the action is not earned yet.", "Earn it: the reasons name the facts that are missing."
    ),
    R.INTENT_NOT_CONFIRMED: CodeText("The buyer's intent is not confirmed.", "Confirm it in the buyer's own words."),
    R.ALREADY_CONFIRMED: CodeText("The buyer already confirmed this.", "Carry it over; do not ask again."),
    R.OBJECTION_OPEN: CodeText("An objection is not resolved.", "Resolve it first."),
    R.CALL_NOT_LIVE: CodeText("There is no answered conversation.", "Wait for the answer, or initiate contact."),
    R.CALL_IN_PROGRESS: CodeText("A call with this lead is in progress.", "Wait until it ended."),
    R.NOT_HUMAN_ANSWERED: CodeText("A machine answered.", "Only a voicemail may be left."),
    R.LEAD_SPEAKING: CodeText("The lead is speaking.", "Stop and listen."),
    R.DO_NOT_CONTACT: CodeText("The person asked not to be contacted.", "End politely; never try another way."),
    R.NO_CONSENT: CodeText("There is no consent of the needed type for this channel.", "Get consent first."),
    R.OUTSIDE_CALLING_HOURS: CodeText(
        "It is outside calling hours where the person is.", "Wait: the decision says until when."
    ),
    R.ATTEMPT_LIMIT: CodeText("The person was tried too often.", "Wait until the window has moved on."),
    R.MIN_GAP: CodeText("The last attempt was too recent.", "Wait: the decision says until when."),
    R.COOL_OFF: CodeText("The person said not now.", "Wait until the cool-off ended."),
    R.FLOOR_HELD: CodeText("Another agent has the lead.", "Wait for it to finish, or for its lease to end."),
    R.EFFECT_PENDING: CodeText("The same effect is permitted already and not reported.", "Wait for its outcome."),
    R.EFFECT_REFUSED: CodeText(
        "This effect was refused before.", "No other wording, tool, agent or channel changes it; see what lifts it."
    ),
    R.CASE_OPEN: CodeText("A case for a person is open and suspends the action.", "Wait for the person."),
    R.PAUSED_BY_HUMAN: CodeText("A person paused automation for this lead.", "Wait for RESUME."),
    R.OBLIGATION_UNFULFILLED: CodeText(
        "An obligation was not reported as done, or the transcript does not show it.",
        "Fulfil it in words that the policy confirms, and report the outcome.",
    ),
    R.DEFER_EXPIRED: CodeText("What the request waited for did not come in time.", "Propose again when it has."),
    R.TOO_LATE: CodeText(
        "The request was past its deadline, or too old, before it could be answered.",
        "Ask again if it still matters; operator: see lag and age.",
    ),
    R.REQUEST_CONFLICT: CodeText(
        "The request id was used for another request.", "Draw a new id for every new request."
    ),
    R.RULE_ERROR: CodeText("A rule failed while it ran; that never helps a permit.", "Author of the policy: mend it."),
    R.FACT_CHANGED: CodeText("A fact that the grant rested on changed.", "Stop, and propose again."),
    R.EVIDENCE_CHANGED: CodeText(
        "Transcript that the grant rested on was corrected or withdrawn.", "Stop, and confirm with the buyer."
    ),
    R.OPT_OUT: CodeText("The person asked not to be contacted, just now.", "Stop at once."),
    R.STOPPED_BY_HUMAN: CodeText("A person stopped the conversation.", "Stop at once."),
    R.CONVERSATION_ENDED: CodeText("The conversation ended.", "Nothing more is due in it."),
    R.POLICY_CHANGED: CodeText("Another policy came into force.", "Propose again: the new one judges."),
    R.GRANT_EXPIRED: CodeText("The grant's time is over.", "Propose again."),
    R.GRANT_INVALID: CodeText(
        "The grant does not cover this: signature, action, parameters, lead or role.",
        "Use the grant for exactly what was permitted.",
    ),
    R.GRANT_REUSED: CodeText("The grant allows one effect and was used.", "Propose again for another."),
    R.GRANT_REVOKED: CodeText("The grant was revoked.", "Stop; the revocation says why."),
    R.REVOCATION_FEED_STALE: CodeText(
        "The feed of revocations lags more than its lease, so no grant can be trusted.",
        "Operator: check the control worker and the agent's connection.",
    ),
    R.NO_ANSWER_IN_TIME: CodeText("No verdict came before the agent's own deadline.", "Do not act."),
    R.CONDITION_NOT_MET: CodeText(
        "A condition of the policy is not true.", "See the rule; `mandate explain` shows it."
    ),
    R.PROMPT_OUT_OF_SCOPE: CodeText("The role may not work with this part of the prompt.", "Stay within the scope."),
    R.TOKEN_LIMIT: CodeText("The answer would be longer than role and speech mode allow.", "Ask for a shorter one."),
    R.WORDING_NOT_ALLOWED: CodeText("The speech mode bars this wording.", "Say it without the barred phrases."),
    R.SPEECH_MODE: CodeText(
        "The speech mode of the conversation bars this kind of action.", "Wait until the mode widens."
    ),
    R.EXECUTION_LOCKED: CodeText("The buyer called a halt in this conversation.", "Do nothing until a person looked."),
    R.AGENT_SPEAKING: CodeText("The agent who had the lead before still speaks.", "Wait until it is silent."),
    R.STALE_FACT: CodeText("The fact is older than the policy lets anything rest on.", "Confirm it again."),
    R.LATE_EVIDENCE: CodeText(
        "The signal came too late after the words, or by a clock that runs ahead.", "Detector: check lag and clock."
    ),
    R.CONFLICTING_FACTS: CodeText("What the buyer said contradicts itself.", "Let the buyer say it again."),
    R.EVENTS_MISSING: CodeText("Events of this call are missing.", "Wait: they are awaited for a stated time."),
    R.RETRIES_EXHAUSTED: CodeText(
        "The effect was refused, and asked for too often since.", "Stop asking; the reason says until when."
    ),
    R.CUT_OFF: CodeText("The policy in force cuts this agent, role or policy off.", "Stop; ask the operator."),
    R.OVERRIDE_WITHDRAWN: CodeText("The override behind the grant ended.", "Stop, and propose again."),
    R.REQUEST_CANCELLED: CodeText("The agent withdrew the request.", "Nothing."),
    R.TOO_MANY_OPEN: CodeText("The lead has as many grants or waiting requests as it can hold.", "End some first."),
    R.FLOOR_PASSED: CodeText("Another agent has the lead now.", "Be silent."),
    R.STOP_PHRASE: CodeText("The buyer called a halt.", "Stop what you are doing."),
    R.IDENTITY_UNPROVEN: CodeText(
        "Nothing shows that the agent is who it says: no valid signature, or not its role.",
        "Sign with a key that the policy's `agents:` lists for the agent; see docs/agents.md.",
    ),
}

DEAD_LETTERS: Mapping[DeadLetterCode, CodeText] = {
    D.UNKNOWN: CodeText("A code that is newer than the reader.", "Update the reader."),
    D.NOT_AVRO: CodeText(
        "The bytes are not Avro in the Confluent wire format, or are cut off.",
        "Use a registry-aware serializer with this topic's subject.",
    ),
    D.UNKNOWN_SCHEMA: CodeText("The schema id is not in the registry.", "Register with the registry of this cluster."),
    D.WRONG_SCHEMA: CodeText("The bytes are another record type.", "Send it to the topic of its type."),
    D.BAD_VALUE: CodeText("The record is well-formed and a value in it is not allowed.", "Mend the named field."),
    D.BAD_PAYLOAD: CodeText(
        "The webhook's body is not what its provider sends.",
        "Send body and headers as they came; `mandate perceive` shows what is wrong.",
    ),
    D.UNKNOWN_PROVIDER: CodeText("There is no adapter for this provider.", "Send canonical events instead."),
    D.UNRESOLVED_LEAD: CodeText(
        "No lead became known for the call within `MANDATE_UNRESOLVED_WAIT_S`.",
        "Name the lead in the call's own metadata, or send the call's first event.",
    ),
    D.KEY_MISMATCH: CodeText("The record's key contradicts its value.", "Key it as the catalogue says."),
    D.TOO_LARGE: CodeText("The record is larger than any of the contract.", "Split or shorten it."),
}
