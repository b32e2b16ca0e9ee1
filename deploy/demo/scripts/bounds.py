"""Agents that go beyond their role, and leads that want a person."""

from deploy.demo import emission
from deploy.demo.scene import Scene
from deploy.demo.scripts.selling import PRICES, ask, availability, discuss_price, hand_over, qualify, reach, route
from deploy.demo.times import SECOND
from processors.ids import derive
from schemas.records import HumanIntervention, InterventionType, SignalType

_MANAGER = "j.ortiz"


async def discount(scene: Scene) -> None:
    """The closer offers a quarter off, which is not its to give; then less, which waits for the case."""
    if not await reach(scene) or not await qualify(scene) or await hand_over(scene) is None:
        return
    await discuss_price(scene, PRICES[1])
    await scene.try_once("closing", "offer_discount", parameters={"discount_bp": 2500})
    if scene.lead.number % 2 == 0:
        await _resolve(scene, "Twenty-five percent stays out; go on within your authority.")
    smaller = await scene.permit("closing", "offer_discount", parameters={"discount_bp": 800})
    if smaller is not None:
        await scene.says("closing", "I can take eight percent off.")
        await scene.done("closing", smaller)
    await scene.hang_up("closing")


async def transfer_closes(scene: Scene) -> None:
    """The transfer agent asks for the commitment, before the stage is reached and after."""
    if not await reach(scene) or not await qualify(scene):
        return
    await scene.try_once("transfer", "request_commitment")
    said = await ask(
        scene, "transfer", "validate_readiness", "Shall my colleague go through the terms with you?",
        "Yes, I am ready, and I will take it.", signal=SignalType.READINESS,
    )  # fmt: skip
    if said is not None:
        scene.detects(SignalType.LANGUAGE_COMMITMENT, said, sure=0.96)
        await scene.catch_up()
    await scene.try_once("transfer", "capture_commitment", parameters={"price_minor": PRICES[0], "currency": "USD"})
    await scene.hang_up("transfer")


async def crm_fields(scene: Scene) -> None:
    """The qualification agent wants to write the deal's status, which belongs to closing."""
    if not await reach(scene) or await availability(scene) is None:
        return
    await scene.write_crm("qualification", {"need": "call centre", "deal_status": "won"})
    await scene.write_crm("qualification", {"need": "call centre"})
    await scene.write_crm("booking", {"quoted_price": "1"})
    await scene.hang_up("booking")


async def asks_for_human(scene: Scene) -> None:
    """The lead wants a person: questions wait for the case, a transfer to a person does not."""
    if not await reach(scene) or await availability(scene) is None:
        return
    await scene.hears("I would rather talk to a real person about this.")
    asking = scene.conductor.spawn(scene.permit("qualification", "probe_intent"))
    if scene.lead.number % 2 == 0:
        await _resolve(scene, "I spoke with them; they are fine with the assistant.")
    else:
        await route(scene, "booking", "route_to_human", to="sales desk")
    granted = await scene.conductor.joined(asking)
    if granted is not None:
        await scene.done("qualification", granted)
    await scene.hang_up("booking")


async def _resolve(scene: Scene, reason: str) -> None:
    """A manager sees the case on escalation.cases and resolves it."""
    await scene.beats(2)
    case_id = await scene.conductor.stage.case_of(scene.lead.lead_id)
    at = scene.now + SECOND
    intervention = HumanIntervention(
        intervention_id=derive("intervention", scene.lead.lead_id),
        lead_id=scene.lead.lead_id,
        type=InterventionType.CASE_RESOLVED,
        author=_MANAGER,
        author_role="sales manager",
        reason=reason,
        case_id=case_id,
        occurred_at=at,
    )
    scene.conductor.schedule([emission.typed(intervention, at)])
    await scene.beats(1)
