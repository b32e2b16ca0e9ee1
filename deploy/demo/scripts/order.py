"""Events that come twice, late, or in the wrong order."""

from deploy.demo.emission import Emission
from deploy.demo.scene import Scene
from deploy.demo.scripts.selling import ask, availability, reach
from deploy.demo.shapes.moments import Happens, Moment
from deploy.demo.times import SECOND
from processors.intake import entry_id
from schemas.catalogue import TOPIC_OF
from schemas.records import AgentRequest, CallEndCause, EntryKind, OutcomeResult, SignalType

_MISSED = (CallEndCause.NO_ANSWER, CallEndCause.BUSY, CallEndCause.FAILED)


async def duplicates(scene: Scene) -> None:
    """Providers retry each of their events, and an agent's client sends a request again."""
    if not await reach(scene, twice=True) or await availability(scene) is None:
        return
    when, answer = "When would you like to start?", "Next month works for us."
    await ask(scene, "qualification", "probe_intent", when, answer, signal=SignalType.TIMING_ACCEPTANCE)
    written = await scene.write_crm("qualification", {"timeline": "next month"})
    scene.conductor.schedule([_sent_again(written.request)])
    await scene.beats(1)
    await scene.hang_up("qualification")


def _sent_again(request: AgentRequest) -> Emission:
    at = request.requested_at + SECOND
    return Emission(
        at=at,
        topic=TOPIC_OF[AgentRequest],
        key=request.lead_id,
        value=request,
        lead_id=request.lead_id,
        entries=(entry_id(EntryKind.REQUEST, request.lead_id, request.request_id),),
        ce_id=request.request_id,
    )


async def out_of_order(scene: Scene) -> None:
    """The answer overtakes the ringing, and final words come after the turn has ended."""
    late = {Happens.INITIATED: 11 * SECOND, Happens.RINGING: 8 * SECOND, Happens.FINAL: SECOND}
    if not await reach(scene, late=late) or await availability(scene) is None:
        return
    when, answer = "When would you like to start?", "We want to start in January."
    await ask(scene, "qualification", "probe_intent", when, answer, signal=SignalType.TIMING_ACCEPTANCE)
    await scene.hang_up("qualification")


async def terminal_first(scene: Scene) -> None:
    """Nobody answers, and the first that is heard of the call is its end."""
    verdict = await scene.permit("booking", "initiate_contact", in_call=False, tool="dialer")
    if verdict is None:
        return
    call = scene.place_call(late={Happens.INITIATED: 9 * SECOND, Happens.RINGING: 7 * SECOND})
    call.dial()
    call.finish(Moment(Happens.ENDED, scene.now + 4 * SECOND, cause=_MISSED[scene.lead.number % len(_MISSED)]))
    await scene.catch_up()
    await scene.done("booking", verdict, OutcomeResult.FAILED)
    await scene.try_once("booking", "confirm_availability")
    await scene.write_crm("booking", {"contact_outcome": "not reached"})
