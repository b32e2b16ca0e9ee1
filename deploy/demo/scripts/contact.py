"""Getting hold of a lead, or not: voicemail, opt-out, calling hours, two agents at once."""

from agents.verdict import Verdict
from deploy.demo import emission
from deploy.demo.office import Agent
from deploy.demo.scene import Scene
from deploy.demo.scripts.selling import availability, reach
from deploy.demo.times import SECOND
from processors.ids import derive
from schemas.records import (
    AnsweredBy,
    CallEndCause,
    Channel,
    ConversationId,
    DirectiveType,
    MessageEvent,
    MessageEventType,
    OutcomeResult,
    SignalType,
    Speaker,
)

_OPT_OUTS = (
    "Please take me off your list.",
    "Stop calling me, and do not call again.",
    "I want you to remove me from your system.",
    "Leave me alone, never call this number.",
)


async def voicemail(scene: Scene) -> None:
    """A machine answers. The agent asks it something, may not, and leaves a message; then perhaps a text."""
    verdict = await scene.permit("booking", "initiate_contact", in_call=False, tool="dialer")
    if verdict is None:
        return
    call = scene.place_call()
    call.ring()
    call.detect(AnsweredBy.MACHINE, 0.98)
    await scene.catch_up()
    call.say(Speaker.LEAD, "You have reached the mailbox of this number, please leave a message.")
    await scene.catch_up()
    await scene.try_once("booking", "confirm_availability")
    message = await scene.permit("booking", "leave_voicemail")
    if message is not None:
        await scene.says("booking", "This is Ava, an AI assistant at Northwind, we will write to you.")
        await scene.done("booking", message)
    await scene.done("booking", verdict)
    await scene.hang_up("booking", CallEndCause.VOICEMAIL)
    await scene.write_crm("booking", {"contact_outcome": "voicemail"})
    await _text(scene)


async def _text(scene: Scene) -> None:
    """A text message after a voicemail: for half of the leads there is no consent for it."""
    body = {"text": "Northwind here, an AI assistant. When may we call?"}
    verdict = await scene.permit("booking", "send_message", channel=Channel.SMS, in_call=False, parameters=body)
    if verdict is None:
        return
    for number, kind in enumerate((MessageEventType.SENT, MessageEventType.DELIVERED), 1):
        at = scene.now + number * SECOND
        event = MessageEvent(
            event_id=derive("message", scene.lead.lead_id, kind),
            lead_id=scene.lead.lead_id,
            conversation_id=ConversationId(f"sms:{scene.lead.phone}"),
            provider="northwind-messages",
            message_id=derive("message", scene.lead.lead_id),
            channel=Channel.SMS,
            type=kind,
            text=body["text"],
            agent_id=verdict.request.agent_id,
            occurred_at=at,
            received_at=at,
        )
        scene.conductor.schedule([emission.typed(event, at)])
    await scene.beats(1)
    await scene.done("booking", verdict)


async def opt_out(scene: Scene) -> None:
    """In mid-call, while a grant is in hand, the lead asks not to be called. Every fourth line is bad."""
    if not await reach(scene) or await availability(scene) is None:
        return
    granted = await scene.permit("qualification", "probe_intent")
    words = _OPT_OUTS[scene.lead.number % len(_OPT_OUTS)]
    unclear = 0.35 if scene.lead.number % 4 == 3 else None
    noticed = SignalType.OPT_OUT if scene.lead.number % 5 == 0 else None
    await scene.hears(words, confidence=unclear, signal=noticed)
    agent = scene.crew["qualification"]
    if await agent.ordered(scene.lead.lead_id, DirectiveType.STOP) is not None:
        scene.call.end()
    if granted is not None and not await agent.enforce(granted):
        await scene.done("qualification", granted, OutcomeResult.ABANDONED)
    await scene.catch_up()
    # Another agent, another channel, the same no.
    await scene.try_once("booking", "send_message", channel=Channel.SMS, in_call=False)
    await scene.try_once("booking", "initiate_contact", in_call=False, tool="dialer")


async def outside_hours(scene: Scene) -> None:
    """It is too early or too late over there. Half of the agents wait until it is not, half have no time for that."""
    patient = scene.lead.number // 3 % 2 == 0
    deadline = None if patient else scene.now + 1800 * SECOND
    verdict = await scene.permit("booking", "initiate_contact", in_call=False, tool="dialer", deadline=deadline)
    if verdict is None:
        return
    scene.place_call().ring()
    await _short_call(scene, verdict)


async def rivals(scene: Scene) -> None:
    """Two booking agents want the same lead in the same moment; whoever gets a permit dials."""
    second = scene.conductor.spawn(_rival(scene, scene.rival))
    await _rival(scene, scene.crew["booking"])
    await scene.conductor.joined(second)


async def _rival(scene: Scene, agent: Agent) -> None:
    verdict = await scene.permit(
        "booking", "initiate_contact", in_call=False, tool="dialer", agent=agent, deadline=scene.now + 600 * SECOND
    )  # fmt: skip
    if verdict is None:
        return
    scene.place_call(agent=agent).ring()
    await _short_call(scene, verdict, agent)


async def _short_call(scene: Scene, verdict: Verdict, agent: Agent | None = None) -> None:
    await scene.catch_up()
    await scene.says("booking", "Hi, this is Ava, an AI assistant at Northwind, on a recorded line.")
    await scene.done("booking", verdict, agent=agent)
    await scene.hears("Hello. I can't talk now, try me tomorrow.")
    scene.call.end()
    await scene.catch_up()
