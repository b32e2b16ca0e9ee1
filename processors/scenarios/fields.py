"""The fields of a step's record: what was given, what names stand for, and the usual for the rest."""

from collections.abc import Mapping
from typing import Any

from processors.scenarios.moments import moment
from processors.scenarios.source import plain
from processors.scenarios.tale import FIRST_CONVERSATION, FIRST_LEAD, Tale
from processors.scenarios.words import CONTROLS, WORDS, Step, Word
from schemas.avro_files import definition
from schemas.jsonio import iso
from schemas.records import AgentOutcome, Decision, MessageEvent, MessageEventType, Signal, TranscriptSegment


def controls_of(word: str) -> tuple[str, ...]:
    """What a step with this word may also say: a conversation and a signature only where the record has one."""
    fields = {field["name"] for field in definition(WORDS[word].record.__name__)["fields"]}
    needed = {"conversation": "conversation_id", "signed": "signature"}
    return tuple(key for key in CONTROLS if needed.get(key) in (None, *fields))


def lead_of(step: Step) -> str:
    """The lead that a step is about."""
    return str(step.given.get("lead_id") or step.controls.get("lead") or FIRST_LEAD)


def conversation_of(tale: Tale, step: Step) -> str:
    """The conversation that a step is about: the one it names, else the lead's last."""
    named = step.controls.get("conversation")
    return str(named) if named and named != "none" else tale.conversations.get(lead_of(step), FIRST_CONVERSATION)


def resolve(tale: Tale, step: Step, word: Word, at: int) -> dict[str, Any]:
    """The record's fields as plain JSON: what was given, what names stand for, and the usual for the rest."""
    schema = {field["name"]: field for field in definition(word.record.__name__)["fields"]}
    fields: dict[str, Any] = dict(word.preset)
    for key, value in step.given.items():
        fields.update(_field(tale, step, key, plain(value), schema))
    if word.record is AgentOutcome:
        fields = {**_about(tale, step), **{k: v for k, v in fields.items() if k != "of"}}
    name = step.controls.get("as")
    if name is not None:
        fields.setdefault(word.id_field, str(name))
    for field in schema.values():
        is_needed = "default" not in field or field["name"] in ("lead_id", "conversation_id")
        if is_needed and field["name"] not in fields:
            usual = _usual(tale, step, field["name"], fields, at)
            if usual is not None:
                fields[field["name"]] = usual
    if word.record is Signal:
        fields.setdefault("evidence", _last_words(tale, lead_of(step), step))
    if fields.get("conversation_id") == "none":
        fields["conversation_id"] = None
    return {key: _timed(schema[key]["type"], value, at) for key, value in fields.items()}


