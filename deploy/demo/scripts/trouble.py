"""Calls that do not go as they should: dropped, timed out, interrupted, silent."""

from deploy.demo.scene import Scene
from deploy.demo.scripts.selling import availability, reach
from deploy.demo.shapes.moments import Happens, Moment
from deploy.demo.times import SECOND
from schemas.records import DirectiveType, OutcomeResult, Speaker

_TIMED_OUT_AFTER = 920 * SECOND
_MINUTE = 60 * SECOND


async def dropped(scene: Scene) -> None:
    """The line drops while a grant is in hand and another agent waits; some leads are called again an hour later."""
    if not await reach(scene) or await availability(scene) is None:
        return
    granted = await scene.permit("qualification", "probe_intent")
    waiting = scene.conductor.spawn(scene.permit("transfer", "validate_readiness"))
    scene.call.begin_speech(Speaker.AGENT)
    scene.call.finish(Moment(Happens.DROPPED, scene.now + 2 * SECOND))
    await scene.catch_up()
    await scene.beats(1)
    if granted is not None:
        await scene.done("qualification", granted, OutcomeResult.FAILED)
    await scene.conductor.joined(waiting)
    await scene.try_once("qualification", "probe_scope")
    await scene.write_crm("booking", {"contact_outcome": "dropped"})
    if scene.lead.number % 3 != 2:
        await _call_again(scene)


async def _call_again(scene: Scene) -> None:
    """The policy wants an hour between calls, so this waits for it."""
    if await reach(scene):
        await availability(scene)
        await scene.hang_up("booking")


async def timed_out(scene: Scene) -> None:
    """The call ends by the provider's time limit, or nothing is heard of it any more and the clock ends it."""
    if not await reach(scene) or await availability(scene) is None:
        return
    if scene.lead.style == "typed":
        await scene.conductor.sleep_until(-(-(scene.now + _TIMED_OUT_AFTER) // _MINUTE) * _MINUTE)
    else:
        scene.call.finish(Moment(Happens.TIMEOUT, scene.now + 3 * SECOND))
        await scene.catch_up()
    scene.call.is_over = True
    await scene.try_once("qualification", "probe_intent")
    await scene.write_crm("booking", {"contact_outcome": "timeout"})


async def barge_in(scene: Scene) -> None:
    """The lead cuts in; the agent is told to hold, stops, and listens."""
    if not await reach(scene):
        return
    began = scene.call.begin_speech(Speaker.AGENT)
    scene.call.tell(Moment(Happens.BARGE_IN, began.at + 1_500_000, Speaker.LEAD))
    await scene.catch_up()
    await scene.crew["booking"].ordered(scene.lead.lead_id, DirectiveType.HOLD)
    scene.call.stop_speech(began)
    await scene.hears("Wait, before you go on, who gave you this number?")
    await availability(scene)
    await scene.hang_up("booking")


async def silence(scene: Scene) -> None:
    """Nothing is heard for twelve seconds; the agent is told to pause, and asks."""
    if not await reach(scene) or await availability(scene) is None:
        return
    start = scene.now
    scene.call.tell(Moment(Happens.SILENCE, start + 6 * SECOND, ms=6_000))
    scene.call.tell(Moment(Happens.SILENCE, start + 12 * SECOND, ms=12_000))
    await scene.catch_up()
    await scene.crew["booking"].ordered(scene.lead.lead_id, DirectiveType.PAUSE)
    await scene.says("booking", "Are you still there?")
    await scene.hears("Yes, sorry, I was reading something.")
    await scene.hang_up("booking")
