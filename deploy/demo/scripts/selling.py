"""The way of a sale: contact, qualification, transfer, closing. Other scripts go a part of it."""

from collections.abc import Mapping

from agents.verdict import Verdict
from deploy.demo.call import Said
from deploy.demo.office import Agent
from deploy.demo.scene import Scene
from deploy.demo.shapes.moments import Happens, Moment
from schemas.digest import Parameters
from schemas.records import AnsweredBy, OutcomeResult, SignalType

GREETING = "Hi, this is Ava, an AI assistant at Northwind, on a recorded line."
HELLOS = ("Hello, yes, speaking.", "Hi there, this is me.", "Yes, hello?", "Good day, who is calling?")
SURE = ("Sure, I have five minutes.", "Yes, go ahead.", "Fine, but keep it short please.")
TIMINGS = ("Next month works for us.", "We want to start in January, that suits.", "The week after next is good.")
SCOPES = ("It is for all forty seats in sales.", "Two teams, about twenty people.", "The support desk, sixty seats.")
READY = ("Yes, I am ready, and I will take it.", "We are ready, let us do it.", "Yes, I commit, send me the terms.")
FAIR = ("That seems fair to me.", "That is within our budget.", "All right, that is what we expected.")
TOO_MUCH = ("Hmm, that is more than we planned for.", "The price is a problem for us.")
CONVINCED = ("Okay, put that way it makes sense.", "All right, then the price is fine.")
AGREED = ("Yes, I agree to these terms.", "Yes, that is a deal.")
PRICES = (240_000, 480_000, 960_000)


async def progress(scene: Scene) -> None:
    """All four roles, to a captured commitment; every third lead objects to the price on the way."""
    if not await reach(scene) or not await qualify(scene):
        return
    if scene.lead.number % 2:
        await book_meeting(scene)
    await hand_over(scene)
    await close(scene, objects=scene.lead.number % 3 == 0, discount=scene.lead.number % 4 == 1)


async def reach(
    scene: Scene, *, late: Mapping[Happens, int] | None = None, twice: bool = False, final: bool = True,
    agent: Agent | None = None,
) -> bool:  # fmt: skip
    """Calls the lead, who answers; False when that was not permitted."""
    verdict = await scene.permit(
        "booking", "initiate_contact", in_call=False, tool="dialer", agent=agent,
        parameters={"number": scene.lead.phone},
    )  # fmt: skip
    if verdict is None:
        return False
    scene.place_call(agent=agent, late=late, twice=twice).ring()
    await greet(scene, verdict, final=final, agent=agent)
    return True


async def greet(scene: Scene, verdict: Verdict, *, final: bool = True, agent: Agent | None = None) -> None:
    """A person answers, hears whom it speaks with, and says hello."""
    if scene.rng.random() < 0.6:
        scene.call.detect(AnsweredBy.HUMAN, 0.97)
    await scene.catch_up()
    await scene.says("booking", GREETING)
    await scene.done("booking", verdict, agent=agent)
    await scene.hears(scene.rng.choice(HELLOS), final=final)


async def ask(
    scene: Scene, role: str, action: str, question: str, answer: str, *, signal: SignalType | None = None,
    parameters: Parameters | None = None, sure: float = 0.95, confidence: float | None = None, final: bool = True,
    subject: str = "",
) -> Said | None:  # fmt: skip
    """Asks for a permit, asks the lead, reports, hears the answer; None when it came to no answer."""
    verdict = await scene.permit(role, action, parameters=parameters)
    if verdict is None:
        return None
    spoke = await scene.says(role, question)
    await scene.done(role, verdict, OutcomeResult.DONE if spoke else OutcomeResult.ABANDONED)
    if not spoke:
        return None
    return await scene.hears(
        answer, signal=signal, sure=sure, confidence=confidence, final=final, subject=subject
    )  # fmt: skip


async def availability(scene: Scene, *, final: bool = True) -> Said | None:
    """Booking asks whether the moment suits."""
    return await ask(
        scene, "booking", "confirm_availability", "Do you have five minutes now?", scene.rng.choice(SURE), final=final
    )  # fmt: skip