def _field(tale: Tale, step: Step, key: str, value: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    if key in schema or key == "of":
        if key == "of" and step.word != "report":
            raise step.bad("only report has `of`")
        return {key: value}
    if f"{key}_id" in schema:
        return {f"{key}_id": referred(tale, step, key, str(value))}
    allowed = [name.removesuffix("_id") if name.endswith("_id") else name for name in schema]
    raise step.bad(f"unknown field {key!r}; allowed: {', '.join([*dict.fromkeys(allowed), *controls_of(step.word)])}")


def referred(tale: Tale, step: Step, kind: str, name: str) -> str:
    """The id behind a name: of a case by its cause, of a grant, decision or defer by its request's name."""
    lead = lead_of(step)
    if kind == "case":
        return str(_there(step, tale.case_of(lead, name), f"no case of cause {name!r} was opened"))
    if kind in ("grant", "decision", "defer"):
        _there(step, tale.requests().get(name), f"no request is named {name!r}")
        if kind == "grant":
            return str(_there(step, tale.grant_of(name), f"{name} has no grant"))
        last = tale.decisions(name)[-1]
        if kind == "decision":
            return last.decision_id
        return str(_there(step, last.defer, f"{name} never waited").defer_id)
    if kind == "request":
        _there(step, tale.requests().get(name), f"no request is named {name!r}")
    if kind == "segment":
        known = {t.entry.body.segment_id for t in tale.told if isinstance(t.entry.body, TranscriptSegment)}
        _there(step, name if name in known else None, f"nothing was said that is named {name!r}")
    if kind not in ("request", "segment", "lead", "conversation", "agent", "provider_event", "leg", "external"):
        _there(step, tale.named.get(name), f"nothing is named {name!r}")
    return name


def _there(step: Step, found: Any, message: str) -> Any:
    if found is None:
        raise step.bad(message)
    return found


def _about(tale: Tale, step: Step) -> dict[str, Any]:
    """What an outcome is about: the request it names, else the lead's last permitted one."""
    lead = lead_of(step)
    permitted = [d.request_id for d in tale.of(Decision, lead=lead) if d.grant_id]
    name = step.given.get("of") or (permitted[-1] if permitted else None)
    request = tale.requests().get(str(name))
    if request is None:
        raise step.bad(f"no request is named {name!r}" if name else "nothing was permitted yet to report on")
    grant = tale.grant_of(request.request_id)
    is_cancelled = step.given.get("result") == "CANCELLED"
    if grant is None and not is_cancelled and "grant_id" not in step.given and "grant" not in step.given:
        raise step.bad(f"{name} has no grant to report on (give grant_id to report without one)")
    return {
        "request_id": request.request_id, "agent_id": request.agent_id, "grant_id": grant or "",
        "lead_id": request.lead_id,
    }  # fmt: skip


def _usual(tale: Tale, step: Step, field: str, fields: Mapping[str, Any], at: int) -> Any:
    """What a field is when nobody says. None = nothing usual: the schema's own default, or an error."""
    conversation = conversation_of(tale, step)
    if field == "conversation_id":
        return _usual_conversation(tale, step, conversation)
    if field == "agent_id" and "role" in fields:
        return f"{fields['role']}-agent"
    if field in ("requested_at", "received_at", "occurred_at"):
        return iso(at)
    usual = {"lead_id": lead_of(step), "provider": "twilio", "call_id": conversation}
    if field in usual:
        return usual[field]
    kinds = ("event_id", "segment_id", "message_id", "request_id", "outcome_id", "intervention_id")
    return tale.fresh(field.removesuffix("_id")) if field in kinds else None


def _usual_conversation(tale: Tale, step: Step, conversation: str) -> str | None:
    """An agent asks within a conversation that goes on; outside of one its request has none."""
    named = step.controls.get("conversation")
    if named:
        return str(named)
    if step.word == "message":
        return str(step.given.get("channel", "sms")).lower()
    if step.word == "ask":
        phase = tale.fact(lead_of(step), f"conversation.phase/{conversation}")
        return conversation if phase not in ("", "ended") else None
    return conversation


def _last_words(tale: Tale, lead: str, step: Step) -> list[str]:
    """A signal rests on what was said last, unless it says on what."""
    for told in reversed(tale.told):
        body = told.entry.body
        if isinstance(body, TranscriptSegment) and body.lead_id == lead:
            return [body.segment_id]
        if isinstance(body, MessageEvent) and body.lead_id == lead and body.type is MessageEventType.RECEIVED:
            return [body.message_id]
    return []


def _timed(avro: Any, value: Any, at: int) -> Any:
    """Moments within a value of a schema as ISO times; a duration counts from the entry."""
    if isinstance(avro, list):
        branch = next((item for item in avro if item != "null"), avro)
        return value if value is None or len(avro) > 2 else _timed(branch, value, at)
    if isinstance(avro, dict) and avro.get("logicalType") == "timestamp-micros":
        return iso(moment(value, at))
    if isinstance(avro, dict) and avro.get("type") == "array" and isinstance(value, list):
        return [_timed(avro["items"], item, at) for item in value]
    if isinstance(avro, str) and avro.startswith("mandate.") and isinstance(value, dict):
        fields = {f["name"]: f["type"] for f in definition(avro.removeprefix("mandate.")).get("fields", ())}
        return {key: _timed(fields[key], item, at) if key in fields else item for key, item in value.items()}
    return value
