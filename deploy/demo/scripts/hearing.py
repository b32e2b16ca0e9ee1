"""What was heard, and how surely: unclear, never final, corrected."""

from deploy.demo import emission
from deploy.demo.call import Said
from deploy.demo.scene import Scene
from deploy.demo.scripts.selling import PRICES, ask, availability, discuss_price, hand_over, qualify, reach
from deploy.demo.times import SECOND
from processors.ids import derive
from schemas.records import (
    ConfidenceKind,
    OutcomeResult,
    SegmentStatus,
    SignalType,
    Speaker,
    Track,
    TranscriptSegment,
)

RESCORER = "northwind-rescorer"
"""Transcribes again with more time, and corrects what was final."""


async def low_confidence(scene: Scene) -> None:
    """The lead mumbles, or the detector is not sure; the agent asks for a meeting and waits in vain."""
    if not await reach(scene) or await availability(scene) is None:
        return
    mumbled = scene.lead.number % 2 == 0
    await ask(
        scene, "qualification", "probe_intent", "When would you like to start?", "Maybe, uh, next month or so?",
        signal=SignalType.TIMING_ACCEPTANCE, sure=0.93 if mumbled else 0.55, confidence=0.41 if mumbled else None,
    )  # fmt: skip
    await scene.permit("booking", "schedule_meeting", tool="calendar", parameters={"at": "2025-12-02T15:00:00Z"})
    await scene.hang_up("booking")


async def interim_only(scene: Scene) -> None:
    """The transcriber never settles: all that there is of the lead is interim text."""
    if not await reach(scene, final=False) or await availability(scene, final=False) is None:
        return
    await scene.hears("Next month works for us.", final=False, signal=SignalType.TIMING_ACCEPTANCE)
    asking = scene.conductor.spawn(scene.permit("qualification", "probe_intent"))
    await scene.permit("booking", "schedule_meeting", tool="calendar", parameters={"at": "2025-12-02T15:00:00Z"})
    await scene.conductor.joined(asking)
    await scene.hang_up("booking")


async def corrected(scene: Scene) -> None:
    """The commitment was misheard. The correction comes when the closer has its grant in hand."""
    if not await reach(scene) or not await qualify(scene):
        return
    said = await hand_over(scene)
    price = PRICES[0]
    await discuss_price(scene, price)
    closer = scene.crew["closing"]
    granted = await scene.propose(
        "closing", "capture_commitment", parameters={"price_minor": price, "currency": "USD"}, tool="quote"
    )  # fmt: skip
    if said is not None:
        _correct(scene, said, "I am not ready, and I will not take it.")
    await scene.beats(2)
    if granted.permitted:
        result = OutcomeResult.DONE if await closer.enforce(granted) else OutcomeResult.ABANDONED
        await scene.done("closing", granted, result)
    await scene.hang_up("closing")


def _correct(scene: Scene, said: Said, text: str) -> None:
    at = scene.now + 2 * SECOND
    segment = TranscriptSegment(
        event_id=derive("correction", scene.lead.lead_id),
        lead_id=scene.lead.lead_id,
        conversation_id=scene.call.conversation_id,
        provider=RESCORER,
        provider_type="correction",
        call_id=scene.call.call_id,
        segment_id=said.segment_id,
        status=SegmentStatus.CORRECTED,
        text=text,
        speaker=Speaker.LEAD,
        track=Track.INBOUND,
        language="en-US",
        confidence=0.98,
        confidence_kind=ConfidenceKind.ASR,
        occurred_at=at,
        received_at=at,
    )
    scene.conductor.schedule([emission.typed(segment, at)])
