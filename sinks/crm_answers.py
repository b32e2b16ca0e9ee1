"""What the CRM sink says about an update: its result, or a dead letter where the bytes can't be read."""

from agents.verify import Refusal
from processors.ids import derive
from schemas import headers
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, CodecError
from schemas.records import CrmResult, CrmUpdate, CrmWriteResult, DeadLetter, LeadId, ReasonCode, TimeUs
from sinks.crm_store import Outgoing, storable
from streams.kafka import Consumed

SOURCE, STAGE = "/mandate/sinks/crm", "crm-sink"
_MAX_TEXT = 500


def result_of(update: CrmUpdate, refusal: Refusal | None, kept: list[str], at: TimeUs) -> CrmResult:
    """The answer to one update. kept: fields that held a newer value already."""
    if refusal is not None:
        outcome, message = CrmWriteResult.REFUSED, refusal.message
    elif len(kept) == len(update.fields):
        outcome, message = CrmWriteResult.SUPERSEDED, "all fields hold newer values"
    else:
        outcome = CrmWriteResult.APPLIED
        message = f"kept newer values of {', '.join(kept)}" if kept else ""
    return CrmResult(
        update_id=storable(update.update_id),
        lead_id=LeadId(storable(update.lead_id)),
        external_id=storable(update.external_id),
        result=outcome,
        code=refusal.code if refusal is not None else None,
        message=storable(message, _MAX_TEXT),
        at=at,
    )


def not_writable(owner: str | None, user: str | None, update: CrmUpdate) -> Refusal | None:
    """Why a covered write still must not happen, as far as the store knows."""
    if user is not None:
        return Refusal(ReasonCode.GRANT_REUSED, f"the grant was used up by update {user}")
    if owner is not None and owner != update.lead_id:
        return Refusal(ReasonCode.GRANT_INVALID, f"CRM record {update.external_id!r} belongs to another lead")
    return None


def answer(codec: Codec, result: CrmResult, digest: str, source: Consumed) -> Outgoing:
    """The result as a record to send. digest: of the update; the same update has the same event id."""
    event = headers.cloud_event(
        result,
        id=derive("crm-result", digest),
        source=SOURCE,
        subject=result.lead_id,
        at=result.at,
        traceparent=headers.trace_of(source.headers),
    )
    return Outgoing(TOPIC_OF[CrmResult], result.lead_id.encode(), codec.encode(result), event, result.at // 1000)


def dead_letter(codec: Codec, source: Consumed, error: CodecError, at: TimeUs) -> Outgoing:
    """A record that is no update, whole."""
    letter = DeadLetter(
        dead_letter_id=derive("dead-letter", source.topic, source.partition, source.offset),
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        key=source.key,
        value=source.value,
        headers={name: value or b"" for name, value in source.headers},
        code=error.code,
        error=storable(str(error), _MAX_TEXT),
        stage=STAGE,
        at=at,
    )
    event = headers.cloud_event(letter, id=letter.dead_letter_id, source=SOURCE, subject="", at=at)
    context = headers.dead_letter(
        letter.headers,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        stage=STAGE,
        code=letter.code.value,
        error=letter.error,
    )
    return Outgoing(TOPIC_OF[DeadLetter], letter.key, codec.encode(letter), event + context, at // 1000)