async def qualify(scene: Scene) -> bool:
    """Availability, timing and scope, and what became known into the CRM."""
    if await availability(scene) is None:
        return False
    await scene.write_crm("booking", {"contact_outcome": "reached"})
    timing, scope = scene.rng.choice(TIMINGS), scene.rng.choice(SCOPES)
    when = "When would you like to start?"
    if await ask(scene, "qualification", "probe_intent", when, timing, signal=SignalType.TIMING_ACCEPTANCE) is None:
        return False
    which = "Which teams is it for?"
    if await ask(scene, "qualification", "probe_scope", which, scope, signal=SignalType.SCOPE_CONFIRMED) is None:
        return False
    await scene.write_crm("qualification", {"timeline": timing, "scope": scope, "qualification_status": "qualified"})
    return True


async def book_meeting(scene: Scene) -> None:
    """Booking puts a meeting into the calendar."""
    verdict = await scene.permit(
        "booking", "schedule_meeting", tool="calendar", parameters={"at": "2025-12-02T15:00:00Z", "minutes": 30}
    )  # fmt: skip
    if verdict is not None:
        await scene.done("booking", verdict)
        await scene.write_crm("booking", {"meeting_at": "2025-12-02T15:00:00Z"})


async def hand_over(scene: Scene) -> Said | None:
    """Transfer checks readiness and brings the lead to a closer; returns the words that the commitment rests on."""
    said = await ask(
        scene, "transfer", "validate_readiness", "Shall my colleague go through the terms with you?",
        scene.rng.choice(READY), signal=SignalType.READINESS,
    )  # fmt: skip
    if said is None:
        return None
    scene.detects(SignalType.LANGUAGE_COMMITMENT, said, sure=0.96)
    await scene.catch_up()
    await route(scene)
    return said


async def route(scene: Scene, role: str = "transfer", action: str = "route_call", to: str = "closing") -> None:
    """Transfers the call."""
    tool = "switchboard" if role == "transfer" else None
    verdict = await scene.permit(role, action, tool=tool, parameters={"to": to})
    if verdict is None:
        return
    scene.call.tell(Moment(Happens.TRANSFER_STARTED, scene.now + 300_000))
    scene.call.tell(Moment(Happens.TRANSFER_COMPLETED, scene.now + 2_600_000))
    await scene.done(role, verdict)
    await scene.catch_up()
    if role == "transfer":
        await scene.write_crm(role, {"transfer_status": "completed", "assigned_to": scene.crew["closing"].agent_id})


async def close(scene: Scene, *, objects: bool = False, discount: bool = False) -> None:
    """Price, perhaps an objection, the commitment, and the end."""
    price = scene.rng.choice(PRICES)
    await discuss_price(scene, price, objects=objects)
    wish = "Do you agree to these terms?"
    if objects:
        # The closer asks at once, and must wait until the objection is resolved.
        asking = scene.conductor.spawn(ask(scene, "closing", "request_commitment", wish, scene.rng.choice(AGREED)))
        await scene.says("closing", "That price holds for two years and includes support.")
        await scene.hears(scene.rng.choice(CONVINCED), signal=SignalType.OBJECTION_RESOLVED, subject="price")
        await scene.conductor.joined(asking)
    else:
        if discount:
            await _discount(scene)
        await ask(scene, "closing", "request_commitment", wish, scene.rng.choice(AGREED))
    await capture(scene, price)
    await scene.hang_up("closing")


async def _discount(scene: Scene) -> None:
    """A discount that the closer may give."""
    granted = await scene.permit("closing", "offer_discount", parameters={"discount_bp": 800})
    if granted is not None:
        await scene.says("closing", "I can take eight percent off for a start this quarter.")
        await scene.done("closing", granted)


async def discuss_price(scene: Scene, price: int, *, objects: bool = False) -> Said | None:
    """The closer names the price."""
    reply = scene.rng.choice(TOO_MUCH if objects else FAIR)
    return await ask(
        scene, "closing", "discuss_price", f"It comes to {price // 100} dollars a month.", reply,
        signal=SignalType.OBJECTION_RAISED if objects else None,
        parameters={"price_minor": price, "currency": "USD"}, subject="price",
    )  # fmt: skip


async def capture(scene: Scene, price: int) -> None:
    """Records the commitment, and writes the deal."""
    verdict = await scene.permit(
        "closing", "capture_commitment", parameters={"price_minor": price, "currency": "USD"}, tool="quote"
    )  # fmt: skip
    if verdict is not None:
        await scene.done("closing", verdict)
        await scene.write_crm("closing", {"deal_status": "won", "quoted_price": str(price)})
